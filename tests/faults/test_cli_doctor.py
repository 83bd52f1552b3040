"""`frappe-cache doctor` where things are broken: each fault is named with its remedy, and none is a traceback."""

from __future__ import annotations

import http.server
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from frappe_cache_ext import __version__, cli, cli_doctor, context, server
from frappe_cache_ext.errors import ServerNotFound
from frappe_cache_ext.redis_wrapper import RedisWrapper
from tests.support import RedisServer, requires, until

ROOT = Path(server.__file__).parents[1]
FINE = "Nothing is wrong."


class Screen(NamedTuple):
    code: int
    text: str

    @property
    def wrong(self) -> str:
        """What is wrong, on one line."""
        found = re.search(r"^wrong: .*", self.text, re.MULTILINE | re.DOTALL)
        return re.sub(r"\s+", " ", found[0]) if found else ""

    @property
    def notes(self) -> str:
        found = re.search(r"^note: .*?(?=^wrong:|^Nothing)", self.text, re.MULTILINE | re.DOTALL)
        return re.sub(r"\s+", " ", found[0]) if found else ""

    def row(self, title: str, label: str) -> str:
        section = re.search(rf"^{title}\n((?:  .*\n)+)", self.text, re.MULTILINE)
        assert section is not None, f"no section {title!r} in\n{self.text}"
        found = re.search(rf"^  {label} +(.*)$", section[1], re.MULTILINE)
        assert found is not None, f"no row {label!r} in\n{section[1]}"
        return found[1]


Examine = Callable[..., Screen]


@pytest.fixture
def examine(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Examine:
    monkeypatch.chdir(tmp_path)

    def examine(*words: str) -> Screen:
        code = cli.main(["doctor", *words])
        captured = capsys.readouterr()
        assert captured.err == ""
        assert "Traceback" not in captured.out
        return Screen(code, captured.out)

    return examine


@pytest.fixture
def start() -> Iterator[Callable[..., RedisServer]]:
    binary = shutil.which("redis-server")
    requires(binary, "redis-server")
    assert binary is not None
    started: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        started.append(RedisServer(binary, *options).start())
        return started[-1]

    yield start
    for each in started:
        each.stop()


def tell(running: RedisServer, *command: str) -> Any:
    with redis.Redis.from_url(running.url) as client:
        return client.execute_command(*command)


class TestHealthy:
    def test_one_screen_says_what_is_found(
        self, examine: Examine, embedded_server: server.Server, site: str, session_home: Path
    ) -> None:
        context.init(site)
        RedisWrapper().set_value("color", "green")
        screen = examine("--site", site)
        assert screen.code == 0
        assert screen.text.endswith(f"\n{FINE}\n")
        assert screen.text.startswith(f"frappe-cache-ext {__version__}, Python {sys.version_info.major}.")
        assert len(screen.text.splitlines()) <= 40
        assert screen.row("settings", "url") == "embedded://                       (default)"
        assert screen.row("settings", "site").endswith("(argument)")
        assert screen.row("settings", "home") == f"{session_home}".ljust(32) + "  (FRAPPE_CACHE_HOME)"
        assert screen.row("server", "state") == f"reachable: {embedded_server.version}"
        assert re.fullmatch(r"[\d.]+mb used, [\d.]+[mg]b at most, allkeys-lru", screen.row("server", "memory"))
        assert screen.row("server", "persistence").startswith("append-only file")
        assert screen.row("server", "keys") == f"1 key of site {site}"
        assert screen.row("embedded server", "home") == str(session_home / "server")
        assert screen.row("embedded server", "binary") == str(server.find_binary())
        assert screen.row("embedded server", "state") == f"{embedded_server.version}, process {embedded_server.pid}"
        assert re.search(r"hiredis \d", screen.row("parts", "found"))
        RedisWrapper().delete_keys("")

    def test_it_starts_nothing(self, examine: Examine, tmp_path: Path) -> None:
        screen = examine("--home", str(tmp_path / "home"))
        assert screen.code == 0
        assert screen.row("server", "state").startswith("not running; the first use starts it")
        assert not (tmp_path / "home").exists()

    def test_it_leaves_no_key(self, examine: Examine, embedded_server: server.Server, site: str) -> None:
        client = redis.Redis.from_url(embedded_server.url)
        before = set(client.keys())
        examine("--site", site)
        assert set(client.keys()) == before
        client.close()

    def test_secrets_stay_secret(self, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FRAPPE_CACHE_SECRET", "geheim1")
        monkeypatch.setenv("FRAPPE_CACHE_DATABASE_URL", "postgresql://me:geheim2@localhost/db")
        screen = examine("--url", "redis://me:geheim3@127.0.0.1:1")
        assert screen.row("settings", "secret") == "***".ljust(32) + "  (FRAPPE_CACHE_SECRET)"
        assert "geheim" not in screen.text

    def test_memory_is_no_fault(self, examine: Examine) -> None:
        screen = examine("--url", "memory://")
        assert (screen.code, screen.wrong) == (0, "")

    def test_many_keys_are_not_counted_to_the_end(
        self, examine: Examine, embedded_server: server.Server, site: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context.init(site)
        cache = RedisWrapper()
        cache.redis.mset({cache.make_key(f"key{number}"): b"" for number in range(5)})
        monkeypatch.setattr(cli_doctor, "_MOST_KEYS", 3)
        assert examine("--site", site).row("server", "keys") == f"more than 3 keys of site {site}"
        cache.delete_keys("")

    def test_a_real_frappe_is_found(self, examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "frappe").mkdir()
        init = tmp_path / "frappe" / "__init__.py"
        init.write_text("raise RuntimeError('it must not be imported')")
        monkeypatch.syspath_prepend(str(tmp_path))
        assert examine("--url", "memory://").row("parts", "Frappe").startswith(str(init))

    @pytest.mark.slow
    def test_in_a_clean_home(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "frappe_cache_ext", "doctor"],
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert str(tmp_path) in Screen(0, done.stdout).row("embedded server", "home")
        assert list(tmp_path.iterdir()) == []


class TestSettings:
    def test_a_misspelt_variable(self, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FRAPPE_CACHE_SIT", "lib.localhost")
        screen = examine("--url", "memory://", "--site", "other.localhost")
        assert screen.code == 1
        assert screen.wrong == (
            "wrong: The environment variable FRAPPE_CACHE_SIT is none of ours. Did you mean FRAPPE_CACHE_SITE? "
        )
        assert screen.row("settings", "site").startswith("other.localhost ")

    def test_everything_at_once(self, examine: Examine, monkeypatch: pytest.MonkeyPatch, session_home: Path) -> None:
        monkeypatch.setenv("FRAPPE_CACHE_SIT", "x")
        monkeypatch.setenv("FRAPPE_CACHE_HOMM", "x")
        monkeypatch.setenv("FRAPPE_CACHE_BENCH", "/nowhere")
        monkeypatch.setenv("FRAPPE_CACHE_USER", "anna@example.com")
        screen = examine("--url", "foo://")
        assert screen.code == 1
        for said in ("FRAPPE_CACHE_SIT is none of ours", "FRAPPE_CACHE_HOMM is none", "/nowhere does not", "'foo://'"):
            assert said in screen.wrong
        assert screen.wrong.count("wrong:") == 4
        # What is not broken is still shown.
        assert screen.row("settings", "user") == "anna@example.com".ljust(32) + "  (FRAPPE_CACHE_USER)"
        assert screen.row("settings", "url").startswith("embedded:// ")

    def test_two_settings_that_are_wrong_only_together(self, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(**given: object) -> context.Settings:
            raise cli_doctor.SettingsError("always")

        monkeypatch.setattr(cli_doctor.Settings, "load", load)
        screen = examine("--site", "lib.localhost")
        assert (screen.code, screen.wrong) == (1, "wrong: always ")

    def test_a_part_of_the_examination_that_fails_ends_only_itself(
        self, examine: Examine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(settings: object) -> list[tuple[str, str, str]]:
            raise ZeroDivisionError("division by zero")

        monkeypatch.setattr(cli_doctor.Settings, "describe", fail)
        screen = examine("--url", "memory://")
        assert screen.code == 1
        assert screen.wrong == "wrong: settings: ZeroDivisionError: division by zero "
        assert screen.row("server", "url") == "memory://"


class TestServer:
    def test_nobody_is_there(self, examine: Examine) -> None:
        screen = examine("--url", "redis://127.0.0.1:1")
        assert screen.code == 1
        assert screen.row("server", "state") == "not reachable"
        assert "The server at redis://127.0.0.1:1 cannot be used: " in screen.wrong
        assert "Start it, or correct the url (argument); without one, the embedded server is used." in screen.wrong

    @pytest.mark.parametrize("url", ["cluster://127.0.0.1:1", "sentinel://127.0.0.1:1/mymaster"])
    def test_nobody_of_several_is_there(self, examine: Examine, url: str) -> None:
        screen = examine("--url", url)
        assert screen.code == 1
        assert f"The server at {url} cannot be used: " in screen.wrong
        assert "<redis" not in screen.text

    def test_the_url_is_malformed(self, examine: Examine) -> None:
        screen = examine("--url", "redis://127.0.0.1:99999")
        assert screen.code == 1
        assert "Port out of range" in screen.wrong

    def test_it_hangs(self, examine: Examine, start: Callable[..., RedisServer]) -> None:
        running = start()
        running.freeze()
        screen = examine("--url", running.url)
        assert screen.code == 1
        assert f"The server at {running.url} cannot be used: Timeout" in screen.wrong

    def test_it_is_a_web_server(self, examine: Examine) -> None:
        class Quiet(http.server.BaseHTTPRequestHandler):
            def log_message(self, *arguments: object) -> None:
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as web:
            threading.Thread(target=web.serve_forever).start()
            try:
                screen = examine("--url", f"redis://127.0.0.1:{web.server_port}")
            finally:
                web.shutdown()
        assert screen.code == 1
        assert "What listens there is no Redis: correct the port in the url (argument)." in screen.wrong

    def test_it_wants_a_password(self, examine: Examine, start: Callable[..., RedisServer]) -> None:
        running = start()
        tell(running, "CONFIG", "SET", "requirepass", "geheim")
        for url in (running.url, running.url.replace("//", "//:falsch@")):
            screen = examine("--url", url)
            assert screen.code == 1
            assert "Put the password into the url (argument)" in screen.wrong
            assert "falsch" not in screen.text
        assert "wrong:" not in examine("--url", running.url.replace("//", "//:geheim@")).text

    def test_it_would_refuse_writes_when_full(self, examine: Examine, start: Callable[..., RedisServer]) -> None:
        running = start("--maxmemory", "64mb", "--maxmemory-policy", "noeviction")
        screen = examine("--url", running.url)
        assert screen.code == 1
        assert "maxmemory 64mb with maxmemory-policy noeviction" in screen.wrong
        assert "`maxmemory-policy allkeys-lru`" in screen.wrong

    def test_it_evicts_only_what_expires(self, examine: Examine, start: Callable[..., RedisServer]) -> None:
        screen = examine("--url", start("--maxmemory", "64mb", "--maxmemory-policy", "volatile-lru").url)
        assert (screen.code, screen.wrong) == (0, "")
        assert "maxmemory-policy volatile-lru evicts only keys that expire" in screen.notes

    def test_it_has_no_limit(self, examine: Examine, start: Callable[..., RedisServer]) -> None:
        screen = examine("--url", start().url)
        assert (screen.code, screen.wrong) == (0, "")
        assert screen.notes.startswith("note: The server has no maxmemory")

    def test_its_memory_is_full(self, examine: Examine, start: Callable[..., RedisServer]) -> None:
        screen = examine("--url", start("--maxmemory", "1", "--maxmemory-policy", "noeviction").url)
        assert screen.code == 1
        assert "The server refuses writes: " in screen.wrong
        assert "Its memory is full: raise maxmemory" in screen.wrong

    def test_its_disk_does_not_take_its_snapshots(self, examine: Examine, start: Callable[..., RedisServer]) -> None:
        running = start("--save", "3600 1")
        shutil.rmtree(running.folder)
        tell(running, "BGSAVE")
        until(lambda: tell(running, "INFO", "persistence")["rdb_last_bgsave_status"] == "err")
        screen = examine("--url", running.url)
        tell(running, "CONFIG", "SET", "save", "")  # it would not end without its last snapshot
        assert screen.code == 1
        assert "The server refuses writes: MISCONF" in screen.wrong
        assert "Its disk is full or its folder not writable: see its log" in screen.wrong

    def test_it_is_a_replica(self, examine: Examine, start: Callable[..., RedisServer]) -> None:
        screen = examine("--url", start("--replicaof", f"127.0.0.1 {start().port}").url)
        assert screen.code == 1
        assert "It is a replica: name the primary in the url" in screen.wrong

    def test_its_acl_forbids_it(self, examine: Examine, start: Callable[..., RedisServer]) -> None:
        running = start()
        tell(running, "ACL", "SETUSER", "bob", "on", ">pw", "~*", "+ping", "+info", "+scan")
        screen = examine("--url", running.url.replace("//", "//bob:pw@"))
        assert screen.code == 1
        assert "Its ACL forbids it" in screen.wrong

    def test_it_is_another_host_without_a_secret(self, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
        screen = examine("--url", "redis://no-such-host.invalid")
        assert screen.code == 1
        assert "whoever can write there can run code here. Set FRAPPE_CACHE_SECRET" in screen.wrong
        monkeypatch.setenv("FRAPPE_CACHE_SECRET", "geheim")
        assert "run code here" not in examine("--url", "redis://no-such-host.invalid").text

    def test_what_is_stored_is_not_unpickled(self, examine: Examine, embedded_server: server.Server, site: str) -> None:
        context.init(site)
        cache = RedisWrapper()
        cache.redis.set(cache.make_key("bomb"), pickle.dumps(Bomb()))
        assert examine("--site", site).code == 0
        cache.delete_keys("")


class Bomb:
    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (99,)


class TestEmbedded:
    def test_it_was_killed(self, examine: Examine, tmp_path: Path) -> None:
        running = server.start(tmp_path / "server")
        os.kill(running.pid, signal.SIGKILL)
        until(lambda: server.crashed(tmp_path / "server"))
        screen = examine("--home", str(tmp_path))
        assert (screen.code, screen.wrong) == (0, "")
        assert "The embedded server was killed" in screen.notes
        assert server.status(tmp_path / "server") is None
        server.stop(tmp_path / "server")

    def test_it_refuses_writes(
        self, examine: Examine, embedded_server: server.Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server, "trouble", lambda home: "The disk is full. Make room.")
        screen = examine()
        assert (screen.code, screen.wrong) == (1, "wrong: The disk is full. Make room. ")

    def test_there_is_no_binary(self, examine: Examine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def find_binary() -> Path:
            raise ServerNotFound("No server binary can be used:\n  none\nInstall one.")

        monkeypatch.setattr(server, "find_binary", find_binary)
        screen = examine("--home", str(tmp_path))
        assert screen.code == 1
        assert "No server binary can be used: Values are kept in each process apart meanwhile." in screen.wrong
        assert "Install one." in screen.wrong
        # Where it is not used it is no fault.
        screen = examine("--url", "memory://")
        assert (screen.code, screen.row("embedded server", "binary")) == (0, "none")

    def test_its_home_is_a_file(self, examine: Examine, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        screen = examine("--home", str(tmp_path / "file"))
        assert screen.code == 1
        assert screen.wrong.count("wrong:") == 1
        assert "Choose another one with FRAPPE_CACHE_HOME." in screen.wrong
        assert examine("--home", str(tmp_path / "file"), "--url", "memory://").code == 0

    @pytest.mark.skipif(
        not Path("/proc/self").exists(), reason="there is no /proc, which takes no files even of root's"
    )
    def test_its_home_is_not_writable(self, examine: Examine) -> None:
        screen = examine("--home", "/proc/frappe-cache")
        assert screen.code == 1
        assert "/proc takes no new files (" in screen.wrong
        assert "set FRAPPE_CACHE_HOME to another folder" in screen.wrong
        assert examine("--home", "/proc/frappe-cache", "--url", "memory://").code == 0

    def test_its_home_is_open_to_others(self, examine: Examine, tmp_path: Path) -> None:
        (tmp_path / "server").mkdir()
        (tmp_path / "server").chmod(0o777)
        screen = examine("--home", str(tmp_path))
        assert screen.code == 1
        assert "it is not safe. Use `chmod 700` on it." in screen.wrong


class TestBench:
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Path:
        bench = tmp_path / "bench"
        (bench / "sites" / "lib.localhost").mkdir(parents=True)
        (bench / "config").mkdir()
        (bench / "apps").mkdir()
        self.write(bench / "sites" / "common_site_config.json", {"redis_cache": "redis://127.0.0.1:1"})
        self.write(bench / "sites" / "lib.localhost" / "site_config.json", {"db_name": "_lib"})
        (bench / "config" / "redis_cache.conf").write_text("dbfilename x\nport 1\n")
        return bench

    def write(self, path: Path, content: dict[str, str]) -> None:
        path.write_text(json.dumps(content))

    def test_its_server_is_down(self, examine: Examine, bench: Path) -> None:
        screen = examine("--bench", str(bench))
        assert screen.code == 1
        assert screen.row("bench", "sites") == "lib.localhost"
        assert screen.row("bench", "cache") == "config/redis_cache.conf, port 1"
        assert f"Start it in {bench} with: redis-server config/redis_cache.conf (or: bench start)" in screen.wrong
        assert screen.wrong.count("wrong:") == 1

    def test_its_ports_disagree(self, examine: Examine, bench: Path) -> None:
        (bench / "config" / "redis_cache.conf").write_text("port 13000\n")
        assert f"look for their cache on port 1, and {bench}/config/redis_cache.conf says port 13000." in (
            examine("--bench", str(bench)).wrong
        )

    def test_it_has_no_redis_cache_conf(self, examine: Examine, bench: Path) -> None:
        (bench / "config" / "redis_cache.conf").unlink()
        assert f"`frappe-cache bench-config {bench}` writes it." in examine("--bench", str(bench)).notes

    def test_a_file_is_broken(self, examine: Examine, bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (bench / "sites" / "common_site_config.json").write_text("{")
        monkeypatch.setenv("FRAPPE_CACHE_BENCH", str(bench))
        screen = examine("--url", "memory://")
        assert screen.code == 1
        assert "common_site_config.json, line 1, column 2: broken JSON" in screen.wrong

    def test_its_site_does_not_exist(self, examine: Examine, bench: Path) -> None:
        screen = examine("--bench", str(bench), "--site", "lob.localhost", "--url", "memory://")
        assert screen.code == 1
        assert "did you mean lib.localhost?" in screen.wrong
        assert screen.row("settings", "site").startswith("lib.localhost ")  # the one that the bench would take

    def test_one_that_is_not_named_is_a_note(
        self, examine: Examine, bench: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(bench / "sites")
        screen = examine("--url", "memory://")
        assert (screen.code, screen.wrong) == (0, "")
        assert f"`--bench {bench}` uses its server." in screen.notes
