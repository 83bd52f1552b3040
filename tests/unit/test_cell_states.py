"""State outside of names: what a cell did to it is seen, put back, and part of the key where it has to be."""

from __future__ import annotations

import contextlib
import decimal
import importlib
import locale
import logging
import os
import pickle
import random
import re
import subprocess
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from frappe_cache_ext.cells import states, warning_filters
from frappe_cache_ext.cells.code import global_use
from frappe_cache_ext.cells.edits import edited_list, list_edit
from frappe_cache_ext.cells.state_table import STATES
from frappe_cache_ext.errors import NotCacheable
from tests.notebook.conftest import Kernel

ROOT = Path(__file__).parents[2]
mpl.use("agg")


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Puts everything back after a test, by other means than those that are tested."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    environment, handlers = dict(os.environ), list(logging.root.handlers)
    family = mpl.rcParams["font.family"]
    families = list(family)
    held = random.getstate(), np.random.get_state(), np.get_printoptions(), np.geterr(), np.geterrcall()
    with warnings.catch_warnings(), mpl.rc_context(), decimal.localcontext(), pd.option_context("display.precision", 6):
        yield
    family[:] = families  # which the default settings hold, too
    os.environ.clear()
    os.environ.update(environment)
    random.setstate(held[0])
    np.random.set_state(held[1])
    np.set_printoptions(**held[2])
    np.seterr(**held[3])
    np.seterrcall(held[4])
    pd.reset_option("display")
    logging.root.handlers[:] = handlers
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("states.test").setLevel(logging.NOTSET)
    logging.disable(logging.NOTSET)
    locale.setlocale(locale.LC_ALL, "C")
    locale.setlocale(locale.LC_CTYPE, "")
    plt.close("all")


def did(cell: Callable[[], Any], seeded: tuple[str, ...] = ()) -> tuple[states.Changes, tuple[str, ...]]:
    """What a cell did, as it comes out of an entry, and the generators that it used."""
    before = states.snapshot()
    cell()
    after = states.snapshot()
    changes = states.changes(before, after, seeded)
    used = states.generators_used(before, after, seeded)
    return states.Changes(pickle.loads(pickle.dumps(changes.values)), changes.irreversible), used


class Quiet(UserWarning):
    """A category of the user's."""


def resets() -> None:
    warnings.resetwarnings()
    warnings.simplefilter("once")


CHANGES: dict[str, tuple[str, Callable[[], Any]]] = {
    "environment, new": ("os.environ", lambda: os.environ.update(STATES_TEST="1")),
    "environment, deleted": ("os.environ", lambda: os.environ.pop("HOME")),
    "directory": ("the current directory", lambda: os.chdir("/")),
    "path, front": ("sys.path", lambda: sys.path.insert(0, "lib")),
    "path, end": ("sys.path", lambda: sys.path.append("lib")),
    "path, twice": ("sys.path", lambda: sys.path.insert(0, sys.path[-1])),
    "path, shorter": ("sys.path", lambda: sys.path.pop(1)),
    "path, other order": ("sys.path", lambda: sys.path.append(sys.path.pop(0))),
    "filter": ("warnings.filters", lambda: warnings.simplefilter("ignore")),
    "filter, own category": ("warnings.filters", lambda: warnings.filterwarnings("once", "x+", Quiet, r"a\.b", 3)),
    "filter, end": ("warnings.filters", lambda: warnings.simplefilter("ignore", FutureWarning, append=True)),
    "filter, moved": ("warnings.filters", lambda: warnings.filters.insert(0, warnings.filters.pop())),
    "filters, reset": ("warnings.filters", warnings.resetwarnings),
    "filters, other ones": ("warnings.filters", resets),
    "generator": ("random", random.random),
    "generator, half of a pair": ("random", lambda: random.gauss(0, 1)),
    "NumPy's generator": ("numpy.random", lambda: np.random.rand(3)),
    "NumPy's generator, half of a pair": ("numpy.random", np.random.randn),
    "NumPy's generator, seed": ("numpy.random", lambda: np.random.seed(7)),
    "precision": ("decimal context", lambda: setattr(decimal.getcontext(), "prec", 5)),
    "rounding": ("decimal context", lambda: setattr(decimal.getcontext(), "rounding", "ROUND_UP")),
    "trap": ("decimal context", lambda: decimal.getcontext().traps.update({decimal.Inexact: True})),
    "print options": ("numpy.printoptions", lambda: np.set_printoptions(precision=3, suppress=True)),
    "print options, formatter": ("numpy.printoptions", lambda: np.set_printoptions(formatter={"int": hex})),
    "error state": ("numpy.errstate", lambda: np.seterr(divide="ignore")),
    "error call": ("numpy.errstate", lambda: np.seterrcall(print)),
    "pandas": ("pandas.options", lambda: pd.set_option("display.max_rows", 7)),
    "rcParams": ("matplotlib.rcParams", lambda: mpl.rcParams.update({"figure.dpi": 50.0})),
    "rcParams, in place": ("matplotlib.rcParams", lambda: mpl.rcParams["font.family"].append("serif")),
    "rcParams, cycle": ("matplotlib.rcParams", lambda: mpl.rc("axes", prop_cycle=mpl.cycler(color=["r", "g"]))),
    "style": ("matplotlib.rcParams", lambda: plt.style.use("ggplot")),
    "level": ("logging levels", lambda: logging.getLogger("states.test").setLevel(logging.DEBUG)),
    "level of the root": ("logging levels", lambda: logging.root.setLevel(logging.DEBUG)),
    "logging off": ("logging levels", lambda: logging.disable(logging.ERROR)),
    "locale": ("locale", lambda: locale.setlocale(locale.LC_TIME, "C.UTF-8")),
}


class TestChanges:
    @pytest.mark.parametrize("name", CHANGES)
    def test_what_a_cell_did_is_seen_and_put_back(self, name: str) -> None:
        state, cell = CHANGES[name]
        before, wanted = states.snapshot(), {}
        wanted[state] = STATES[state].read()
        changes, _ = did(cell)
        assert list(changes.values) == [state]
        assert changes.irreversible == ()
        done = STATES[state].read()
        assert done != wanted[state]
        self.undo(before, state)
        assert STATES[state].read() == wanted[state]
        states.check(changes.values)
        states.restore(changes.values)
        assert STATES[state].read() == done

    def undo(self, before: states.Snapshot, state: str) -> None:
        edit = STATES[state].edit(STATES[state].read(), before.values[state])
        STATES[state].put({"whole": before.values[state]} if isinstance(edit, dict) and "set" not in edit else edit)

    def test_a_cell_that_does_nothing_changes_nothing(self) -> None:
        changes, used = did(lambda: None)
        assert (changes, used) == (states.Changes({}, ()), ())

    def test_what_the_generators_give_next_is_put_back(self) -> None:
        changes, _ = did(lambda: (random.gauss(0, 1), np.random.randn(3)))
        after = random.gauss(0, 1), random.random(), np.random.randn(), np.random.rand()
        random.seed(99)
        np.random.seed(99)
        states.restore(changes.values)
        assert (random.gauss(0, 1), random.random(), np.random.randn(), np.random.rand()) == after

    def test_what_differs_elsewhere_survives(self) -> None:
        def cell() -> None:
            os.environ["STATES_TEST"] = "1"
            del os.environ["STATES_GONE"]
            sys.path.insert(0, "mine")
            warnings.filterwarnings("ignore", category=Quiet)
            mpl.rcParams["lines.linewidth"] = 9.0
            pd.set_option("display.width", 33)

        os.environ["STATES_GONE"] = "1"
        changes, _ = did(cell)
        for name in ("os.environ", "sys.path", "warnings.filters", "matplotlib.rcParams", "pandas.options"):
            assert name in changes.values
        del os.environ["STATES_TEST"]
        os.environ.update(STATES_GONE="1", STATES_OTHER="2")
        sys.path[:] = ["theirs", "other"]
        warnings.resetwarnings()
        warnings.filterwarnings("error", category=FutureWarning)
        mpl.rcParams.update({"lines.linewidth": 1.0, "lines.markersize": 3.0})
        pd.set_option("display.width", 80, "display.max_rows", 11)
        states.restore(changes.values)
        assert (os.environ["STATES_TEST"], os.environ["STATES_OTHER"]) == ("1", "2")
        assert "STATES_GONE" not in os.environ
        assert sys.path == ["mine", "theirs", "other"]
        assert [item[2] for item in warnings.filters] == [Quiet, FutureWarning]
        assert (mpl.rcParams["lines.linewidth"], mpl.rcParams["lines.markersize"]) == (9.0, 3.0)
        assert (pd.get_option("display.width"), pd.get_option("display.max_rows")) == (33, 11)

    def test_a_list_of_which_nothing_was_left_is_put_back_as_a_whole(self) -> None:
        changes, _ = did(warnings.resetwarnings)
        warnings.filterwarnings("error", category=FutureWarning)
        states.restore(changes.values)
        assert warnings.filters == []

    def test_a_setting_of_another_type_is_another_one(self) -> None:
        np.set_printoptions(edgeitems=1)
        changes, _ = did(lambda: np.set_printoptions(edgeitems=True))
        assert changes.values["numpy.printoptions"]["set"]["edgeitems"] is True

    def test_a_filter_that_is_there_already_is_not_added_twice(self) -> None:
        changes, _ = did(lambda: warnings.filterwarnings("ignore", category=Quiet))
        states.restore(changes.values)
        assert [item[2] for item in warnings.filters].count(Quiet) == 1

    def test_filters_that_are_put_back_take_effect_at_once(self) -> None:
        def warns() -> None:
            warnings.warn_explicit("seen", Quiet, "file.py", 1, registry=registry)

        registry: dict[Any, Any] = {}
        warnings.simplefilter("default", Quiet)
        with warnings.catch_warnings():
            changes, _ = did(lambda: warnings.simplefilter("error", Quiet))
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("default", Quiet)
            warns()
            states.restore(changes.values)
            with pytest.raises(Quiet):
                warns()

    def test_the_same_list_object_is_changed(self) -> None:
        changes, _ = did(lambda: (sys.path.append("x"), warnings.simplefilter("ignore")))
        path, filters = sys.path, warnings.filters
        states.restore(changes.values)
        assert sys.path is path
        assert warnings.filters is filters

    def test_a_formatter_survives_other_print_options(self) -> None:
        changes, _ = did(lambda: np.set_printoptions(precision=2))
        np.set_printoptions(precision=8, formatter={"int": hex})
        states.restore(changes.values)
        assert np.get_printoptions()["formatter"] == {"int": hex}

    def test_a_seeded_generator_counts_though_it_holds_what_it_held(self) -> None:
        np.random.seed(0)
        changes, used = did(lambda: np.random.seed(0), seeded=("numpy.random",))
        assert (list(changes.values), used) == (["numpy.random"], ())

    def test_what_cannot_be_put_back_here_is_found_out_before(self, tmp_path: Path) -> None:
        (tmp_path / "gone").mkdir()
        changes, _ = did(lambda: os.chdir("gone"))
        os.chdir(tmp_path)
        states.check(changes.values)
        (tmp_path / "gone").rmdir()
        with pytest.raises(FileNotFoundError):
            states.check(changes.values)
        with pytest.raises(locale.Error):
            states.check({"locale": {"set": {"LC_TIME": "xx_XX"}, "gone": []}})

    def test_a_directory_that_is_gone_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "gone").mkdir()
        os.chdir("gone")
        (tmp_path / "gone").rmdir()
        assert did(lambda: None)[0].values == {}
        assert did(lambda: os.chdir("/"))[0].values == {"the current directory": "/"}


class TestIrreversible:
    def reason(self, cell: Callable[[], Any]) -> str:
        (reason,) = did(cell)[0].irreversible
        return reason

    def test_a_figure_that_stays_open(self) -> None:
        assert self.reason(plt.figure) == "it leaves figure 1 open – close it with plt.close()"
        assert self.reason(lambda: plt.close(1)) == "it closes figure 1, which another cell opened"

    def test_a_figure_that_is_closed_again(self) -> None:
        assert did(lambda: plt.close(plt.figure()))[0] == states.Changes({}, ())

    def test_a_figure_that_was_open_before(self) -> None:
        assert states.plots_refusal() is None
        plt.figure()
        refusal = states.plots_refusal()
        assert refusal is not None
        assert refusal.startswith("figure 1 is open")

    def test_the_backend(self) -> None:
        plt.close(plt.figure())
        try:
            assert "Matplotlib's backend" in self.reason(lambda: plt.switch_backend("svg"))
            assert "interactive mode" in self.reason(plt.ion)
        finally:
            plt.ioff()
            plt.switch_backend("agg")

    def test_handlers(self) -> None:
        logger = logging.getLogger("states.handlers")
        handler = logging.StreamHandler()
        try:
            assert self.reason(lambda: logger.addHandler(handler)).startswith("it changes the handlers of the logger")
            assert did(lambda: logger.addHandler(logging.NullHandler()))[0].irreversible == ()
        finally:
            logger.handlers.clear()
        assert "the root logger" in self.reason(lambda: logging.root.addHandler(handler))

    def test_another_bit_generator(self) -> None:
        usual = np.random.get_bit_generator()
        try:
            assert "global generator" in self.reason(lambda: np.random.set_bit_generator(np.random.PCG64(1)))
            assert "global generator" in self.reason(np.random.rand)
            assert did(lambda: None)[0] == states.Changes({}, ())
        finally:
            np.random.set_bit_generator(usual)

    def test_torch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class State(list[int]):
            def tolist(self) -> list[int]:
                return list(self)

        held = State([1])
        torch: Any = types.ModuleType("torch")
        torch.get_rng_state = lambda: held
        torch.cuda = types.SimpleNamespace(is_initialized=lambda: False)
        loading = self.reason(lambda: monkeypatch.setitem(sys.modules, "torch", torch))
        assert loading == "it is the first to load torch, whose random generator cannot be put back; import it before"
        assert did(lambda: None)[0].irreversible == ()
        assert "draws from the random generator of torch" in self.reason(lambda: held.append(2))


class TestGenerators:
    @pytest.mark.parametrize(
        ("name", "cell"),
        [
            ("random", random.random),
            ("random", lambda: random.shuffle([1, 2])),
            ("numpy.random", lambda: np.random.normal(size=2)),
            ("the current directory", lambda: os.chdir("/")),
        ],
    )
    def test_the_used_ones(self, name: str, cell: Callable[[], Any]) -> None:
        assert did(cell)[1] == (name,)
        assert did(cell, seeded=(name,))[1] == ()

    def test_generators_of_ones_own_are_none_of_them(self) -> None:
        assert did(lambda: (random.Random(1).random(), np.random.default_rng(1).random()))[1] == ()

    @pytest.mark.parametrize(("name", "draw"), [("random", random.random), ("numpy.random", np.random.rand)])
    def test_digests(self, name: str, draw: Callable[[], Any]) -> None:
        before, first = states.snapshot(), states.generator_digest(name)
        assert states.generator_digest(name) == first == before.generator_digest(name)
        draw()
        assert states.generator_digest(name) != first == before.generator_digest(name)

    def test_half_of_a_pair_counts(self) -> None:
        np.random.seed(1)
        np.random.randn(2)
        even = states.generator_digest("numpy.random")
        np.random.seed(1)
        np.random.randn(1)
        assert states.generator_digest("numpy.random") != even


SEEDED: list[tuple[str, set[str]]] = [
    ("import random\nrandom.seed(1)", {"random"}),
    ("import random as r\nr.seed(1)\nr.random()", {"random"}),
    ("from random import seed\nseed('x')", {"random"}),
    ("from numpy import random\nrandom.seed(1)", {"numpy.random"}),
    ("import numpy.random\nnumpy.random.seed(1)", {"numpy.random"}),
    ("import numpy.random as nr\nnr.seed(seed=1)", {"numpy.random"}),
    ("np.random.seed(0)", {"numpy.random"}),
    ("np.random.seed(0); random.seed(0)", {"random", "numpy.random"}),
    ("'a text'\nSEED = 4\nnp.random.seed(SEED)\nx = np.random.rand()", {"numpy.random"}),
    ("np.random.seed(KNOWN)", {"numpy.random"}),
    ("x = [1, (2, -3)]\nrandom.seed(a=1)", {"random"}),
    ("drawn(1)", {"random"}),
    ("random.seed(1)\nawait something()", {"random"}),
    ("random = 1\nimport random\nrandom.seed(1)", {"random"}),
    ("from numpy import pi as s\ns = 3\nrandom.seed(s)", {"random"}),
    # Not certain, so not counted:
    ("random.seed()", set()),
    ("random.seed(None)", set()),
    ("np.random.seed()", set()),
    ("np.random.seed(UNKNOWN)", set()),
    ("np.random.seed(OTHER)", set()),
    ("np.random.seed(int(KNOWN))", set()),
    ("random.seed(1, 2)", set()),
    ("random.seed(1, version=number())", set()),
    ("random.seed(*[1])", set()),
    ("x = random.random()\nrandom.seed(1)", set()),
    ("x = [f() for f in fs]\nrandom.seed(1)", set()),
    ("if x:\n    random.seed(1)", set()),
    ("def f():\n    random.seed(1)", set()),
    ("with a:\n    random.seed(1)", set()),
    ("random = 1\nrandom.seed(1)", set()),
    ("import numpy as random\nrandom.seed(1)", set()),
    ("KNOWN = None\nnp.random.seed(KNOWN)", set()),
    ("from numpy import pi as KNOWN\nnp.random.seed(KNOWN)", set()),
    ("from json import *\nrandom.seed(1)", set()),
    ("import own_module_that_may_draw\nrandom.seed(1)", set()),
    ("from . import x\nrandom.seed(1)", set()),
    ("rng.seed(1)", set()),
    ("a.b = 1\nrandom.seed(1)", set()),
    ("x = f'{drawn()}'\nrandom.seed(1)", set()),
    ("get_ipython().run_line_magic('time', 'random.seed(1)')", set()),
    ("np.random.default_rng(1)", set()),
]


@pytest.mark.parametrize(("source", "found"), SEEDED)
def test_seeds(source: str, found: set[str]) -> None:
    names = {"np": np, "random": random, "KNOWN": 3, "OTHER": object(), "rng": random.Random(), "drawn": random.seed}
    assert states.seeds(source, names) == found


def named(cell: str, names: dict[str, Any], seeded: tuple[str, ...] = ()) -> dict[str, str]:
    use = global_use(compile(cell, "<cell>", "exec"))
    return states.named_parts([(use, names)], seeded)


class TestNamed:
    @pytest.mark.parametrize(
        ("cell", "name"),
        [
            ("np.random.seed(0)", "numpy.random"),
            ("import numpy as xy\ndef f():\n    xy.random.seed(0)", "numpy.random"),
            ("np.random.set_state(s)", "numpy.random"),
            ("random.setstate(s)", "random"),
            ("drawn(1)", "random"),
            ("os.chdir('/')", "the current directory"),
            ("from os import chdir\nchdir('/')", "the current directory"),
            ("import os as o\no.chdir('/')", "the current directory"),
            ("import numpy.random as nr\nnr.seed(0)", "numpy.random"),
            ("import numpy.random\nnumpy.random.seed(0)", "numpy.random"),
            ("from numpy import random as nr\nnr.seed(0)", "numpy.random"),
            ("get_ipython().run_line_magic('cd', '/tmp')", "the current directory"),
            ("'x' in sys.path or sys.path.append('x')", "sys.path"),
            ("import sys\nsys.path.append('x')", "sys.path"),
        ],
    )
    def test_states(self, cell: str, name: str) -> None:
        names = {"np": np, "random": random, "drawn": random.seed} | (
            {} if "import" in cell else {"os": os, "sys": sys}
        )
        parts = named(cell, names)
        assert name in parts
        assert set(named(cell, names, seeded=(name,))) == set(parts) - {name}

    @pytest.mark.parametrize(
        "cell",
        ["rng = np.random.default_rng(seed)", "args.seed", "os.path.join()", "sys.version", "random.random()"],
    )
    def test_what_sets_nothing(self, cell: str) -> None:
        assert named(cell, {"np": np, "random": random, "os": os, "sys": sys}) == {}

    def test_they_change_with_the_state(self, tmp_path: Path) -> None:
        for cell, change in (
            ("os.chdir('/')", lambda: os.chdir("/")),
            ("sys.path", lambda: sys.path.append("x")),
            ("np.random.seed(1)", np.random.rand),
        ):
            first = named(cell, {"np": np, "os": os, "sys": sys})
            change()
            assert named(cell, {"np": np, "os": os, "sys": sys}) != first

    @pytest.mark.parametrize(
        "cell",
        [
            "os.environ['STATES_TEST']",
            "os.environ.setdefault('STATES_TEST', '1')",
            "os.getenv('STATES_TEST')",
            "from os import environ\nenviron.get('STATES_TEST')",
            "environ.get('STATES_TEST')",
            "get_ipython().run_line_magic('env', 'STATES_TEST=1')",
            "get_ipython().run_line_magic('set_env', 'STATES_TEST 1')",
        ],
    )
    def test_environment(self, cell: str) -> None:
        names = {"os": os, "environ": os.environ}
        assert named(cell, names) == {}
        os.environ["STATES_TEST"] = "2"
        assert named(cell, names) == {"$STATES_TEST": "2"}

    def test_texts_of_other_code_are_no_variables(self) -> None:
        os.environ["STATES_TEST"] = "2"
        assert named("print('STATES_TEST')", {"os": os}) == {}


AMBIENT = [name for name, (state, _) in CHANGES.items() if STATES[state].name not in states.GENERATORS]


class TestAmbient:
    @pytest.mark.parametrize("name", AMBIENT)
    def test_settings_count(self, name: str) -> None:
        state, cell = CHANGES[name]
        warnings.filters[:] = PLAIN  # type: ignore[index]
        first, parts = states.ambient_digest(True), states.ambient_parts(True)
        cell()
        counts = state not in ("os.environ", "sys.path")
        assert (states.ambient_digest(True) != first) is counts
        assert (states.ambient_parts(True) != parts) is counts
        assert set(states.ambient_parts(True)) ^ set(parts) <= {state}

    def test_settings_of_plots_count_for_plots_only(self) -> None:
        first = states.ambient_digest(False)
        mpl.rcParams["lines.linewidth"] = 9.0
        assert states.ambient_digest(False) == first
        assert states.ambient_parts(True)["matplotlib.rcParams"] == "lines.linewidth=9.0"

    def test_words(self) -> None:
        np.set_printoptions(precision=3)
        pd.set_option("display.max_rows", 7)
        logging.root.setLevel(logging.INFO)
        logging.root.handlers.clear()
        parts = states.ambient_parts(False)
        assert parts["numpy.printoptions"] == "precision=3"
        assert parts["pandas.options"] == "display.max_rows=7"
        assert parts["logging levels"] == "root=20"

    def test_words_stay_short_and_tell_apart(self) -> None:
        mpl.rcParams["axes.prop_cycle"] = mpl.cycler(color=["r"] * 100)
        first = states.ambient_parts(True)["matplotlib.rcParams"]
        mpl.rcParams["axes.prop_cycle"] = mpl.cycler(color=["r"] * 99 + ["g"])
        assert len(first) < 250
        assert states.ambient_parts(True)["matplotlib.rcParams"] != first

    def test_a_function_counts_by_what_it_does(self) -> None:
        pd.set_option("display.float_format", lambda number: f"{number:.1f}")
        first, parts = states.ambient_digest(False), states.ambient_parts(False)
        pd.set_option("display.float_format", lambda number: f"{number:.1f}")
        assert (states.ambient_digest(False), states.ambient_parts(False)) == (first, parts)
        pd.set_option("display.float_format", lambda number: f"{number:.2f}")
        assert states.ambient_digest(False) != first

    def test_what_has_no_content_is_named(self) -> None:
        np.seterrcall(threading.Lock().acquire)
        with pytest.raises(NotCacheable, match=r"numpy\.errstate"):
            states.ambient_digest(False)

    def test_where_a_handler_writes_to_does_not_count_but_its_format_does(self) -> None:
        logging.root.handlers.clear()
        logging.root.addHandler(logging.StreamHandler(sys.stdout))
        first = states.ambient_digest(False)
        logging.root.handlers[:] = [logging.StreamHandler(sys.stderr)]
        assert states.ambient_digest(False) == first
        logging.root.handlers[0].setFormatter(logging.Formatter("%(message)s"))
        assert states.ambient_digest(False) != first

    def test_levels_that_a_package_gives_its_own_loggers_do_not_count(self) -> None:
        first = states.ambient_digest(False)
        logger = logging.getLogger("numpy.states_test")
        logger.setLevel(logging.DEBUG)
        try:
            assert states.ambient_digest(False) == first
        finally:
            logger.setLevel(logging.NOTSET)


def python(*lines: str, seed: str = "0") -> list[str]:
    """What a fresh Python shows for some lines."""
    code = "from frappe_cache_ext.cells import states\nd = lambda: print(states.ambient_digest(True).hex())\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "\n".join(lines)],
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


class TestProcesses:
    def test_digests_are_the_same_under_every_hash_seed(self) -> None:
        lines = (
            "import random, numpy as np, pandas as pd, decimal, warnings, matplotlib as mpl",
            "np.random.seed(1); random.seed('a'); np.seterr(all='raise'); pd.set_option('display.max_rows', 3)",
            "decimal.getcontext().traps[decimal.Inexact] = True; warnings.simplefilter('error', FutureWarning)",
            "mpl.rc('axes', prop_cycle=mpl.cycler(color=['r']), grid=True)",
            "print(states.generator_digest('random').hex(), states.generator_digest('numpy.random').hex())",
            "print(sorted(states.ambient_parts(True).items()))",
        )
        assert python(*lines, "d()", seed="1") == python(*lines, "d()", seed="2")

    @pytest.mark.slow
    def test_loading_a_library_changes_nothing(self) -> None:
        lines = ("d()", "import numpy, pandas, sklearn.linear_model, decimal", "d()", "import matplotlib.pyplot as plt")
        shown = python(*lines, "d()", "plt.close(plt.figure())", "d()")
        assert len(shown) == 4
        assert len(set(shown)) == 1

    def test_a_library_that_a_cell_loads(self) -> None:
        shown = python(
            "before = states.snapshot()",
            "import numpy as np, pandas, matplotlib.pyplot",
            "after = states.snapshot(); done = states.changes(before, after)",
            "print(*[name.replace(' ', '_') for name in done.values if name not in ('os.environ',)])",
            "print(len(states.generators_used(before, after)))",
            "np.random.seed(0); after = states.snapshot(); done = states.changes(before, after)",
            "print('numpy.random' in done.values, *states.generators_used(before, after))",
        )
        # Libraries bring filters of their own; NumPy seeds its generator from the system, which is nobody's doing.
        assert shown == ["warnings.filters", "0", "True", "numpy.random"]

    def test_putting_back_loads_the_library_as_the_cell_did(self) -> None:
        np.random.seed(3)
        changes = states.Changes({"numpy.random": STATES["numpy.random"].read()}, ())
        np.set_printoptions(precision=2)
        changes.values["numpy.printoptions"] = {"set": {"precision": 2}, "gone": []}  # type: ignore[index]
        shown = python(
            f"import pickle; states.restore(pickle.loads({pickle.dumps(changes.values)!r}))",
            "import numpy as np; print(np.random.randint(10**6), np.get_printoptions()['precision'])",
        )
        assert shown == [str(np.random.randint(10**6)), "2"]


PLAIN = [
    ("default", None, DeprecationWarning, "__main__", 0),
    *(("ignore", None, kind, None, 0) for kind in (DeprecationWarning, PendingDeprecationWarning)),
    *(("ignore", None, kind, None, 0) for kind in (ImportWarning, ResourceWarning)),
]
RANK = ("always", None, np.exceptions.RankWarning, None, 0)
USERS = ("ignore", None, FutureWarning, None, 0)
ALL = ("ignore", None, Warning, None, 0)


@pytest.mark.parametrize(
    ("filters", "chosen"),
    [
        (PLAIN, ()),
        ([RANK, *PLAIN], ()),
        ([USERS, *PLAIN], ("ignore::FutureWarning",)),
        ([USERS, RANK, *PLAIN], ("ignore::FutureWarning",)),
        ([RANK, USERS, *PLAIN], ("always::numpy.exceptions.RankWarning", "ignore::FutureWarning")),
        ([USERS, *PLAIN, USERS], ("ignore::FutureWarning",)),
        ([ALL, *PLAIN], ("ignore::Warning",)),
        ([ALL, USERS], ("ignore::Warning",)),
        ([USERS, ALL], ("ignore::FutureWarning", "ignore::Warning")),
        ([], ("nothing behind it",)),
        ([RANK], ("nothing behind it",)),
        ([USERS], ("ignore::FutureWarning", "nothing behind it")),
        (PLAIN[2:], ("ignore::PendingDeprecationWarning", "ignore::ImportWarning", "ignore::ResourceWarning")),
    ],
)
def test_which_filters_count(filters: list[Any], chosen: tuple[str, ...]) -> None:
    found = warning_filters.chosen(filters)
    assert found[: len(chosen)] == chosen
    assert set(found[len(chosen) :]) <= {"nothing behind it"}


def test_each_kind_of_filter_is_told_from_the_others() -> None:
    ways: list[Callable[[], None]] = [
        lambda: warnings.filterwarnings("ignore", "a"),
        lambda: warnings.filterwarnings("ignore", "a:b"),
        lambda: warnings.filterwarnings("ignore", "b", module="a"),
        lambda: warnings.filterwarnings("ignore", module="a"),
        lambda: warnings.filterwarnings("error", "a"),
        lambda: warnings.filterwarnings("ignore", "a", lineno=3),
        lambda: warnings.filterwarnings("ignore", "a", FutureWarning),
        lambda: warnings.filterwarnings("ignore", "a", append=True),
    ]
    found = set()
    for way in ways:
        with warnings.catch_warnings():
            way()
            found.add(warning_filters.chosen())
    assert len(found) == len(ways)


def test_every_edit_of_a_list_leads_to_what_it_was_told_of() -> None:
    numbers = random.Random(1)
    for _ in range(2000):
        before, after = ([numbers.randrange(5) for _ in range(numbers.randrange(6))] for _ in range(2))
        edit = list_edit(before, after)
        assert (before if edit is None else edited_list(before, edit)) == after


@pytest.mark.alone
def test_a_snapshot_takes_well_under_a_millisecond() -> None:
    assert importlib.import_module("pandas") is pd
    best = min(_seconds(states.snapshot) for _ in range(50))
    assert best < 1e-3


def _seconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    with contextlib.suppress(NotCacheable):
        function()
    return time.perf_counter() - started


DIGEST = "from frappe_cache_ext.cells import states as _s; print(_s.ambient_digest(True).hex(), _s.ambient_parts(True))"
LIFE = (
    DIGEST,
    f"import numpy, pandas, decimal, locale, logging, sklearn.linear_model, matplotlib.pyplot as plt; {DIGEST}",
    f"plt.plot([1]); plt.show(); plt.close('all'); {DIGEST}",
    f"print(len(str(pandas.DataFrame([1])))); decimal.Decimal(1) / 3; {DIGEST}",
)


@pytest.mark.slow
def test_an_ipython_in_which_nobody_touched_a_setting_always_gives_the_same_digest(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"],
        env=os.environ | {"IPYTHONDIR": str(tmp_path), "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
        input="\n".join((*LIFE, f"%precision 3\n{DIGEST}", "")),
        capture_output=True,
        text=True,
        check=True,
    )
    *untouched, touched = re.findall(r"([0-9a-f]{32}) (\{.*\})", done.stdout)
    assert untouched == [untouched[0]] * len(LIFE), done.stdout
    assert touched[1] == "{'numpy.printoptions': 'precision=3'}"


@pytest.mark.slow
def test_so_do_two_kernels(tmp_path: Path) -> None:
    environment = {"IPYTHONDIR": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path)}
    shown: list[list[str]] = []
    for _ in range(2):
        kernel = Kernel(environment)
        try:
            shown.append([kernel.run(cell).out.splitlines()[-1] for cell in LIFE])
            kernel.run("%matplotlib inline")
            shown[-1].append(kernel.run(LIFE[2]).out.splitlines()[-1])
        finally:
            kernel.stop()
    assert shown == [[shown[0][0]] * (len(LIFE) + 1)] * 2


@pytest.mark.slow
def test_settings_that_python_keeps_by_context_last_in_a_kernel_when_they_are_put_back(tmp_path: Path) -> None:
    kernel = Kernel({"IPYTHONDIR": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path)})
    edits = {
        "decimal context": {"set": {"prec": 5, "trap Inexact": True}, "gone": []},
        "numpy.errstate": {"set": {"divide": "ignore"}, "gone": []},
        "numpy.printoptions": {"set": {"precision": 3}, "gone": []},
    }
    try:
        kernel.value(f"import numpy as np; from frappe_cache_ext.cells import states; states.restore({edits!r})")
        kernel.value("import decimal")
        shown = kernel.value(
            "(decimal.getcontext().prec, decimal.getcontext().traps[decimal.Inexact], np.geterr()['divide'], "
            "np.get_printoptions()['precision'])"
        )
    finally:
        kernel.stop()
    assert shown == "(5, True, 'ignore', 3)"
