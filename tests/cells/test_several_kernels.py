"""`%%cached` where several kernels, interrupts, killed processes and broken entries meet."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import RedisServer, requires

from .kernels import NotebookKernel, Shown, side_by_side

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LOAD = "%load_ext frappe_cache_ext"
SLOW = "open('slow', 'w').close()"
"""Makes the next cell run until it is interrupted. What a cell finds in its directory is no part of its key."""

UNTIL_INTERRUPTED = """%%cached
import os, time
print('begun')
while os.path.exists('slow'):
    time.sleep(0.02)
y = [1]"""


@pytest.fixture(scope="module")
def pair(kernels: dict[str, str]) -> Iterator[tuple[NotebookKernel, NotebookKernel]]:
    """Two kernels that hash differently."""
    both = side_by_side(*(partial(NotebookKernel, kernels | {"PYTHONHASHSEED": seed}, LOAD) for seed in ("1", "2")))
    yield both[0], both[1]
    for kernel in both:
        kernel.stop()


@pytest.fixture
def two(
    pair: tuple[NotebookKernel, NotebookKernel], site: str, tmp_path: Path
) -> tuple[NotebookKernel, NotebookKernel]:
    """The two kernels at a site of their own, where nothing has run, each in a directory of its own."""
    for number, kernel in enumerate(pair):
        (tmp_path / str(number)).mkdir()
        begun = kernel.play(f"%reset -f\n%cache_site {site}\n%cd -q {tmp_path / str(number)}")
        assert begun.reply == "ok", begun.text
    return pair


@pytest.fixture(scope="module")
def signing(kernels: dict[str, str]) -> Iterator[NotebookKernel]:
    """A kernel with a secret."""
    kernel = NotebookKernel(kernels | {"FRAPPE_CACHE_SECRET": "hush"}, LOAD)
    yield kernel
    kernel.stop()


@pytest.fixture
def start(kernels: dict[str, str]) -> Iterator[Callable[..., NotebookKernel]]:
    """Starts kernels that end with the test."""
    started: list[NotebookKernel] = []

    def begin(preamble: str = LOAD, **environment: str) -> NotebookKernel:
        started.append(NotebookKernel(kernels | environment, preamble))
        return started[-1]

    yield begin
    for kernel in started:
        kernel.stop()


@pytest.fixture
def own_server() -> Iterator[Callable[..., RedisServer]]:
    """Starts a server that the test may kill."""
    binary = shutil.which("redis-server")
    requires(binary, "redis-server")
    started: list[RedisServer] = []

    def begin(*options: str) -> RedisServer:
        started.append(RedisServer(binary or "", *options).start())
        return started[-1]

    yield begin
    for server in started:
        server.stop()


def ran_plainly(shown: Shown, why: str) -> None:
    """Assert that a cell ran, and that one line says why nothing is stored."""
    assert (shown.reply, shown.status) == ("ok", "refused"), shown
    assert len(shown.said) == 1
    assert why in shown.said[0]


class TestTwoKernels:
    @pytest.mark.parametrize(
        "before",
        [
            "x = {'b', 'a', 'c', 1, None, (2, 'd')}",
            "x = frozenset({frozenset({'a', 'b'}), frozenset({'c', 'd'})})",
            "x = {'k': {'s', 't', 'u'}, ('a', 'b'): 1}",
            "names = {'p', 'q', 'r'}\ndef x(v):\n    return v in {'a', 'b', 'c'} or v in names",
            "class X:\n    allowed = {'a', 'b', 'c'}\nx = X()\nx.seen = {'v', 'w'}",
        ],
    )
    def test_hash_seeds_do_not_matter(self, two: tuple[NotebookKernel, NotebookKernel], before: str) -> None:
        first, second = two
        cell = "%%cached\ny = [x, {'m', 'n', 'o'}]"
        assert [kernel.play(before).reply for kernel in two] == ["ok", "ok"]
        assert first.play(cell).status == "computed"
        assert second.play(cell).status == "hit"
        assert second.play("y[0] is x, sorted(y[1])").text == "(True, ['m', 'n', 'o'])"

    def test_a_new_kernel_imports_what_it_gets(
        self, two: tuple[NotebookKernel, NotebookKernel], start: Callable[..., NotebookKernel], site: str
    ) -> None:
        cell = "%%cached\nimport numpy as np\nimport pandas as pd\nd = pd.DataFrame({'a': np.arange(3)})\nd"
        computed = two[0].play(cell)
        assert computed.status == "computed"
        third = start(f"{LOAD}\n%cache_site {site}\nimport sys")
        assert third.evaluate("'pandas' in __import__('sys').modules") is False
        found = third.play(cell)
        assert found.status == "hit"
        assert [output[1] for output in found.outputs] == [output[1] for output in computed.outputs]
        assert third.play("int(np.sum(d.a)), pd.__name__").text == "(3, 'pandas')"


class TestAtOnce:
    def test_one_of_ten_computes(self, start: Callable[..., NotebookKernel], site: str, tmp_path: Path) -> None:
        log = tmp_path / "log"
        kernels = side_by_side(*[partial(start, f"{LOAD}\n%cache_site {site}")] * 10)
        note = f"with open({str(log)!r}, 'a') as f:\n    f.write('ran ')\ndel f"
        cell = f"%%cached\nimport time\n{note}\ntime.sleep(2)\ny = [5]"
        asked = [kernel.begin(cell) for kernel in kernels]
        shown = [kernel.finish(one) for kernel, one in zip(kernels, asked, strict=True)]
        assert log.read_text() == "ran "
        assert sorted(one.status for one in shown) == ["computed"] + ["hit"] * 9
        computing = next(kernel.pid for kernel, one in zip(kernels, shown, strict=True) if one.status == "computed")
        for one in shown:
            if one.status == "hit":
                assert one.said[0].startswith(f"computing in kernel {computing} on ")
                assert one.said[0].endswith(" – waiting (interrupt to compute here)")
                assert f"waited for kernel {computing}" in one.said[-1]
        assert {kernel.play("y").text for kernel in kernels} == {"[5]"}

    def test_an_interrupt_while_waiting_computes_here(self, two: tuple[NotebookKernel, NotebookKernel]) -> None:
        first, second = two
        first.play(SLOW)
        running = first.begin(UNTIL_INTERRUPTED)
        first.until(running, "begun")
        waiting = second.begin(UNTIL_INTERRUPTED)
        second.until(waiting, "waiting (interrupt to compute here)")
        second.interrupt()
        shown = second.finish(waiting)
        first.interrupt()
        stopped = first.finish(running)
        assert shown.reply == "ok", shown
        assert shown.status in {"computed", "refused"}
        assert shown.text == "begun\n"
        assert second.play("y").text == "[1]"
        assert stopped.reply == "error"

    def test_waiting_ends_after_as_long_as_one_likes(self, two: tuple[NotebookKernel, NotebookKernel]) -> None:
        first, second = two
        first.play(SLOW)
        running = first.begin(UNTIL_INTERRUPTED)
        first.until(running, "begun")
        started = time.monotonic()
        shown = second.play(UNTIL_INTERRUPTED.replace("%%cached", "%%cached --wait 0.5"))
        assert 0.5 <= time.monotonic() - started < 10
        at_once = second.play(UNTIL_INTERRUPTED.replace("%%cached", "%%cached --no-wait --refresh"))
        first.interrupt()
        first.finish(running)
        for one in (shown, at_once):
            assert (one.reply, one.text) == ("ok", "begun\n")
        assert not any("waiting" in line for line in at_once.said)

    def test_an_interrupted_cell_is_not_stored_and_nobody_waits_for_it(
        self, two: tuple[NotebookKernel, NotebookKernel]
    ) -> None:
        first, second = two
        first.play(SLOW)
        running = first.begin(UNTIL_INTERRUPTED)
        first.until(running, "begun")
        first.interrupt()
        stopped = first.finish(running)
        assert (stopped.reply, stopped.status, stopped.said) == ("error", "silent", [])
        assert stopped.outputs[-1][:2] == ("error", "KeyboardInterrupt")
        assert first.play("'y' in globals()").text == "False"
        shown = second.play(UNTIL_INTERRUPTED)
        assert (shown.status, len(shown.said)) == ("computed", 1)
        first.play("import os\nos.remove('slow')")
        assert first.play(UNTIL_INTERRUPTED).status == "hit"

    def test_an_interrupted_cell_that_awaits_is_not_stored(self, two: tuple[NotebookKernel, NotebookKernel]) -> None:
        first, second = two
        cell = UNTIL_INTERRUPTED.replace("import os", "import asyncio, os").replace("time.sleep", "await asyncio.sleep")
        first.play(SLOW)
        running = first.begin(cell)
        first.until(running, "begun")
        first.interrupt()
        assert first.finish(running).reply == "error"
        assert second.play(cell).status == "computed"

    def test_a_killed_kernel_is_not_waited_for_long(
        self,
        two: tuple[NotebookKernel, NotebookKernel],
        start: Callable[..., NotebookKernel],
        site: str,
        tmp_path: Path,
    ) -> None:
        first, second = two[0], start(f"{LOAD}\n%cache_site {site}\n%cd -q {tmp_path}")
        second.play(SLOW)
        second.until(second.begin(UNTIL_INTERRUPTED), "begun")
        os.kill(second.pid, signal.SIGKILL)
        started = time.monotonic()
        shown = first.play(UNTIL_INTERRUPTED)
        assert shown.status == "computed", shown
        assert f"computing in kernel {second.pid} on " in shown.said[0]
        assert time.monotonic() - started < 15
        assert two[1].play(UNTIL_INTERRUPTED).status == "hit"


class TestServers:
    def test_a_server_that_dies_meanwhile_costs_no_result(
        self, start: Callable[..., NotebookKernel], own_server: Callable[..., RedisServer]
    ) -> None:
        server = own_server()
        kernel = start(FRAPPE_CACHE_URL=server.url)
        asked = kernel.begin("%%cached\nimport time\nprint('begun')\ntime.sleep(1)\ny = [1]")
        kernel.until(asked, "begun")
        server.kill()
        ran_plainly(kernel.finish(asked), "server")
        assert kernel.play("y").text == "[1]"
        ran_plainly(kernel.play("%%cached\nz = y + [2]"), "cannot be reached")
        assert kernel.play("z").text == "[1, 2]"

    def test_no_server_at_all(
        self, start: Callable[..., NotebookKernel], own_server: Callable[..., RedisServer]
    ) -> None:
        server = own_server()
        server.stop()
        kernel = start(FRAPPE_CACHE_URL=server.url)
        shown = kernel.play("%%cached\ny = [1]\nprint('ran')")
        ran_plainly(shown, "cannot be reached")
        assert kernel.play("y").text == "[1]"

    def test_a_full_server(self, start: Callable[..., NotebookKernel], own_server: Callable[..., RedisServer]) -> None:
        kernel = start(FRAPPE_CACHE_URL=own_server("--maxmemory", "8mb", "--maxmemory-policy", "noeviction").url)
        ran_plainly(kernel.play("%%cached\ny = b'x' * 20_000_000"), "full")
        assert kernel.play("len(y)").text == "20000000"
        assert kernel.play("%%cached\nz = 1").status == "computed"
        assert kernel.play("%%cached\nz = 1").status == "hit"

    def test_a_cache_within_the_process(self, start: Callable[..., NotebookKernel]) -> None:
        kernel = start(FRAPPE_CACHE_URL="memory://")
        assert kernel.play("%%cached\nz = [1]\nz").status == "computed"
        assert kernel.play("%%cached\nz = [1]\nz").status == "hit"


DAMAGES = {
    "truncated": "client.set(name, value[:-3])",
    "a bit is flipped": "client.set(name, value[:-9] + bytes([value[-9] ^ 1]) + value[-8:])",
    "emptied": "client.set(name, b'')",
    "other bytes": "client.set(name, b'garbage')",
    "another type": "client.delete(name)\n    client.rpush(name, b'x')",
}
RECORD = r"b'\x1f' not in name"
"""Beside a cell's record lie its parts and its lease, whose names go on after this byte."""
FIND = """def change():
    import frappe_cache_ext as frappe
    client = frappe.cache.redis
    ours = frappe.cache.make_key('cell::')
    found = [name for name in client.scan_iter() if name.startswith(ours) and {which}]
    for name in found:
        value = client.get(name)
        {damage}
    return len(found)
change()"""


class TestBrokenEntries:
    @pytest.mark.parametrize("which", [RECORD, "b'part' in name"], ids=["record", "part"])
    @pytest.mark.parametrize("damage", list(DAMAGES.values()), ids=list(DAMAGES))
    @pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
    def test_a_broken_entry_is_computed_anew(
        self,
        signed: bool,
        damage: str,
        which: str,
        two: tuple[NotebookKernel, NotebookKernel],
        signing: NotebookKernel,
        site: str,
    ) -> None:
        kernel = signing if signed else two[0]
        kernel.play(f"%cache_site {site}\nimport numpy as np")
        cell = "%%cached\na = np.arange(100_000)\nb = a[:5]"
        assert kernel.play(cell).status == "computed"
        assert kernel.play(cell).status == "hit"
        assert int(kernel.play(FIND.format(which=which, damage=damage.replace("\n    ", "\n        "))).text) > 0
        kernel.play("a = b = None")
        assert kernel.play(cell).status == "computed"
        assert kernel.play("int(a.sum()), b.base is a").text == "(4999950000, True)"
        assert kernel.play(cell).status == "hit"

    def test_without_memory_for_what_is_stored_the_cell_runs(
        self, start: Callable[..., NotebookKernel], site: str
    ) -> None:
        requires(Path("/proc/self/statm").exists(), "Linux, where a process knows how much memory it has")
        kernel = start()
        kernel.play(f"%cache_site {site}")
        cell = "%%cached --explain\nimport numpy as np\ny = np.ones(60_000_000, 'u1')"
        assert kernel.play(cell).status == "computed"
        assert kernel.play(cell).status == "hit"
        # Half of what is needed is there at the moment when what is stored is loaded.
        kernel.play(
            "import resource\n"
            "from frappe_cache_ext.operations import cell_parts\n"
            "room = cell_parts._room\n"
            "def with_little_memory(size):\n"
            "    taken = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
            "    before = resource.getrlimit(resource.RLIMIT_AS)\n"
            "    resource.setrlimit(resource.RLIMIT_AS, (taken + size // 2, before[1]))\n"
            "    try:\n"
            "        return room(size)\n"
            "    finally:\n"
            "        resource.setrlimit(resource.RLIMIT_AS, before)\n"
            "cell_parts._room = with_little_memory\n"
            "y = None"
        )
        shown = kernel.play(cell)
        assert (shown.reply, shown.status) == ("ok", "computed"), shown
        assert "it cannot be put back here (OSError: [Errno 12]" in "\n".join(shown.said)
        assert kernel.play("int(y[-1])").text == "1"

    def test_an_entry_of_another_format_is_computed_anew(self, two: tuple[NotebookKernel, NotebookKernel]) -> None:
        kernel = two[0]
        cell = "%%cached\ny = [1]"
        assert kernel.play(cell).status == "computed"
        damage = (
            "codec = get_ipython().magics_manager.registry['CellMagics']._scope().codec\n"
            "        client.set(name, codec.encode(codec.inspect(value, name) | {'format': 0}, name))"
        )
        assert kernel.play(FIND.format(which=RECORD, damage=damage)).text == "1"
        assert kernel.play(cell).status == "computed"
        assert kernel.play(cell).status == "hit"

    def test_an_unsigned_entry_is_never_unpickled(
        self, two: tuple[NotebookKernel, NotebookKernel], signing: NotebookKernel, site: str
    ) -> None:
        signing.play(f"%cache_site {site}")
        cell = "%%cached\ny = [1]"
        assert two[0].play(cell).status == "computed"
        assert signing.play(cell).status == "computed"


class TestTheLine:
    @pytest.mark.parametrize(
        ("options", "line"),
        [
            ("--foo", "%%cached: there is no option --foo. Usage: %%cached "),
            ("--ttl soon", "%%cached: "),
            ("--vars a-b", "%%cached: argument --vars: 'a-b' is not a name of a variable; write a,b. Usage: "),
            ("--ignore 1", "%%cached: argument --ignore: '1' is not a name of a variable; write a,b. Usage: "),
            ("--if nothing", "NameError: name 'nothing' is not defined"),
            ("one two", "%%cached: "),
        ],
    )
    def test_a_mistake_is_one_line_and_nothing_runs(
        self, two: tuple[NotebookKernel, NotebookKernel], options: str, line: str
    ) -> None:
        shown = two[0].play(f"%%cached {options}\nprint('ran')\ny = 1")
        assert (shown.reply, shown.said) == ("error", [])
        assert [output[:2] for output in shown.outputs] == [("stream", "stderr")]
        assert shown.text.startswith(line), shown.text
        assert shown.text.count("\n") == 1

    def test_what_makes_no_key_is_said_and_the_cell_runs(self, two: tuple[NotebookKernel, NotebookKernel]) -> None:
        shown = two[0].play("%%cached --key 1/0\nprint('ran')\ny = 1")
        ran_plainly(shown, "division by zero")
        assert shown.text == "ran\n"

    def test_an_entry_expires(self, two: tuple[NotebookKernel, NotebookKernel]) -> None:
        cell = "%%cached --ttl 1\ny = [1]"
        assert two[0].play(cell).status == "computed"
        found = two[0].play(cell)
        assert found.status == "hit"
        assert "expires in" in found.said[0]
        time.sleep(1.1)
        assert two[0].play(cell).status == "computed"
