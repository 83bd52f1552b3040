"""A bench's three files as text, and what becomes of files that were there before."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frappe_cache_ext.bench import (
    BenchConfig,
    WrittenFile,
    configured_port,
    default_maxmemory_mb,
    edit_procfile,
    edit_supervisor,
    write_bench_config,
)
from frappe_cache_ext.errors import BenchError, SettingsError

GOLDEN = Path(__file__).parent / "golden"
DIRECTORY = Path("/home/user/benches/develop")
SAMPLE = BenchConfig(DIRECTORY, maxmemory_mb=737, user="user", redis_binary="/opt/redis/redis-server")
LINE = "redis_cache: redis-server config/redis_cache.conf"
BENCH_PROCFILE = b"web: bench serve --port 8000\n\nworker: bench worker 1>> logs/worker.log\n"
AWKWARD = 'a "b" it\'s 100%(x)s \\n ünï 鍵 😀'


def config_for(folder: Path, **changes: object) -> BenchConfig:
    arguments = {"maxmemory_mb": 64, "user": "frappe", **changes}
    return BenchConfig(folder, **arguments)  # type: ignore[arg-type]


def actions(files: list[WrittenFile]) -> dict[str, str]:
    return {file.path.name: file.action for file in files}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def as_redis_reads(word: str) -> str:
    """A redis.conf word without its quotes: the double-quote rules of Redis' sdssplitargs."""
    if not word.startswith('"'):
        return word
    assert re.fullmatch(r'"(?:[^"\\]|\\["\\])*"', word)
    return re.sub(r"\\(.)", r"\1", word[1:-1])


def as_supervisor_reads(text: str) -> tuple[str, dict[str, str]]:
    """Supervisor 4's parser with its inline comments; log files are expanded twice, the rest once."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text)
    (section,) = parser.sections()
    values = {key: value % {} for key, value in parser.items(section)}
    return section, {key: value % {} if key.endswith("_logfile") else value for key, value in values.items()}


class TestText:
    def test_the_conf_has_the_guides_directives(self) -> None:
        assert SAMPLE.redis_cache_conf() == (GOLDEN / "redis_cache.conf").read_text()

    def test_the_procfile_line_is_the_guides(self) -> None:
        assert BenchConfig(DIRECTORY).procfile_line() + "\n" == (GOLDEN / "Procfile").read_text()

    def test_the_supervisor_section_is_bench_s(self) -> None:
        assert SAMPLE.supervisor_section() == (GOLDEN / "supervisor.conf").read_text()

    def test_port_and_memory_are_settable(self) -> None:
        text = config_for(DIRECTORY, port=13001, maxmemory_mb=2).redis_cache_conf()
        assert "\nport 13001\n" in text
        assert "\nmaxmemory 2mb\n" in text

    @pytest.mark.parametrize(("pages", "megabytes"), [(2**22, 819), (1000, 50), (262144, 51)])
    def test_memory_is_a_twentieth_of_the_machines_and_at_least_50(
        self, monkeypatch: pytest.MonkeyPatch, pages: int, megabytes: int
    ) -> None:
        monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": pages}.__getitem__)
        assert default_maxmemory_mb() == megabytes
        assert f"\nmaxmemory {megabytes}mb\n" in BenchConfig(DIRECTORY).redis_cache_conf()

    def test_a_system_that_does_not_tell_its_memory_asks_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sysconf", lambda name: -1 if name == "SC_PHYS_PAGES" else 4096)
        message = r"This system does not tell how much memory it has; name maxmemory in megabytes\."
        with pytest.raises(SettingsError, match=message):
            BenchConfig(DIRECTORY).redis_cache_conf()

    def test_the_directory_becomes_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", "/home/frappe")
        assert BenchConfig(Path("x/../bench")).directory == tmp_path / "bench"
        assert BenchConfig(Path("~/bench")).directory == Path("/home/frappe/bench")

    def test_awkward_paths_survive_both_files(self) -> None:
        config = config_for(Path("/srv") / AWKWARD, redis_binary="/opt/my redis/redis-server")
        lines = dict(line.split(" ", 1) for line in config.redis_cache_conf().splitlines() if line)
        assert as_redis_reads(lines["dir"]) == f"/srv/{AWKWARD}/config/pids"
        assert as_redis_reads(lines["pidfile"]) == f"/srv/{AWKWARD}/config/pids/redis_cache.pid"
        section, values = as_supervisor_reads(config.supervisor_section())
        assert section == "program:a-b-it-s-100-x-s-n-n-redis-cache"
        conf = f"/srv/{AWKWARD}/config/redis_cache.conf"
        assert shlex.split(values["command"]) == ["/opt/my redis/redis-server", conf]
        assert values["directory"] == f"/srv/{AWKWARD}"
        assert values["stdout_logfile"] == f"/srv/{AWKWARD}/logs/redis-cache.log"
        assert values["stderr_logfile"] == f"/srv/{AWKWARD}/logs/redis-cache.error.log"

    @given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1))
    def test_any_path_is_one_redis_word(self, name: str) -> None:
        config = config_for(Path("/srv") / f"{name}.d")
        word = next(line for line in config.redis_cache_conf().split("\n") if line.startswith("dir ")).partition(" ")[2]
        assert as_redis_reads(word) == f"/srv/{name}.d/config/pids"
        assert word.startswith('"') or not re.search(r"[\s\"'\\#]", word)

    @given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1))
    def test_any_path_reaches_supervisor_or_is_refused(self, name: str) -> None:
        config = config_for(Path("/srv") / f"x{name}")
        try:
            text = config.supervisor_section()
        except BenchError:
            assert re.search(r"\s[;#]|\s$", name)
            return
        section, values = as_supervisor_reads(text)
        assert not re.search(r"[\s:/]", section.removeprefix("program:"))
        assert values["directory"] == f"/srv/x{name}"
        assert values["stdout_logfile"] == f"/srv/x{name}/logs/redis-cache.log"
        assert shlex.split(values["command"])[1] == f"/srv/x{name}/config/redis_cache.conf"

    @pytest.mark.parametrize("name", ["b ;c", "b #c", "b "])
    def test_supervisor_cannot_hold_some_paths(self, name: str) -> None:
        with pytest.raises(BenchError, match=r"Supervisor's file cannot hold .* rename the folder\."):
            config_for(Path("/srv") / name).supervisor_section()

    def test_a_bench_without_a_usable_name_is_called_bench(self) -> None:
        assert config_for(Path("/srv/鍵")).supervisor_section().startswith("[program:bench-redis-cache]\n")

    def test_supervisor_gets_the_binary_from_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        section = config_for(DIRECTORY).supervisor_section()
        assert "\ncommand=redis-server /home" in section  # supervisor looks it up in its own PATH
        (tmp_path / "redis-server").touch(0o755)
        assert f"\ncommand={tmp_path}/redis-server /home" in config_for(DIRECTORY).supervisor_section()

    def test_a_named_binary_is_in_the_procfile_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        line = config_for(DIRECTORY, redis_binary="./my valkey/valkey-server").procfile_line()
        assert line == f"redis_cache: '{tmp_path}/my valkey/valkey-server' config/redis_cache.conf"
        assert config_for(DIRECTORY, redis_binary="valkey-server").procfile_line().startswith("redis_cache: valkey-s")

    def test_supervisor_runs_it_as_the_current_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("frappe_cache_ext.bench.getpass.getuser", lambda: "ada")
        assert "\nuser=ada\n" in config_for(DIRECTORY, user=None).supervisor_section()

        def nameless() -> str:
            raise KeyError

        monkeypatch.setattr("frappe_cache_ext.bench.getpass.getuser", nameless)
        message = r"The current user has no name on this machine; name the user for supervisor\."
        with pytest.raises(SettingsError, match=message):
            config_for(DIRECTORY, user=None).supervisor_section()


class TestRefusals:
    @pytest.mark.parametrize("port", [0, -1, 65536, True, "13000", 13000.0])
    def test_a_bad_port(self, port: object) -> None:
        message = f"The port must be a whole number from 1 to 65535, not {port!r}."
        with pytest.raises(SettingsError, match=re.escape(message)):
            config_for(DIRECTORY, port=port)

    @pytest.mark.parametrize("megabytes", [0, 1, -5, True, "64mb", 2**40])
    def test_bad_memory(self, megabytes: object) -> None:
        message = f"The maxmemory in megabytes must be a whole number from 2 to 1073741824, not {megabytes!r}."
        with pytest.raises(SettingsError, match=re.escape(message)):
            config_for(DIRECTORY, maxmemory_mb=megabytes)

    @pytest.mark.parametrize(
        ("name", "flaw"),
        [
            ("a\nb", "a line break"),
            ("a\rb", "a line break"),
            ("a\tb", r"the control character '\t'"),
            ("a\x85b", r"the control character '\x85'"),
            ("a\udcffb", "bytes that are not UTF-8"),
        ],
    )
    def test_a_path_no_file_can_hold(self, name: str, flaw: str) -> None:
        path = f"/srv/{name}"
        message = f"The path {path!r} holds {flaw}, which no file of a bench can; rename the folder."
        with pytest.raises(BenchError, match=re.escape(message)):
            BenchConfig(Path(path))

    @pytest.mark.parametrize("name", ["user", "redis_binary"])
    @pytest.mark.parametrize(("value", "flaw"), [("", "nothing"), (" ", "nothing"), ("a\nb", "a line break")])
    def test_a_bad_user_or_binary(self, name: str, value: str, flaw: str) -> None:
        message = f"The {name} {value!r} is empty or holds {flaw}."
        with pytest.raises(SettingsError, match=re.escape(message)):
            config_for(DIRECTORY, **{name: value})


class TestWriting:
    def test_an_empty_folder_gets_all_three(self, tmp_path: Path) -> None:
        config = config_for(tmp_path / "new")
        files = write_bench_config(config)
        assert [file.path for file in files] == [
            tmp_path / "new/config/redis_cache.conf",
            tmp_path / "new/Procfile",
            tmp_path / "new/config/supervisor.conf",
        ]
        assert {file.action for file in files} == {"written"}
        assert tree(tmp_path / "new") == {
            "config/redis_cache.conf": config.redis_cache_conf().encode(),
            "Procfile": LINE.encode() + b"\n",
            "config/supervisor.conf": config.supervisor_section().encode(),
        }
        assert stat.S_IMODE((tmp_path / "new/config/pids").stat().st_mode) == 0o700
        assert (tmp_path / "new/logs").is_dir()

    def test_new_files_have_the_mode_that_umask_gives(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            write_bench_config(config_for(tmp_path))
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "Procfile").stat().st_mode) == 0o640

    @pytest.mark.parametrize("force", [False, True])
    def test_twice_changes_nothing(self, tmp_path: Path, force: bool) -> None:
        write_bench_config(config_for(tmp_path))
        before = tree(tmp_path)
        files = write_bench_config(config_for(tmp_path), force=force)
        assert {file.action for file in files} == {"unchanged"}
        assert tree(tmp_path) == before

    def test_what_differs_is_kept(self, tmp_path: Path) -> None:
        write_bench_config(config_for(tmp_path))
        before = tree(tmp_path)
        files = write_bench_config(config_for(tmp_path, port=14000, user="ada", redis_binary="valkey-server"))
        assert {file.action for file in files} == {"kept"}
        assert all(file.backup is None for file in files)
        assert tree(tmp_path) == before

    def test_force_replaces_what_differs_after_a_backup(self, tmp_path: Path) -> None:
        write_bench_config(config_for(tmp_path))
        before = tree(tmp_path)
        (tmp_path / "config/redis_cache.conf").chmod(0o604)
        other = config_for(tmp_path, port=14000, user="ada", redis_binary="valkey-server")
        files = write_bench_config(other, force=True)
        assert {file.action for file in files} == {"changed"}
        assert (tmp_path / "config/redis_cache.conf").read_text() == other.redis_cache_conf()
        assert (tmp_path / "Procfile").read_text() == other.procfile_line() + "\n"
        assert (tmp_path / "config/supervisor.conf").read_text() == other.supervisor_section()
        for file in files:
            assert file.backup is not None
            assert file.backup.parent == file.path.parent
            assert re.fullmatch(re.escape(file.path.name) + r"\.bak-\d{8}-\d{6}", file.backup.name)
            assert file.backup.read_bytes() == before[str(file.path.relative_to(tmp_path))]
        conf = files[0]
        assert conf.backup is not None
        assert stat.S_IMODE(conf.path.stat().st_mode) == 0o604
        assert stat.S_IMODE(conf.backup.stat().st_mode) == 0o604
        assert len(tree(tmp_path)) == 6  # and no temporary file is left

    def test_no_backup_overwrites_an_older_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("frappe_cache_ext.bench.time.strftime", lambda _: "20260102-030405")
        backups = []
        for port in (13000, 13001, 13002, 13003):
            conf = write_bench_config(config_for(tmp_path, port=port), force=True)[0]
            backups.append(conf.backup and conf.backup.name)
        stem = "redis_cache.conf.bak-20260102-030405"
        assert backups == [None, stem, f"{stem}-1", f"{stem}-2"]
        texts = [(tmp_path / "config" / name).read_text() for name in backups if name]
        assert [f"\nport {port}\n" in text for port, text in zip((13000, 13001, 13002), texts, strict=True)] == [
            True
        ] * 3

    def test_an_existing_procfile_gains_the_line(self, tmp_path: Path) -> None:
        (tmp_path / "Procfile").write_bytes(BENCH_PROCFILE)
        procfile = write_bench_config(config_for(tmp_path))[1]
        assert (tmp_path / "Procfile").read_bytes() == BENCH_PROCFILE + LINE.encode() + b"\n"
        assert procfile.action == "changed"
        assert procfile.backup is not None
        assert procfile.backup.read_bytes() == BENCH_PROCFILE

    def test_a_linked_file_stays_a_link(self, tmp_path: Path) -> None:
        real = tmp_path / "real"
        real.write_bytes(BENCH_PROCFILE)
        folder = tmp_path / "bench"
        folder.mkdir()
        (folder / "Procfile").symlink_to(real)
        write_bench_config(config_for(folder))
        assert (folder / "Procfile").is_symlink()
        assert real.read_bytes() == BENCH_PROCFILE + LINE.encode() + b"\n"

    def test_a_failed_write_leaves_the_old_file_and_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_bench_config(config_for(tmp_path))
        before = tree(tmp_path)

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        conf = tmp_path / "config/redis_cache.conf"
        message = f"{conf} cannot be written (No space left on device); check its folder, owner and disk."
        with pytest.raises(BenchError, match=re.escape(message)):
            write_bench_config(config_for(tmp_path, port=14000), force=True)
        after = tree(tmp_path)
        assert {name: text for name, text in after.items() if ".bak-" not in name} == before

    def test_nothing_is_written_when_one_text_cannot_be(self, tmp_path: Path) -> None:
        folder = tmp_path / "b ;c"
        with pytest.raises(BenchError, match="Supervisor's file cannot hold"):
            write_bench_config(config_for(folder))
        assert not folder.exists()

    def test_a_file_in_a_folders_place(self, tmp_path: Path) -> None:
        (tmp_path / "config").touch()
        message = f"{tmp_path / 'config'} is a file and must be a folder; move it out of the way."
        with pytest.raises(BenchError, match=re.escape(message)):
            write_bench_config(config_for(tmp_path))

    def test_a_folder_in_a_files_place(self, tmp_path: Path) -> None:
        (tmp_path / "Procfile").mkdir()
        message = f"{tmp_path / 'Procfile'} cannot be written (Is a directory); check its folder, owner and disk."
        with pytest.raises(BenchError, match=re.escape(message)):
            write_bench_config(config_for(tmp_path))

    def test_only_the_last_folder_of_the_path_is_made(self, tmp_path: Path) -> None:
        folder = tmp_path / "typo" / "bench"
        message = f"{folder} cannot be made: {folder.parent} does not exist; make that folder first."
        with pytest.raises(BenchError, match=re.escape(message)):
            write_bench_config(config_for(folder))

    def test_a_folder_that_may_not_be_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def denied(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", denied)
        message = f"{tmp_path / 'config'} cannot be made (Permission denied); check the owner and permissions."
        with pytest.raises(BenchError, match=re.escape(message)):
            write_bench_config(config_for(tmp_path))

    def test_root_hands_the_folders_to_the_servers_user(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        handed: list[tuple[Path, str]] = []
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr("frappe_cache_ext.bench.shutil.chown", lambda path, user: handed.append((path, user)))
        write_bench_config(config_for(tmp_path, user="frappe"))
        assert handed == [(tmp_path / name, "frappe") for name in ("config", "config/pids", "logs")]

        def unknown(path: Path, user: str) -> None:
            raise LookupError(user)

        monkeypatch.setattr("frappe_cache_ext.bench.shutil.chown", unknown)
        assert len(write_bench_config(config_for(tmp_path / "elsewhere"))) == 3

    def test_each_entry_says_what_happened(self, tmp_path: Path) -> None:
        path = tmp_path / "Procfile"
        assert str(WrittenFile(path, "written")) == f"written    {path}"
        assert str(WrittenFile(path, "unchanged")) == f"unchanged  {path}"
        kept = f"kept       {path} (it says something else; --force replaces that, after a backup)"
        assert str(WrittenFile(path, "kept")) == kept
        changed = f"changed    {path} (before: Procfile.bak-1)"
        assert str(WrittenFile(path, "changed", tmp_path / "Procfile.bak-1")) == changed


procfile_lines = st.lists(
    st.one_of(
        st.binary(max_size=20).filter(lambda line: not re.search(rb"[\r\n]|^redis_cache:", line)),
        st.sampled_from([b"", b"web: bench serve", b"# redis_cache: no", b" redis_cache: no", b"redis_cache_2: x"]),
    ),
    max_size=6,
)
newlines = st.sampled_from([b"\n", b"\r\n"])


class TestProcfile:
    @given(procfile_lines, newlines, st.booleans(), st.booleans())
    def test_the_line_is_added_and_every_other_stays(
        self, lines: list[bytes], newline: bytes, ended: bool, force: bool
    ) -> None:
        old = newline.join(lines) + (newline if ended and lines else b"")
        new = edit_procfile(old, LINE, force=force)
        assert new is not None
        assert new.startswith(old)
        added = new[len(old) :]
        assert added.strip() == LINE.encode()
        assert new.splitlines() == [*old.splitlines(), LINE.encode()]
        assert edit_procfile(new, LINE, force=force) == new

    @given(procfile_lines, procfile_lines, newlines, st.sampled_from([b" redis-server other.conf", b"", b" x y"]))
    def test_a_different_line_is_kept_or_replaced_in_its_place(
        self, before: list[bytes], after: list[bytes], newline: bytes, command: bytes
    ) -> None:
        head = b"".join(line + newline for line in before)
        tail = newline + newline.join(after)
        old = head + b"redis_cache:" + command + tail
        assert edit_procfile(old, LINE) is None
        assert edit_procfile(old, LINE, force=True) == head + LINE.encode() + tail

    def test_of_two_different_lines_one_remains(self) -> None:
        old = b"redis_cache: a\nweb: x\nredis_cache: b\nworker: y"
        assert edit_procfile(old, LINE, force=True) == LINE.encode() + b"\nweb: x\nworker: y"

    def test_blanks_make_no_difference(self) -> None:
        old = b"redis_cache:redis-server config/redis_cache.conf  \r\nweb: x"
        assert edit_procfile(old, LINE) == old


SECTION = SAMPLE.supervisor_section()
WEB = b"[program:develop-frappe-web]\ncommand=gunicorn ; fast\n\n"
GROUP = b"; the group\n[group:develop-redis]\nprograms=develop-redis-cache\n"
OTHERS = SECTION.replace("user=user", "user=ada").encode()


class TestSupervisor:
    def test_the_section_is_added_after_the_others(self) -> None:
        assert edit_supervisor(WEB, SECTION) == WEB + b"\n" + SECTION.encode()
        assert edit_supervisor(b"[x]\r\na=1", SECTION) == b"[x]\r\na=1\r\n\r\n" + SECTION.replace("\n", "\r\n").encode()

    def test_the_same_section_is_left_alone(self) -> None:
        for old in (SECTION.encode(), WEB + SECTION.encode() + b"\n\n" + GROUP, SECTION.replace("\n", "\r\n").encode()):
            assert edit_supervisor(old, SECTION, force=True) == old

    @pytest.mark.parametrize("gap", [b"", b"\n\n"])
    def test_a_different_section_is_kept_or_replaced_in_its_place(self, gap: bytes) -> None:
        old = WEB + OTHERS + gap + GROUP
        assert edit_supervisor(old, SECTION) is None
        assert edit_supervisor(old, SECTION, force=True) == WEB + SECTION.encode() + gap + GROUP

    def test_a_replaced_section_has_the_files_line_ends(self) -> None:
        old, new = (text.replace(b"\n", b"\r\n") for text in (OTHERS + GROUP, SECTION.encode() + GROUP))
        assert edit_supervisor(old, SECTION, force=True) == new

    def test_an_old_section_without_an_end(self) -> None:
        old = WEB + OTHERS.rstrip()
        assert edit_supervisor(old, SECTION, force=True) == WEB + SECTION.encode()


class TestConfiguredPort:
    def common(self, folder: Path, text: str) -> Path:
        (folder / "sites").mkdir()
        path = folder / "sites" / "common_site_config.json"
        path.write_text(text)
        return path

    @pytest.mark.parametrize(
        ("text", "port"),
        [
            ('{"redis_cache": "redis://127.0.0.1:13005"}', 13005),
            ('{"redis_cache": "localhost:13006"}', 13006),
            ('{"redis_cache": "unix:///run/redis.sock"}', None),
            ('{"redis_cache": null}', None),
            ("{}", None),
        ],
    )
    def test_it_is_the_common_files(self, tmp_path: Path, text: str, port: int | None) -> None:
        self.common(tmp_path, text)
        assert configured_port(tmp_path) == port

    def test_none_where_there_is_no_bench_yet(self, tmp_path: Path) -> None:
        assert configured_port(tmp_path / "new") is None

    def test_a_broken_file_is_named(self, tmp_path: Path) -> None:
        path = self.common(tmp_path, "{")
        with pytest.raises(BenchError, match=re.escape(f"{path}, line 1, column 2: broken JSON")):
            configured_port(tmp_path)
