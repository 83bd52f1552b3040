"""Where the kernels of these tests have their server and their settings."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def kernels(session_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the kernels are told: where their server and their settings live."""
    return {
        "FRAPPE_CACHE_HOME": str(session_home),
        "IPYTHONDIR": str(tmp_path_factory.mktemp("ipython")),
        "JUPYTER_CONFIG_DIR": str(tmp_path_factory.mktemp("jupyter")),
        "PYTHONDONTWRITEBYTECODE": "1",  # a module is edited within the second in which it was written
    }
