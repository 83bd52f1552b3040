"""The states of NumPy, pandas and Matplotlib. Nothing here imports them, but to put back what a cell did with them."""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..errors import MISS
from .state_kinds import Settings, State, Whole


class _NumpyGenerator(Whole):
    """NumPy's global generator, as (kind, key, position, has a second normal number, that number)."""

    name = "numpy.random"

    def read(self) -> Any:
        numpy_random = sys.modules.get("numpy.random")
        if not hasattr(numpy_random, "get_state"):
            return MISS
        state = numpy_random.get_state(legacy=False)  # type: ignore[union-attr]
        if state["bit_generator"] != "MT19937":
            return state["bit_generator"], repr(state)
        return "MT19937", state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"], state["gauss"]

    def edit(self, before: Any, after: Any) -> Any:
        """The new state, unless it is the one that NumPy drew for itself while it was imported."""
        return None if before is MISS and self._is_untouched() else super().edit(before, after)

    def _is_untouched(self) -> bool:
        numpy_random: Any = sys.modules.get("numpy.random")
        generator: Any = getattr(getattr(getattr(numpy_random, "mtrand", None), "_rand", None), "_bit_generator", None)
        drawn_from = getattr(generator, "seed_seq", None)
        if drawn_from is None:  # as it is after a `seed`
            return False
        at_first = type(generator)(drawn_from).state["state"]
        kind, key, position, *_ = self.read()
        return bool((kind, key, position) == ("MT19937", at_first["key"].tobytes(), at_first["pos"]))

    def put(self, edit: Any) -> None:
        kind, key, *rest = edit
        numpy = importlib.import_module("numpy")
        numpy.random.set_state((kind, numpy.frombuffer(key, "uint32"), *rest))


class _PrintOptions(Settings):
    name = "numpy.printoptions"

    def read(self) -> Any:
        numpy = sys.modules.get("numpy")
        return dict(numpy.get_printoptions()) if hasattr(numpy, "get_printoptions") else MISS  # type: ignore[union-attr]

    def defaults(self) -> Mapping[str, Any]:
        return {
            **{"edgeitems": 3, "threshold": 1000, "floatmode": "maxprec", "precision": 8, "suppress": False},
            **{"linewidth": 75, "nanstr": "nan", "infstr": "inf", "sign": "-", "formatter": None, "legacy": False},
            "override_repr": None,
        }

    def at_import(self) -> Mapping[str, Any]:
        now = self.read()
        return {name: value for name, value in self.defaults().items() if name in now}

    def put(self, edit: Any) -> None:
        numpy = importlib.import_module("numpy")
        # All of them: whatever is not named, `set_printoptions` leaves alone, but for the formatter.
        numpy.set_printoptions(**{**numpy.get_printoptions(), **edit["set"]})


class _ErrorState(Settings):
    name = "numpy.errstate"

    def read(self) -> Any:
        numpy = sys.modules.get("numpy")
        if not hasattr(numpy, "geterrcall"):
            return MISS
        return {**numpy.geterr(), "call": numpy.geterrcall()}  # type: ignore[union-attr]

    def defaults(self) -> Mapping[str, Any]:
        return {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn", "call": None}

    def put(self, edit: Any) -> None:
        numpy = importlib.import_module("numpy")
        changed = dict(edit["set"])
        if "call" in changed:
            numpy.seterrcall(changed.pop("call"))
        numpy.seterr(**changed)


class _PandasOptions(Settings):
    name = "pandas.options"

    def read(self) -> Any:
        config = self._config()
        return MISS if config is None else dict(_flat(config._global_config, ""))

    def defaults(self) -> Mapping[str, Any]:
        return {name: option.defval for name, option in self._config()._registered_options.items()}

    def put(self, edit: Any) -> None:
        pandas = importlib.import_module("pandas")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an option is deprecated was said when the cell ran
            for name, value in edit["set"].items():
                pandas.set_option(name, value)

    @staticmethod
    def _config() -> Any:
        pandas = sys.modules.get("pandas")
        # While pandas is being imported there is a half of it.
        return sys.modules.get("pandas._config.config") if hasattr(pandas, "set_option") else None


def _flat(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if type(value) is dict:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


class _PlotSettings(Settings):
    """Matplotlib's settings, but for those of the backend, which a kernel chooses when it shows its first figure."""

    name = "matplotlib.rcParams"

    def read(self) -> Any:
        parameters = getattr(sys.modules.get("matplotlib"), "rcParams", None)
        return MISS if parameters is None else _plain(parameters)

    def defaults(self) -> Mapping[str, Any]:
        return _first_seen("rcParamsDefault")

    def at_import(self) -> Mapping[str, Any]:
        return _first_seen("rcParamsOrig")

    def put(self, edit: Any) -> None:
        importlib.import_module("matplotlib").rcParams.update(edit["set"])


_BACKEND: Final = frozenset(("backend", "backend_fallback", "interactive"))


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    # `dict.items`, since asking for the backend by the usual way would choose one. Lists can be changed in place.
    return {
        name: list(value) if type(value) is list else value
        for name, value in dict.items(parameters)
        if name not in _BACKEND
    }


@functools.cache
def _first_seen(parameters: str) -> Mapping[str, Any]:
    """The default settings as they were at first: they share their lists with the present ones."""
    return _plain(getattr(sys.modules["matplotlib"], parameters))


LIBRARY_STATES: Final[tuple[State, ...]] = (
    *(_NumpyGenerator(), _PrintOptions(), _ErrorState()),
    *(_PandasOptions(), _PlotSettings()),
)
