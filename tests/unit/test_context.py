"""Sites, users and requests in threads, tasks and notebooks."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from frappe_cache_ext import context
from frappe_cache_ext.errors import SettingsError


def in_a_thread(function: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def site() -> str:
    return context.local.site


class TestSites:
    def test_init_chooses_one_and_begins_a_request(self) -> None:
        context.init("a.test")
        first = context.current_request()
        context.init("b.test")
        assert site() == "b.test"
        assert context.current_request() is not first

    def test_a_thread_that_never_called_init_uses_the_default_site(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FRAPPE_CACHE_SITE", "default.test")
        context.init("a.test")
        assert in_a_thread(site) == "default.test"
        assert in_a_thread(context.current_request) is None

    def test_threads_and_tasks_do_not_disturb_each_other(self) -> None:
        async def work(name: str) -> str:
            context.init(name)
            await asyncio.sleep(0.01)
            return site()

        async def main() -> list[str]:
            return await asyncio.gather(*(work(f"{letter}.test") for letter in "abc"))

        context.init("main.test")
        assert asyncio.run(main()) == ["a.test", "b.test", "c.test"]
        assert site() == "main.test"

    def test_destroy_goes_back(self) -> None:
        context.init("a.test")
        context.set_user("anna")
        context.destroy()
        assert (site(), context.current_user(), context.current_request()) == ("default", "Administrator", None)

    def test_conf(self) -> None:
        context.init("a.test", db_name="_abc", url="memory://x")
        assert context.local.conf == {"db_name": "_abc", "redis_cache": "memory://x"}

    def test_a_wrong_setting_changes_nothing(self) -> None:
        context.init("a.test")
        with pytest.raises(SettingsError):
            context.init("b.test", url="nonsense")
        assert site() == "a.test"


class TestUsers:
    def test_the_sessions_user(self) -> None:
        context.init("a.test", user="anna")
        assert context.session.user == "anna"
        context.session.user = "bob"
        assert context.current_user() == "bob"
        context.init("a.test")
        assert context.current_user() == "Administrator"

    @pytest.mark.parametrize(("wrong", "error"), [("", ValueError), (None, TypeError), (5, TypeError)])
    def test_a_wrong_name(self, wrong: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            context.set_user(wrong)


class TestRequests:
    def test_a_block_is_one(self) -> None:
        assert context.current_request() is None
        with context.request() as outer:
            with context.request() as inner:
                assert context.current_request() is inner is not outer
            assert context.current_request() is outer
        assert context.current_request() is None

    def test_outside_any_nothing_is_kept(self) -> None:
        context.local.request_cache["x"] = 1
        assert context.local.request_cache == {}
        assert len(context.local.cache) == 0


class TestNotebooks:
    """`follow_cells`: what a cell chooses holds for the next one, and for threads."""

    @pytest.fixture(autouse=True)
    def notebook(self) -> None:
        context.follow_cells(True)

    def cell(self, function: Any) -> Any:
        """Run as a kernel runs a cell that does not await."""
        context.begin_cell()
        try:
            return function()
        finally:
            context.end_cell()

    def awaiting_cell(self, coroutine: Any) -> Any:
        """Run as a kernel runs a cell that awaits: in a task, whose context ends with it."""

        async def main() -> Any:
            context.begin_cell()
            return await coroutine()

        try:
            return asyncio.run(main())
        finally:
            context.end_cell()

    def test_init_holds_for_later_cells_and_threads(self) -> None:
        self.cell(lambda: context.init("a.test"))
        assert self.cell(site) == "a.test"
        assert in_a_thread(site) == "a.test"

    def test_from_a_cell_that_awaits_as_well(self) -> None:
        async def choose() -> None:
            await asyncio.sleep(0)
            context.init("a.test")
            context.set_user("anna")

        self.awaiting_cell(choose)
        assert self.cell(site) == "a.test"
        assert self.cell(context.current_user) == "anna"

    def test_a_task_or_thread_that_a_cell_starts_chooses_for_itself(self) -> None:
        self.cell(lambda: context.init("a.test"))

        async def work(name: str) -> str:
            context.init(name)
            await asyncio.sleep(0.01)
            return site()

        async def both() -> list[str]:
            return await asyncio.gather(work("b.test"), work("c.test"))

        assert self.awaiting_cell(both) == ["b.test", "c.test"]
        in_a_thread(lambda: context.init("d.test"))
        assert self.cell(site) == "a.test"

    def test_each_cell_is_a_request(self) -> None:
        first = self.cell(context.current_request)
        second = self.cell(context.current_request)
        assert first is not None
        assert second is not None
        assert first is not second
        assert context.current_request() is None

    def test_what_was_chosen_before_the_extension_was_loaded_stays(self) -> None:
        context.follow_cells(False)
        context.init("before.test")
        context.set_user("anna")
        context.follow_cells(True)
        assert self.cell(site) == "before.test"
        assert self.cell(context.current_user) == "anna"

    def test_destroy_goes_back_to_the_default(self) -> None:
        self.cell(lambda: context.init("a.test"))
        self.cell(context.destroy)
        assert self.cell(site) == "default"
