"""Where settings come from, and what happens to wrong ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frappe_cache_ext.errors import BenchError, SettingsError
from frappe_cache_ext.settings import Settings, default_db_name, mask_url


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    site = tmp_path / "bench" / "sites" / "library.localhost"
    site.mkdir(parents=True)
    (site.parent / "common_site_config.json").write_text(json.dumps({"redis_cache": "redis://127.0.0.1:13000"}))
    (site / "site_config.json").write_text(json.dumps({"db_name": "_abc", "db_password": "pw"}))
    (tmp_path / "bench" / "apps").mkdir()
    return tmp_path / "bench"


def test_defaults() -> None:
    found = Settings.load(environ={})
    assert (found.url, found.site, found.user, found.secret) == ("embedded://", "default", "Administrator", None)
    assert set(found.origins.values()) == {"default"}


def test_a_sites_prefix_has_the_form_that_a_bench_gives_it() -> None:
    # sha1("library.localhost") begins 69b1e93fd3625cfc.
    assert default_db_name("library.localhost") == "_69b1e93fd3625cfc"


def test_arguments_go_before_the_environment_and_that_before_a_bench(bench: Path) -> None:
    environ = {"FRAPPE_CACHE_BENCH": str(bench), "FRAPPE_CACHE_USER": "anna"}
    found = Settings.load(environ=environ)
    assert (found.url, found.site, found.db_name, found.user) == (
        "redis://127.0.0.1:13000",
        "library.localhost",
        "_abc",
        "anna",
    )
    assert Settings.load(environ=environ | {"FRAPPE_CACHE_URL": "memory://"}).url == "memory://"
    assert Settings.load(environ=environ, user="bob").user == "bob"


def test_a_bench_that_is_an_argument_goes_before_the_environment(bench: Path) -> None:
    found = Settings.load(environ={"FRAPPE_CACHE_URL": "memory://"}, bench=bench)
    assert found.url == "redis://127.0.0.1:13000"
    assert Settings.load(environ={}, bench=bench, url="memory://").url == "memory://"


def test_the_benchs_database_comes_with_it_and_its_password_is_masked(bench: Path) -> None:
    found = Settings.load(environ={}, bench=bench)
    assert found.database_url is not None
    assert ":pw@" in found.database_url
    shown = {name: value for name, value, _ in found.describe()}
    assert "pw" not in shown["database_url"]
    assert "pw" not in repr(found)


def test_an_unknown_site_of_a_bench(bench: Path) -> None:
    with pytest.raises(BenchError, match=r"library\.localhost"):
        Settings.load(environ={}, bench=bench, site="libary.localhost")


def test_frappes_own_variables_are_those_of_the_given_environment(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAPPE_SITE", "nowhere.localhost")
    assert Settings.load(environ={}, bench=bench).site == "library.localhost"


def test_a_misspelt_variable_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(SettingsError, match=r"FRAPPE_CACHE_ULR.*Did you mean FRAPPE_CACHE_URL"):
        Settings.load(environ={"FRAPPE_CACHE_ULR": "memory://"})


def test_a_misspelt_argument_too() -> None:
    with pytest.raises(SettingsError, match=r"'sitte'.*Did you mean site"):
        Settings.load(environ={}, sitte="a")


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost", "redis:/x"])
def test_a_url_of_nothing_we_know(url: str) -> None:
    with pytest.raises(SettingsError, match="redis://"):
        Settings(url=url)


def test_empty_variables_count_as_absent() -> None:
    assert Settings.load(environ={"FRAPPE_CACHE_URL": ""}).url == "embedded://"


@pytest.mark.parametrize("name", ["site", "user"])
def test_empty_names_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="empty"):
        Settings(**{name: ""})


def test_secrets_are_masked() -> None:
    found = Settings.load(environ={"FRAPPE_CACHE_SECRET": "s3cret", "FRAPPE_CACHE_URL": "redis://u:pa55@h:1/0"})
    text = repr(found.describe())
    assert "s3cret" not in text + repr(found)
    assert "pa55" not in text
    assert mask_url("redis://u:pa55@h:1/0") == "redis://u:***@h:1/0"
    assert {name: origin for name, _, origin in found.describe()}["secret"] == "FRAPPE_CACHE_SECRET"


def test_home_is_where_files_go(tmp_path: Path) -> None:
    found = Settings.load(environ={"FRAPPE_CACHE_HOME": str(tmp_path)})
    assert (found.server_home, found.data_home) == (tmp_path / "server", tmp_path / "sites")
    assert "frappe-cache" in str(Settings.load(environ={}).server_home)
