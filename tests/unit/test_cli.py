"""The command `frappe-cache`, called in this process; what breaks around it is in `tests/faults/test_cli_doctor.py`."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from frappe_cache_ext import __version__, cli, cli_demo, context, operations, server
from frappe_cache_ext.cli_text import Terminal, count, memory, printable
from frappe_cache_ext.errors import CacheWarning, warn
from frappe_cache_ext.redis_wrapper import RedisWrapper
from frappe_cache_ext.server_home import Home
from tests.support import until

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
COMMANDS = ("demo", "lab", "serve", "status", "stop", "doctor", "keys", "bench-config")


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> Outcome:
        code = cli.main(words)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


def start(*words: str, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "frappe_cache_ext", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


class TestWords:
    def test_without_a_command_it_prints_help(self, run: Run) -> None:
        code, out, err = run()
        assert (code, err) == (0, "")
        assert out.startswith("usage: frappe-cache ")
        assert all(re.search(rf"^ +{name}\b", out, re.MULTILINE) for name in COMMANDS)

    def test_version(self, run: Run) -> None:
        assert run("--version") == (0, f"frappe-cache {__version__}\n", "")

    @pytest.mark.parametrize("command", COMMANDS)
    def test_each_command_has_help(self, run: Run, command: str) -> None:
        code, out, err = run(command, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"usage: frappe-cache {command} ")
        assert "--home" in out or command == "bench-config"

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["nope"], "invalid choice: 'nope'"),
            (["serve", "--nope"], "unrecognized arguments: --nope"),
            (["serve", "--max", "2gb"], "unrecognized arguments: --max"),
            (["keys", "--limit", "-1"], "--limit"),
            (["keys", "--limit", "²"], "'²' is not a whole number"),
            (["bench-config"], "the following arguments are required: DIR"),
        ],
    )
    def test_wrong_words_are_told_with_exit_code_2(self, run: Run, words: list[str], said: str) -> None:
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert said in err

    def test_help_loads_nothing_heavy(self) -> None:
        code = (
            "import sys; from frappe_cache_ext.cli import main; main(['--help'])\n"
            "print([name for name in sys.modules if name.split('.')[0] in ('redis', 'asyncio', 'json', 'platformdirs')"
            " or name in ('frappe_cache_ext.settings', 'frappe_cache_ext.server')], file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.stderr == "[]\n"

    def test_the_module_is_the_command(self) -> None:
        process = start("nope")
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (2, "")
        assert err.startswith("usage: frappe-cache ")


class TestErrors:
    def test_an_error_of_ours_is_one_line(self, run: Run) -> None:
        message = "'foo' is not the URL of a server; it begins with one of "
        code, out, err = run("keys", "--url", "foo")
        assert (code, out) == (1, "")
        assert err.startswith(f"frappe-cache: {message}")
        assert err.count("\n") == 1

    def test_a_misspelt_variable_is_told(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FRAPPE_CACHE_HOM", "/nowhere")
        said = "The environment variable FRAPPE_CACHE_HOM is none of ours. Did you mean FRAPPE_CACHE_HOME?"
        for command in ("status", "stop", "keys"):
            assert run(command) == (1, "", f"frappe-cache: {said}\n")

    def test_an_error_of_the_systems_names_the_file(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(arguments: object) -> int:
            raise PermissionError(13, "Permission denied", "/etc/shadow")

        monkeypatch.setattr(cli, "_status", fail)
        assert run("status") == (1, "", "frappe-cache: /etc/shadow: Permission denied\n")

    def test_an_interrupted_command_ends_with_130(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(arguments: object) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr(cli, "_status", interrupt)
        assert run("status") == (130, "", "")

    def test_a_warning_of_ours_is_a_line_each_time(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def careful(arguments: object) -> int:
            for _ in range(2):
                warn("Look out.", CacheWarning)
            return 0

        monkeypatch.setattr(cli, "_status", careful)
        assert run("status") == (0, "", "frappe-cache: warning: Look out.\n" * 2)

    def test_a_server_that_is_away_is_named_without_its_password(self, run: Run) -> None:
        for command in ("keys", "demo"):
            code, out, err = run(command, "--url", "redis://:geheim@127.0.0.1:1")
            assert (code, out) == (1, "")
            assert err.startswith("frappe-cache: the server at redis://:***@127.0.0.1:1 cannot be used: ")
            assert err.count("\n") == 1

    def test_an_unreachable_cluster_is_one_line(self, run: Run) -> None:
        code, out, err = run("keys", "--url", "cluster://127.0.0.1:1")
        assert (code, out) == (1, "")
        assert err.startswith("frappe-cache: the server at cluster://127.0.0.1:1 cannot be used: ")

    @pytest.mark.parametrize("words", [["--version"], ["status"], ["keys", "--json"]])
    def test_a_reader_that_has_had_enough_is_no_error(
        self, embedded_server: server.Server, site: str, words: list[str]
    ) -> None:
        if words[0] == "keys":  # more than a buffer holds, so that it is written before the end
            context.init(site)
            cache = RedisWrapper()
            cache.redis.mset({cache.make_key(f"key{number}"): b"" for number in range(1000)})
            words = [*words, "--site", site]
        reader, writer = os.pipe()
        os.close(reader)
        process = start(*words, stdout=writer, PYTHONUNBUFFERED="")
        os.close(writer)
        assert process.communicate(timeout=60) == (None, "")
        assert process.returncode == 141
        if words[0] == "keys":
            cache.delete_keys("")


class TestServer:
    def test_its_life(self, run: Run, tmp_path: Path) -> None:
        home = f"--home={tmp_path}"
        assert run("status", home) == (3, "not running\n", "")
        try:
            code, out, err = run("serve", home, "--maxmemory", "32mb")
            assert (code, err) == (0, "")
            running = server.status(tmp_path / "server")
            assert running is not None
            described = f"process {running.pid}, 32mb at most\n  {running.url}\n"
            assert out == f"{running.version} started: {described}stop it with: frappe-cache stop --home {tmp_path}\n"
            assert run("serve", home).out.startswith(f"{running.version} runs already: {described}")
            assert run("status", home) == (0, f"{running.version} runs: {described}", "")
            os.kill(running.pid, signal.SIGKILL)
            until(lambda: server.status(tmp_path / "server") is None)
            code, out, err = run("status", home)
            assert (code, err) == (3, "")
            assert out.startswith("not running: the last one was killed")
            assert run("serve", home).code == 0
        finally:
            assert run("stop", home) == (0, "stopped\n", "")
        assert run("stop", home) == (0, "not running\n", "")

    def test_a_broken_bench_does_not_keep_it_running(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("FRAPPE_CACHE_BENCH", "/nowhere")
        assert run("stop", "--home", str(tmp_path)) == (0, "not running\n", "")

    @pytest.mark.parametrize("variable", ["FRAPPE_CACHE_URL", "FRAPPE_CACHE_BENCH"])
    def test_serve_says_if_another_server_is_used(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, embedded_server: server.Server, variable: str
    ) -> None:
        assert run("serve").err == ""
        monkeypatch.setenv(variable, "redis://127.0.0.1:1")
        code, _, err = run("serve")
        assert code == 0
        assert err == f"frappe-cache: note: {variable} is set, so it is the server named there that will be used.\n"

    def test_a_wrong_size_is_told(self, run: Run, tmp_path: Path) -> None:
        code, out, err = run("serve", f"--home={tmp_path}", "--maxmemory", "3x")
        assert (code, out) == (1, "")
        assert err == "frappe-cache: maxmemory '3x' is not a size of at least 1mb; write '512mb' or '2gb'.\n"

    def test_a_server_that_refuses_writes_is_told(
        self, run: Run, embedded_server: server.Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask = Home.ask

        def refuse(home: Home, *commands: str) -> list[str] | None:
            replies = ask(home, *commands) or []
            # On a full disk, and with it its PING.
            refused = {"PING": "-MISCONF Errors writing", "INFO persistence": "aof_last_write_status:err\r\n"}
            return [refused.get(command, reply) for command, reply in zip(commands, replies, strict=True)]

        monkeypatch.setattr(Home, "ask", refuse)
        begin = time.monotonic()
        for command in ("serve", "status"):
            code, out, err = run(command)
            assert code == 1
            assert f"process {embedded_server.pid}" in out
            assert err.startswith("frappe-cache: The server cannot write to ")
            assert err.count("\n") == 1
        assert time.monotonic() - begin < 5


class TestLab:
    @pytest.fixture
    def jupyter(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def replace(program: str, words: list[str], environment: dict[str, str]) -> None:
            seen.update(program=program, words=words, environment=environment)
            raise SystemExit(0)  # as little comes back as from the real one

        monkeypatch.setattr(os, "execvpe", replace)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "jupyterlab" or None)
        return seen

    @pytest.mark.parametrize(("user", "as_root"), [(1000, []), (0, ["--allow-root"])])
    def test_it_becomes_jupyter_on_the_folder(
        self,
        run: Run,
        jupyter: dict[str, Any],
        embedded_server: server.Server,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        user: int,
        as_root: list[str],
    ) -> None:
        monkeypatch.setattr(cli.os, "geteuid", lambda: user)
        monkeypatch.setattr(server, "start", lambda _: embedded_server)  # it looks at who its files belong to
        code, out, err = run("lab", str(tmp_path), "--", "--no-browser", "--port", "9999")
        assert (code, err) == (0, "")
        assert out == f"{embedded_server.version} runs; `frappe-cache stop` ends it.\n"
        assert jupyter["program"] == sys.executable
        assert jupyter["words"][1:] == [
            *("-m", "jupyterlab", f"--ServerApp.root_dir={tmp_path}", *as_root),
            *("--no-browser", "--port", "9999"),
        ]
        assert jupyter["environment"] == dict(os.environ)

    @pytest.mark.parametrize("inside", [".", "notebooks", "frappe_cache_ext"])
    def test_in_the_repository_it_takes_its_notebooks(
        self,
        run: Run,
        jupyter: dict[str, Any],
        embedded_server: server.Server,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        inside: str,
    ) -> None:
        for name in ("notebooks", "frappe_cache_ext"):
            (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / inside)
        run("lab")
        assert f"--ServerApp.root_dir={tmp_path / 'notebooks'}" in jupyter["words"]

    def test_elsewhere_it_takes_the_current_folder(
        self,
        run: Run,
        jupyter: dict[str, Any],
        embedded_server: server.Server,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "notebooks").mkdir()
        monkeypatch.chdir(tmp_path)
        run("lab")
        assert f"--ServerApp.root_dir={tmp_path}" in jupyter["words"]

    def test_its_options_reach_the_notebooks(
        self, run: Run, jupyter: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert run("lab", "--url", "redis://:pw@127.0.0.1:1", "--site", "lib.localhost", "--home", "here").out == ""
        changed = set(jupyter["environment"].items()) - set(os.environ.items())
        assert changed == {
            ("FRAPPE_CACHE_URL", "redis://:pw@127.0.0.1:1"),
            ("FRAPPE_CACHE_SITE", "lib.localhost"),
            ("FRAPPE_CACHE_HOME", str(tmp_path / "here")),
        }

    def test_a_bench_named_here_comes_before_the_environments_server(
        self, run: Run, jupyter: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_bench(tmp_path / "bench", "redis://127.0.0.1:13777")
        monkeypatch.setenv("FRAPPE_CACHE_URL", "memory://")
        run("lab", str(tmp_path), "--bench", str(tmp_path / "bench"))
        assert "FRAPPE_CACHE_URL" not in jupyter["environment"]
        assert jupyter["environment"]["FRAPPE_CACHE_BENCH"] == str(tmp_path / "bench")

    def test_without_jupyterlab_it_says_how_to_install_it(
        self, run: Run, jupyter: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        code, out, err = run("lab")
        assert (code, out, jupyter) == (1, "", {})
        assert err.startswith("frappe-cache: JupyterLab is not installed for ")
        assert err.endswith("install it with: pip install 'frappe-cache-ext[lab]'\n")

    def test_a_missing_folder_is_told(self, run: Run, jupyter: dict[str, Any]) -> None:
        said = "frappe-cache: /nowhere is not a folder; name the one that holds the notebooks.\n"
        assert run("lab", "/nowhere") == (1, "", said)
        assert jupyter == {}

    def test_a_server_that_cannot_start_keeps_no_notebook_shut(
        self, run: Run, jupyter: dict[str, Any], tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        code, _, err = run("lab", str(tmp_path), "--home", str(tmp_path / "file"))
        assert code == 0
        assert err.startswith("frappe-cache: warning: The server's folder ")
        assert jupyter["program"] == sys.executable


class TestKeys:
    @pytest.fixture
    def full(self, run: Run, embedded_server: server.Server, site: str) -> Any:
        context.init(site)
        cache = RedisWrapper()
        cache.set_value("color", "green", expires_in_sec=100)
        cache.set_value("color", "red", user="anna@example.com")
        cache.hset("user|admin", "name", "Admin")
        cache.hset("user|admin", "email", "")
        cache.lpush("queue", "a")
        cache.sadd("tags", "a", "b", "c")
        cache.set_value("odd\x1b[31m\nname", 1)
        cache.set_value("shared", 1, shared=True)
        yield cache
        cache.delete_keys("")
        cache.delete_value("shared", shared=True)

    def test_a_table(self, run: Run, full: RedisWrapper, site: str) -> None:
        code, out, err = run("keys", "--site", site)
        assert (code, err) == (0, "")
        green, red = (full.redis.strlen(full.make_key("color", user)) for user in (None, "anna@example.com"))
        assert [line.rstrip() for line in out.splitlines()] == [
            "key                          type         size  expires",
            f"color                        string  {f'{green} bytes':>9}  100 s",
            "odd\\x1b[31m\\nname            string    5 bytes  never",
            "queue                        list       1 item  never",
            "tags                         set     3 members  never",
            f"user:anna@example.com:color  string  {f'{red} bytes':>9}  never",
            "user|admin                   hash     2 fields  never",
            "",
            f"6 keys of site {site}",
        ]

    def test_json_has_the_keys_as_they_are(self, run: Run, full: RedisWrapper, site: str) -> None:
        found = {entry["key"]: entry for entry in json.loads(run("keys", "--site", site, "--json").out)}
        assert list(found) == [
            *("color", "odd\x1b[31m\nname", "queue", "tags"),
            *("user:anna@example.com:color", "user|admin"),
        ]
        assert 98 < found["color"].pop("expires_in_sec") <= 100
        assert found["color"] == {
            "key": "color",
            "type": "string",
            "size": full.redis.strlen(full.make_key("color")),
            "unit": "byte",
        }
        assert found["user|admin"] == {
            "key": "user|admin",
            "type": "hash",
            "size": 2,
            "unit": "field",
            "expires_in_sec": None,
        }

    def test_a_prefix_is_literal(self, run: Run, full: RedisWrapper, site: str) -> None:
        assert run("keys", "user", "--site", site).out.splitlines()[-1] == f"2 keys of site {site}"
        assert run("keys", "*", "--site", site).out == f"0 keys of site {site}\n"

    def test_a_limit(self, run: Run, full: RedisWrapper, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def lines(*words: str) -> list[str]:
            return run("keys", "--site", site, *words).out.splitlines()

        monkeypatch.setattr(cli, "_KEYS_SHOWN", 3)
        few = f"6 keys of site {site}, %s shown (--limit 0 shows all)"
        assert lines()[-1] == few % 3
        assert lines("--limit", "2")[-1] == few % 2
        assert len(lines("--limit", "2")) == 5
        assert lines("--limit", "0")[-1] == f"6 keys of site {site}"
        assert len(json.loads("".join(lines("--json")))) == 6
        assert len(json.loads("".join(lines("--json", "--limit", "2")))) == 2

    def test_values_are_never_unpickled(self, run: Run, full: RedisWrapper, site: str) -> None:
        bomb = b"cposix\n_exit\n(I99\ntR."  # ends this process when it is unpickled
        full.redis.set(full.make_key("bomb"), bomb)
        row = run("keys", "bomb", "--site", site).out.splitlines()[1]
        assert row.split() == ["bomb", "string", str(len(bomb)), "bytes", "never"]

    def test_many_keys_are_asked_for_in_batches(
        self, run: Run, full: RedisWrapper, site: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        everything = run("keys", "--site", site, "--json").out
        monkeypatch.setattr("frappe_cache_ext.entries.BATCH", 2)
        without_times = re.compile(r'"expires_in_sec": [\d.]+')
        assert without_times.sub("", run("keys", "--site", site, "--json").out) == without_times.sub("", everything)

    def test_the_callers_site_and_request_stay(self, run: Run, full: RedisWrapper, site: str) -> None:
        before = context.current_request()
        run("keys", "--site", "another.localhost")
        assert context.current_settings().site == site
        assert context.current_request() is before


def make_bench(folder: Path, redis_cache: str) -> Path:
    (folder / "sites" / "lib.localhost").mkdir(parents=True)
    (folder / "sites" / "common_site_config.json").write_text(json.dumps({"redis_cache": redis_cache}))
    (folder / "sites" / "lib.localhost" / "site_config.json").write_text(json.dumps({"db_name": "_lib"}))
    return folder


class TestBenchConfig:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("PATH", "/nowhere")  # whatever redis-server this machine has, supervisor's file must not
        folder = tmp_path / "develop"
        folder.mkdir()
        return folder

    def test_the_files_are_the_guides(self, run: Run, folder: Path) -> None:
        names = ("config/redis_cache.conf", "Procfile", "config/supervisor.conf")
        code, out, err = run("bench-config", str(folder), "--maxmemory", "737mb", "--user", "user")
        assert (code, err) == (0, "")
        assert out == "".join(f"written    {folder / name}\n" for name in names)
        for name in names:
            golden = (GOLDEN / Path(name).name).read_text().replace("/opt/redis/", "")
            assert (folder / name).read_text().replace(str(folder), "/home/user/benches/develop") == golden

    def test_what_is_there_is_kept_until_forced_and_then_backed_up(self, run: Run, folder: Path) -> None:
        run("bench-config", str(folder), "--maxmemory", "737mb")
        conf = folder / "config" / "redis_cache.conf"
        before = conf.read_text()
        code, out, err = run("bench-config", str(folder), "--maxmemory", "2gb")
        assert (code, err) == (0, "")
        assert out.splitlines()[0].startswith(f"kept       {conf} (")
        assert "--force" in out
        assert conf.read_text() == before
        out = run("bench-config", str(folder), "--maxmemory", "2gb", "--force").out
        assert "\nmaxmemory 2048mb\n" in conf.read_text()
        (backup,) = conf.parent.glob("redis_cache.conf.bak-*")
        assert backup.read_text() == before
        assert out.splitlines()[0] == f"changed    {conf} (before: {backup.name})"

    def test_the_port_is_the_sites(self, run: Run, folder: Path) -> None:
        make_bench(folder, "redis://127.0.0.1:13777")
        assert run("bench-config", str(folder)).err == ""
        assert "\nport 13777\n" in (folder / "config" / "redis_cache.conf").read_text()

    def test_another_port_than_the_sites_is_told(self, run: Run, folder: Path) -> None:
        make_bench(folder, "redis://127.0.0.1:13777")
        code, _, err = run("bench-config", str(folder), "--port", "13001")
        assert code == 0
        assert "\nport 13001\n" in (folder / "config" / "redis_cache.conf").read_text()
        assert err.startswith("frappe-cache: note: the sites look for their cache on port 13777, not 13001; ")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--port", "0"], "The port must be a whole number from 1 to 65535, not 0."),
            (["--maxmemory", "1b"], "maxmemory '1b' is not a size of at least 1mb; write '512mb' or '2gb'."),
        ],
    )
    def test_what_cannot_be_written_is_told(self, run: Run, folder: Path, words: list[str], said: str) -> None:
        assert run("bench-config", str(folder), *words) == (1, "", f"frappe-cache: {said}\n")
        assert list(folder.iterdir()) == []


class TestDemo:
    """Only what can be shown without its seconds; the whole is `test_from_an_empty_home`."""

    @pytest.mark.parametrize(
        "title", ["Strings: a value under a key", "Hashes: fields that are set and read one by one"]
    )
    def test_a_chapter(
        self, run: Run, embedded_server: server.Server, monkeypatch: pytest.MonkeyPatch, title: str
    ) -> None:
        monkeypatch.setattr(cli_demo, "CHAPTERS", {title: cli_demo.CHAPTERS[title]})
        code, out, err = run("demo")
        assert (code, err) == (0, "")
        for line in cli_demo.CHAPTERS[title]:
            shown = "" if line.shows is None else f"   {re.escape(line.shows)}\n"
            assert re.search(rf"^   >>> {re.escape(line.code)} +[\d.]+ (µs|ms)\n{shown}", out, re.MULTILINE)
        assert "All as promised." in out
        assert max(map(len, out.splitlines())) <= 80

    def test_it_reads_from_the_server_and_not_from_the_requests_memory(
        self, run: Run, embedded_server: server.Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        title = "Strings: a value under a key"
        monkeypatch.setattr(cli_demo, "CHAPTERS", {title: cli_demo.CHAPTERS[title]})
        monkeypatch.setattr(operations, "get_value", lambda *arguments: missing())
        code, out, err = run("demo")
        assert code == 1
        assert "   ^ it should give 'value', and gave None\n" in out
        assert "All as promised." not in out
        said = "frappe.cache.get_value(\"key\"): it should give 'value', and gave None"
        assert err == f"frappe-cache: a promise of the cache's was not kept: {said}\n"

    def test_a_cache_that_never_hits_breaks_its_promise(
        self, run: Run, embedded_server: server.Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        title = "A cache by hand: the key tells the inputs apart"
        monkeypatch.setattr(cli_demo, "CHAPTERS", {title: cli_demo.CHAPTERS[title]})
        monkeypatch.setattr(operations, "get_value", lambda *arguments: missing())
        code, _, err = run("demo")
        assert code == 1
        assert re.fullmatch(
            r"frappe-cache: a promise of the cache's was not kept: slow_add\(40, 2\): "
            r"it should be at least 20 times faster than 1\.\d\d s, and took 1\.\d\d s\n",
            err,
        )

    def test_nothing_of_the_users_is_touched_and_nothing_is_left(
        self, run: Run, embedded_server: server.Server, site: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        context.init(site)
        cache = RedisWrapper()
        cache.set_value("key", "mine")
        before = set(cache.redis.keys())
        title = "Strings: a value under a key"
        monkeypatch.setattr(cli_demo, "CHAPTERS", {title: cli_demo.CHAPTERS[title]})
        # The bench knows no such site as the demo's, and its server is not asked for.
        monkeypatch.setenv("FRAPPE_CACHE_BENCH", str(make_bench(tmp_path, "redis://127.0.0.1:1")))
        monkeypatch.setenv("FRAPPE_CACHE_URL", embedded_server.url)
        assert run("demo").code == 0
        assert set(cache.redis.keys()) == before
        assert cache.get_value("key", use_local_cache=False) == "mine"
        cache.delete_keys("")

    def test_an_interrupted_one_is_emptied_too(self, embedded_server: server.Server) -> None:
        cache = RedisWrapper()
        before = set(cache.redis.keys())
        process = start("demo", PYTHONUNBUFFERED="1")
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("3."):
                break
        assert set(cache.redis.keys()) > before
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, "")
        assert set(cache.redis.keys()) == before

    def test_it_runs_in_this_process_too(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        title = "Strings: a value under a key"
        monkeypatch.setattr(cli_demo, "CHAPTERS", {title: cli_demo.CHAPTERS[title]})
        code, out, err = run("demo", "--url", "memory://demo")
        assert (code, err) == (0, "")
        assert out.startswith("Frappe's cache, live on a server in this process (memory://)\n")

    @pytest.mark.slow
    def test_from_an_empty_home(self, tmp_path: Path) -> None:
        # A short path: a socket's must be.
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
        command = [sys.executable, "-m", "frappe_cache_ext"]
        begin = time.monotonic()
        try:
            done = subprocess.run([*command, "demo"], env=environment, capture_output=True, text=True, check=False)
            seconds = time.monotonic() - begin
        finally:
            subprocess.run([*command, "stop"], env=environment, stdout=subprocess.DEVNULL, check=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert seconds < 10
        assert "\x1b" not in done.stdout  # no terminal, no colours
        assert max(map(len, done.stdout.splitlines())) <= 80
        for shown in ("'value'", "'Admin'", "{'name': 'Admin', 'email': ''}", "'sunny'"):
            assert f"\n   {shown}\n" in done.stdout
        timed = re.findall(r">>> slow_function\(40, 2\) +Wall time: (.*)\n   42\n", done.stdout)
        first, again, cached, repeated, cleared = timed
        assert all(re.fullmatch(r"1\.\d\d s", spent) for spent in (first, again, cached, cleared))
        assert re.fullmatch(r"[\d.]+ (µs|ms)", repeated)
        assert re.search(r"\n   first call    █{48}  1\.\d\d s\n   second call   ▏  [\d.]+ (µs|ms)\n", done.stdout)
        (ratio,) = re.findall(r"\n   ([\d,]+) times faster\n", done.stdout)
        assert int(ratio.replace(",", "")) >= 20


def missing() -> Any:
    """The steps of a look-up that finds nothing."""
    yield from ()
    return None


class TestText:
    def stream(self, encoding: str = "utf-8", tty: bool = False) -> io.TextIOWrapper:
        stream = io.TextIOWrapper(io.BytesIO(), encoding)
        stream.isatty = lambda: tty  # type: ignore[method-assign]
        return stream

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.000000897, "1 µs"),
            (0.000897, "897 µs"),
            (0.0009994, "999 µs"),
            (0.0009996, "1 ms"),
            (0.01234, "12.3 ms"),
            (0.9994, "999 ms"),
            (0.9996, "1.00 s"),
            (1.0, "1.00 s"),
            (61.5, "61.50 s"),
        ],
    )
    def test_durations(self, seconds: float, text: str) -> None:
        assert Terminal(self.stream()).duration(seconds) == text
        assert Terminal(self.stream("ascii")).duration(seconds) == text.replace("µ", "u")

    def test_bars(self) -> None:
        assert Terminal(self.stream()).bar(1, 4) == "████"
        assert Terminal(self.stream()).bar(0.5, 4) == "██"
        assert Terminal(self.stream()).bar(0.001, 4) == "▏"
        assert Terminal(self.stream("ascii")).bar(0.5, 4) == "##"
        assert Terminal(self.stream("ascii")).bar(0.001, 4) == "|"

    def test_colours_only_where_they_are_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert Terminal(self.stream(tty=True)).paint("good", "x") == "\x1b[32mx\x1b[0m"
        assert Terminal(self.stream()).paint("good", "x") == "x"
        monkeypatch.setenv("TERM", "dumb")
        assert Terminal(self.stream(tty=True)).paint("good", "x") == "x"
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        assert Terminal(self.stream(tty=True)).paint("good", "x") == "x"

    def test_counts(self) -> None:
        assert [count(0, "key"), count(1, "key"), count(1204, "key")] == ["0 keys", "1 key", "1,204 keys"]
        assert [count(1, "entry"), count(2, "entry")] == ["1 entry", "2 entries"]

    @pytest.mark.parametrize(
        ("size", "text"),
        [
            *((0, "0b"), (1023, "1023b"), (1024, "1kb"), (1536, "1.5kb"), (1048575, "1mb")),
            *((737 << 20, "737mb"), (2 << 30, "2gb"), (1 << 41, "2048gb")),
        ],
    )
    def test_sizes(self, size: int, text: str) -> None:
        assert memory(size) == text

    def test_what_a_terminal_would_act_upon_is_escaped(self) -> None:
        assert printable("schlüssel 鍵") == "schlüssel 鍵"
        assert printable("a\x1b[31m\n\x07\ud800\u202eb") == r"a\x1b[31m\n\x07\ud800\u202eb"
