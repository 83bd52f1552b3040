"""The extension in a real kernel, spoken to as JupyterLab speaks to it."""

from __future__ import annotations

import time

import pytest

from .conftest import Answer, Kernel


class TestMagics:
    def test_values_and_outputs(self, fresh: Kernel) -> None:
        assert fresh.run('%cache_set color "green" --ttl 60') == Answer(status="ok")
        assert fresh.value("%cache_get color") == "'green'"
        assert fresh.run("%cache_get nothing") == Answer(status="ok", out="no such key: 'nothing'\n")

    def test_tables_come_as_html_and_as_text(self, fresh: Kernel) -> None:
        fresh.run("%cache_set <b>&amp; 1")
        answer = fresh.run("%cache_keys")
        assert answer.text.splitlines()[2].split()[0] == "<b>&amp;"
        assert "<table>" in answer.data["text/html"]
        assert "<td" in answer.data["text/html"]
        assert "&lt;b&gt;&amp;amp;" in answer.data["text/html"]

    @pytest.mark.parametrize(
        ("cell", "line"),
        [
            ("%cache_set k x + 1", "NameError: name 'x' is not defined"),
            (
                "%cache_get --foo k",
                "%cache_get: there is no option --foo. Usage: %cache_get [--user [U]] [--shared] KEY",
            ),
            (
                "%cache_connect foo://",
                "'foo://' is not the URL of a server; it begins with one of redis://, rediss://, "
                "unix://, sentinel://, cluster://, embedded://, memory://.",
            ),
            ("%cache_set k (1 for _ in ())", "not stored: value: generator <genexpr> cannot be pickled"),
        ],
    )
    def test_an_error_is_one_line_and_stops_the_run(self, fresh: Kernel, cell: str, line: str) -> None:
        assert fresh.run(f"{cell}\nprint('went on')") == Answer(status="error", err=f"{line}\n")

    def test_help(self, fresh: Kernel) -> None:
        answer = fresh.run("%cache_set --help")
        assert (answer.status, answer.err, answer.error) == ("ok", "", "")
        assert answer.out.startswith("  %cache_set [--help] [--ttl S]")

    def test_completion(self, fresh: Kernel) -> None:
        fresh.run("%cache_set color 1")
        fresh.run('%cache_set "col or" 1')
        for code in ("%cache_get co", "x = %cache_get co", "y = 1\n%cache_get co"):
            reply = fresh.complete(code)
            assert reply["matches"] == ["'col or'", "color"][1:]
            assert code[reply["cursor_start"] : reply["cursor_end"]] == "co"
        assert fresh.complete("%cache_get 'co")["matches"] == ["'col or'", "'color'"]
        assert fresh.complete("%cache_set --t")["matches"] == ["--ttl"]

    def test_cached_expressions(self, fresh: Kernel) -> None:
        fresh.run("import time\ndef slow(x):\n    time.sleep(0.3)\n    return x + 1")
        assert fresh.run("%cached slow(41)").out.startswith("computed · ")
        answer = fresh.run("%time %cached slow(41)")
        assert answer.out.startswith("cached · ")
        assert answer.text == "42"


class TestRequests:
    def test_each_cell_is_one(self, fresh: Kernel) -> None:
        fresh.run("frappe.cache.set_value('k', 1)")
        behind = "import frappe_cache_ext\nclient = frappe.cache.redis\nname = frappe.cache.make_key('k')\n"
        fresh.run(behind)
        changed = "client.set(name, b'\\x80\\x05K\\x02.')"  # past frappe.cache, so that no copy is forgotten
        assert fresh.value(f"a = frappe.cache.get_value('k'); {changed}; a, frappe.cache.get_value('k')") == "(1, 1)"
        assert fresh.value("frappe.cache.get_value('k')") == "2"

    def test_request_cache_ends_with_the_cell(self, fresh: Kernel) -> None:
        fresh.run(
            "from frappe.utils.caching import request_cache\nruns = []\n"
            "@request_cache\ndef f(x):\n    runs.append(x)\n    return x"
        )
        assert fresh.value("f(1), f(1), len(runs)") == "(1, 1, 1)"
        assert fresh.value("f(1), f(1), len(runs)") == "(1, 1, 2)"

    def test_a_cell_that_fails_ends_its_request(self, fresh: Kernel) -> None:
        fresh.run("frappe.cache.set_value('k', 1)")
        assert fresh.run("frappe.cache.get_value('k'); 1/0").status == "error"
        assert fresh.value("len(frappe.local.cache)") == "0"

    def test_a_cell_inside_a_cell_is_the_same_request(self, fresh: Kernel) -> None:
        assert (
            fresh.value(
                "frappe.cache.set_value('k', 1)\n"
                "get_ipython().run_cell('inner = len(frappe.local.cache)')\n"
                "inner, len(frappe.local.cache)"
            )
            == "(1, 1)"
        )
        assert fresh.run("%%capture taken\nprint(len(frappe.local.cache))\nfrappe.cache.get_value('k')").status == "ok"
        assert fresh.value("taken.stdout, len(frappe.local.cache)") == r"('0\n', 0)"

    def test_nothing_is_a_request_between_cells(self, fresh: Kernel) -> None:
        fresh.run(
            "import threading\nfrom frappe_cache_ext import context\n"
            "def look():\n    timer_saw.append(context.current_request())\n"
            "timer_saw = []\n"
            "import asyncio\nasyncio.get_event_loop().call_later(0.01, look)"
        )
        time.sleep(0.2)
        assert fresh.value("timer_saw") == "[None]"


class TestAwait:
    def test_a_cell_that_awaits_is_a_request(self, fresh: Kernel) -> None:
        fresh.run("import asyncio\nfrappe.cache.set_value('k', 1)")
        assert fresh.value("a = frappe.cache.get_value('k'); await asyncio.sleep(0); len(frappe.local.cache)") == "1"
        assert fresh.value("len(frappe.local.cache)") == "0"
        assert fresh.value("await asyncio.sleep(0); len(frappe.local.cache)") == "0"

    def test_a_site_chosen_there_is_the_notebooks(self, fresh: Kernel) -> None:
        fresh.run("await asyncio.sleep(0); frappe.init('awaited.test')")
        assert fresh.value("frappe.local.site") == "'awaited.test'"
        fresh.run("await asyncio.sleep(0)\n%cache_site awaited2.test")
        assert fresh.value("await asyncio.sleep(0); frappe.local.site") == "'awaited2.test'"
        assert fresh.value("%cache_site") == "'awaited2.test'"

    def test_a_task_of_its_own_has_a_site_of_its_own(self, fresh: Kernel) -> None:
        before = fresh.value("frappe.local.site")
        fresh.run(
            "import asyncio\nasync def elsewhere():\n    frappe.init('task.test')\n    return frappe.local.site\n"
        )
        assert fresh.value("await asyncio.create_task(elsewhere())") == "'task.test'"
        assert fresh.value("frappe.local.site") == before

    def test_magics_in_such_a_cell(self, fresh: Kernel) -> None:
        fresh.run("import asyncio\nawait asyncio.sleep(0)\n%cache_set k 5\nx = %cache_get k")
        assert fresh.value("x") == "5"
        answer = fresh.run("await asyncio.sleep(0)\n%cache_set k nothing + 1")
        assert answer == Answer(status="error", err="NameError: name 'nothing' is not defined\n")

    def test_decorated_coroutines(self, fresh: Kernel) -> None:
        fresh.run(
            "from frappe.utils.caching import redis_cache\nruns = []\n"
            "@redis_cache\nasync def f(x):\n    runs.append(x)\n    return x"
        )
        assert fresh.value("await f(3), await f(3), runs") == "(3, 3, [3])"


class TestThreads:
    def test_they_work_for_the_notebooks_site(self, fresh: Kernel) -> None:
        site = fresh.value("frappe.local.site")
        fresh.run(
            "import threading\nfrom concurrent.futures import ThreadPoolExecutor\n"
            "def here():\n    frappe.cache.set_value('from', 'thread')\n"
            "    return frappe.local.site, frappe.session.user"
        )
        fresh.run("%cache_user anna")
        fresh.run("pool = ThreadPoolExecutor(1); first = pool.submit(here).result()")
        assert fresh.value("first") == f"({site}, 'anna')"
        assert fresh.value("%cache_get from") == "'thread'"
        fresh.run("%cache_site thread2.test")
        assert fresh.value("pool.submit(here).result()") == "('thread2.test', 'Administrator')"

    def test_what_they_choose_is_theirs(self, fresh: Kernel) -> None:
        site = fresh.value("frappe.local.site")
        fresh.run(
            "import threading\nt = threading.Thread(target=lambda: frappe.init('other.test')); t.start(); t.join()"
        )
        assert fresh.value("frappe.local.site") == site

    def test_they_share_no_request(self, fresh: Kernel) -> None:
        fresh.run("frappe.cache.set_value('k', 1)")
        cell = (
            "import threading\nframed = []\nfrappe.cache.get_value('k')\n"
            "t = threading.Thread(target=lambda: framed.append(len(frappe.local.cache))); t.start(); t.join(); framed"
        )
        assert fresh.value(cell) == "[0]"


class TestEntriesOutliveTheKernel:
    def test_a_second_kernel_finds_them(self, fresh: Kernel, kernel_environment: dict[str, str]) -> None:
        site = fresh.value("%cache_site").strip("'")
        fresh.run(
            "from frappe.utils.caching import redis_cache\n@redis_cache\ndef f(x):\n    print('computed')\n    return x"
        )
        fresh.run("f(3)")
        fresh.run("value = frappe._dict(a=1)")
        fresh.run("%cache_set k value")
        second = Kernel(kernel_environment)
        try:
            second.run("%load_ext frappe_cache_ext")
            second.run(f"%cache_site {site}")
            assert second.value("%cache_get k") == "{'a': 1}"
            assert second.value("x = %cache_get k\ntype(x) is frappe._dict") == "True"
            second.run(
                "from frappe.utils.caching import redis_cache\n"
                "@redis_cache\ndef f(x):\n    print('computed')\n    return x"
            )
            assert second.run("f(3)").out == ""
        finally:
            second.stop()


class TestUnload:
    def test_nothing_is_left(self, kernel_environment: dict[str, str]) -> None:
        kernel = Kernel(kernel_environment)
        try:
            kernel.run("import sys\nbefore = set(sys.modules) | {'frappe'}")
            kernel.run("%load_ext frappe_cache_ext")
            kernel.run("%cache_set k 1")
            assert kernel.run("%unload_ext frappe_cache_ext") == Answer(status="ok")
            assert kernel.run("%cache_get k").status == "error"
            assert kernel.run("frappe").error == "NameError: name 'frappe' is not defined"
            assert kernel.run("import frappe").error == "ModuleNotFoundError: No module named 'frappe'"
            assert kernel.value("get_ipython().events.callbacks['pre_run_cell']").count("frappe") == 0
            assert kernel.complete("%cache_g")["matches"] == []
            # And it can be loaded again.
            kernel.run("%load_ext frappe_cache_ext")
            assert kernel.value("%cache_get k") == "1"
            kernel.run("%cache_clear")
        finally:
            kernel.stop()
