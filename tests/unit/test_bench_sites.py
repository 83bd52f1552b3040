"""Finding a bench and reading its sites: Frappe's rules, and one clear sentence for each missing or broken file."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from frappe_cache_ext.bench_sites import BenchSite, check_db_name, find_bench, list_sites, read_json, read_site
from frappe_cache_ext.errors import BenchError, SettingsError

SECRET = "hunter2/ß"
LIBRARY = {"db_name": "_69b1e93fd3625cfc", "db_password": SECRET, "db_type": "mariadb"}

Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Builds a bench: its common entries and, by name, its sites' entries; text is written as it is."""

    def make(common: object = None, **sites: object) -> Path:
        bench = tmp_path / "bench"
        (bench / "apps").mkdir(parents=True)
        (bench / "sites").mkdir()
        write(bench / "sites" / "common_site_config.json", {} if common is None else common)
        for name, config in sites.items():
            folder = bench / "sites" / name.replace("__", ".")
            folder.mkdir()
            write(folder / "site_config.json", config)
        (bench / "sites" / "assets").mkdir()
        (bench / "sites" / "apps.txt").touch()
        return bench

    def write(path: Path, content: object) -> None:
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")

    return make


@pytest.fixture(scope="module")
def surrounded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench with the one site `lib`, and a site_config.json in every folder that a path could reach."""
    root = tmp_path_factory.mktemp("surrounded")
    for folder in (root, root / "bench", root / "bench/sites", root / "bench/sites/lib"):
        folder.mkdir(exist_ok=True)
        (folder / "site_config.json").write_text('{"db_name": "_x"}')
    (root / "bench/sites/common_site_config.json").write_text("{}")
    return root / "bench"


@contextmanager
def for_a_stranger(bench: Path, name: str, mode: int = 0) -> Iterator[Path]:
    """A copy of the bench with one path locked, seen by a user whom the lock stops: root becomes nobody for a while."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        copy = Path(shutil.copytree(bench, Path(folder) / "bench"))
        before = (copy / name).stat().st_mode
        (copy / name).chmod(mode)
        try:
            if user == 0:
                os.seteuid(65534)
            yield copy
        finally:
            if user == 0:
                os.seteuid(user)
            (copy / name).chmod(before)


def read(bench: Path, site: str | None = None, **environ: str) -> BenchSite:
    return read_site(bench, site, environ=environ)


def refusal(bench: Path, site: str | None = None, **environ: str) -> str:
    with pytest.raises(BenchError) as caught:
        read(bench, site, **environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestFindBench:
    def test_from_anywhere_below(self, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        bench = build(lib__localhost=LIBRARY)
        assert find_bench(bench) == bench
        assert find_bench(bench / "sites" / "lib.localhost") == bench
        monkeypatch.chdir(bench / "apps")
        assert find_bench() == bench
        assert find_bench(Path("../sites")) == bench

    def test_a_procfile_does_for_apps(self, build: Build) -> None:
        bench = build()
        (bench / "apps").rmdir()
        assert find_bench(bench) is None
        (bench / "Procfile").touch()
        assert find_bench(bench) == bench

    def test_none_outside_a_bench(self, build: Build, tmp_path: Path) -> None:
        bench = build()
        assert find_bench(tmp_path) is None
        (bench / "sites" / "common_site_config.json").unlink()
        assert find_bench(bench / "sites") is None

    def test_through_a_link_and_from_a_folder_that_is_gone(self, build: Build, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(build())
        assert find_bench(tmp_path / "link" / "gone" / "deeper") == tmp_path / "link"


class TestListSites:
    def test_the_folders_with_a_site_config_sorted(self, build: Build) -> None:
        bench = build(z__localhost={}, a__localhost="broken", m__localhost={})
        assert list_sites(bench) == ["a.localhost", "m.localhost", "z.localhost"]

    def test_no_site(self, build: Build) -> None:
        assert list_sites(build()) == []


class TestReadSite:
    def test_all_entries(self, build: Build) -> None:
        common = {"redis_cache": "redis://127.0.0.1:13000", "db_host": "db.example"}
        entries = {**LIBRARY, "db_port": "3307", "db_user": "ada"}
        bench = build(common, lib__localhost=entries)
        assert read(bench, "lib.localhost") == BenchSite(
            bench=bench,
            name="lib.localhost",
            db_name="_69b1e93fd3625cfc",
            redis_cache="redis://127.0.0.1:13000",
            redis_cache_source=str(bench / "sites" / "common_site_config.json"),
            db_type="mariadb",
            db_host="db.example",
            db_port=3307,
            db_socket=None,
            db_user="ada",
            db_password=SECRET,
        )

    def test_defaults_are_frappes(self, build: Build) -> None:
        site = read(build(lib__localhost={"db_name": "_lib"}), "lib.localhost")
        assert site.redis_cache == "redis://127.0.0.1:13311"
        assert site.redis_cache_source == "default"
        assert (site.db_type, site.db_host, site.db_port) == ("mariadb", "127.0.0.1", 3306)
        assert (site.db_user, site.db_password, site.db_socket) == ("_lib", None, None)

    @pytest.mark.parametrize(("db_type", "port"), [("mariadb", 3306), ("postgres", 5432), ("sqlite", None)])
    def test_the_port_follows_the_kind_of_database(self, build: Build, db_type: str, port: int | None) -> None:
        assert read(build(lib={"db_name": "_lib", "db_type": db_type})).db_port == port

    def test_the_site_overrides_the_common_file(self, build: Build) -> None:
        bench = build({"redis_cache": "redis://common:1"}, a={**LIBRARY, "redis_cache": "redis://own:2"}, b=LIBRARY)
        assert read(bench, "a").redis_cache == "redis://own:2"
        assert read(bench, "a").redis_cache_source == str(bench / "sites" / "a" / "site_config.json")
        assert read(bench, "b").redis_cache == "redis://common:1"

    @pytest.mark.parametrize("empty", ["", None, 0, False])
    def test_an_empty_entry_hides_the_common_one_and_counts_as_absent(self, build: Build, empty: object) -> None:
        bench = build(
            {"redis_cache": "redis://common:1", "db_port": 9}, lib={**LIBRARY, "redis_cache": empty, "db_port": empty}
        )
        site = read(bench)
        assert site.redis_cache == "redis://127.0.0.1:13311"
        assert site.db_port == 3306

    def test_the_environment_overrides_both(self, build: Build) -> None:
        bench = build({"redis_cache": "redis://common:1"}, a=LIBRARY, b=LIBRARY)
        site = read(bench, None, FRAPPE_SITE="b", FRAPPE_REDIS_CACHE="redis://docker:6379", FRAPPE_DB_PORT="3310")
        assert (site.name, site.redis_cache, site.db_port) == ("b", "redis://docker:6379", 3310)
        assert site.redis_cache_source == "the environment variable FRAPPE_REDIS_CACHE"

    def test_the_processs_own_environment_is_the_default(self, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FRAPPE_DB_HOST", "db.docker")
        assert read_site(build(lib=LIBRARY), "lib").db_host == "db.docker"

    @pytest.mark.parametrize(
        ("entry", "url"),
        [
            ("redis://127.0.0.1:13000", "redis://127.0.0.1:13000"),
            ("localhost:13000", "redis://localhost:13000"),
            (" localhost:13000 ", "redis://localhost:13000"),
            ("rediss://:pw@cache.example:6380/1", "rediss://:pw@cache.example:6380/1"),
            ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ],
    )
    def test_old_and_new_forms_of_the_caches_address(self, build: Build, entry: str, url: str) -> None:
        assert read(build({"redis_cache": entry}, lib=LIBRARY)).redis_cache == url

    def test_sentinel(self, build: Build) -> None:
        common = {
            "redis_cache": "redis://127.0.0.1:13000",
            "redis_cache_sentinel_enabled": 1,
            "redis_cache_sentinels": ["h1:26379", "h2:26379"],
            "redis_cache_master_service": "mymaster",
        }
        assert read(build(common, lib=LIBRARY)).redis_cache == "sentinel://h1:26379,h2:26379/mymaster"

    def test_a_relative_path_and_a_link_to_the_bench(
        self, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = build(lib=LIBRARY)
        (tmp_path / "link").symlink_to(bench)
        monkeypatch.chdir(tmp_path)
        assert read(Path("bench/../link")).bench == tmp_path / "link"


class TestWhichSite:
    def test_the_only_one(self, build: Build) -> None:
        assert read(build(lib=LIBRARY)).name == "lib"

    def test_currentsite_txt_before_the_only_one(self, build: Build) -> None:
        bench = build(a=LIBRARY, b=LIBRARY)
        (bench / "sites" / "currentsite.txt").write_text("b\n")
        assert read(bench).name == "b"

    def test_default_site_before_currentsite_txt(self, build: Build) -> None:
        bench = build({"default_site": "a"}, a=LIBRARY, b=LIBRARY)
        (bench / "sites" / "currentsite.txt").write_text("b\n")
        assert read(bench).name == "a"
        assert read(bench, "b").name == "b"

    def test_several_and_none_named(self, build: Build) -> None:
        bench = build(c=LIBRARY, a=LIBRARY, b=LIBRARY)
        (bench / "sites" / "currentsite.txt").write_text(" \n")
        assert refusal(bench) == f"{bench / 'sites'} holds 3 sites and no default; name one of a, b, c."

    def test_no_site_at_all(self, build: Build) -> None:
        bench = build()
        assert refusal(bench) == f"{bench / 'sites'} holds no site yet; create one with `bench new-site NAME`."
        assert refusal(bench, "lib") == (
            f"The site 'lib' does not exist in {bench / 'sites'}; create it with `bench new-site`."
        )

    def test_an_unknown_site(self, build: Build) -> None:
        bench = build(library__localhost=LIBRARY, shop__localhost=LIBRARY)
        there = "sites there: library.localhost, shop.localhost."
        assert refusal(bench, "libary.localhost") == (
            f"The site 'libary.localhost' does not exist in {bench / 'sites'}; did you mean library.localhost? {there}"
        )
        assert refusal(bench, "zzz") == f"The site 'zzz' does not exist in {bench / 'sites'}; {there}"
        assert refusal(bench, "assets") == f"The site 'assets' has no site_config.json in {bench / 'sites'}; {there}"

    def test_an_unknown_default_says_who_named_it(self, build: Build) -> None:
        bench = build({"default_site": "gone"}, lib=LIBRARY)
        sites = bench / "sites"
        assert refusal(bench) == (
            f"The site 'gone' (default_site in {sites / 'common_site_config.json'}) does not exist in {sites}; "
            "sites there: lib."
        )
        assert "(the environment variable FRAPPE_SITE)" in refusal(bench, None, FRAPPE_SITE="x")
        (sites / "common_site_config.json").write_text("{}")
        (sites / "currentsite.txt").write_text("old")
        assert f"The site 'old' ({sites / 'currentsite.txt'}) does not exist" in refusal(bench)

    @pytest.mark.parametrize("name", ["../x", "..", ".", "/etc", "a/b", "a\\b", "a\0b", "lib/", "lib/../lib"])
    def test_a_name_that_leaves_the_sites_folder(self, build: Build, name: str) -> None:
        bench = build(lib=LIBRARY)
        (bench / "x").mkdir()
        (bench / "x" / "site_config.json").write_text('{"db_name": "_x"}')
        said = (
            f"The site {name!r} is not the name of a folder in {bench / 'sites'}; write the name alone, without a path."
        )
        assert refusal(bench, name) == said

    @given(st.text(max_size=30))
    @example("..")
    @example("lib\n")
    def test_no_name_reads_outside_the_sites_folder(self, surrounded: Path, name: str) -> None:
        if name != "lib":
            with pytest.raises(BenchError):
                read_site(surrounded, name, environ={})

    @pytest.mark.parametrize("name", ["", " ", "\n"])
    def test_an_empty_name(self, build: Build, name: str) -> None:
        assert refusal(build(lib=LIBRARY), name) == "The site's name is empty; name one, for example library.localhost."


class TestBrokenBench:
    def test_the_folder_does_not_exist(self, tmp_path: Path) -> None:
        bench = tmp_path / "gone"
        said = f"{bench} does not exist; name the folder of a bench, the one that holds apps and sites."
        assert refusal(bench) == said
        with pytest.raises(BenchError, match=re.escape(said)):
            list_sites(bench)

    def test_the_folder_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        said = f"{tmp_path / 'file'} is no folder; name the folder of a bench, the one that holds apps and sites."
        assert refusal(tmp_path / "file") == said

    def test_no_sites_folder(self, tmp_path: Path) -> None:
        said = (
            f"{tmp_path / 'sites'} does not exist; {tmp_path} is no bench; name the folder that holds apps and sites."
        )
        assert refusal(tmp_path) == said

    def test_no_common_site_config(self, build: Build) -> None:
        bench = build(lib=LIBRARY)
        common = bench / "sites" / "common_site_config.json"
        common.unlink()
        assert refusal(bench) == (
            f"{common} does not exist; a bench keeps its cache's address there; "
            "`bench init` writes it, '{}' is enough."
        )

    @pytest.mark.parametrize("name", ["common_site_config.json", "lib/site_config.json"])
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                b'{\n "a": 1,\n "b" 2\n}',
                ", line 3, column 6: broken JSON (Expecting ':' delimiter); correct the file there.",
            ),
            (b"", ", line 1, column 1: broken JSON (Expecting value); correct the file there."),
            (b'{"a": "x\xff"}', ", line 1, column 9: not UTF-8; save the file as UTF-8."),
            (b'{\n"a": "\xff"}', ", line 2, column 7: not UTF-8; save the file as UTF-8."),
            (b"[1]", " holds a list where an object belongs; the file must begin with { and end with }."),
            (b'"x"', " holds text where an object belongs; the file must begin with { and end with }."),
            (b"null", " holds null where an object belongs; the file must begin with { and end with }."),
            (b"7", " holds a single value where an object belongs; the file must begin with { and end with }."),
            (b"[" * 100_000, " holds a number or a nesting too long to be read; correct the file."),
            (b"1" * 5000, " holds a number or a nesting too long to be read; correct the file."),
        ],
        ids=["delimiter", "empty", "byte", "second line", "list", "text", "null", "number", "deep", "long"],
    )
    def test_a_broken_file(self, build: Build, name: str, text: bytes, said: str) -> None:
        bench = build(lib=LIBRARY)
        (bench / "sites" / name).write_bytes(text)
        assert refusal(bench, "lib") == f"{bench / 'sites' / name}{said}"

    @pytest.mark.parametrize(
        "name", [".", "sites", "sites/lib", "sites/common_site_config.json", "sites/lib/site_config.json"]
    )
    def test_what_may_not_be_read(self, build: Build, name: str) -> None:
        with for_a_stranger(build(lib=LIBRARY), name) as bench:
            said = refusal(bench, "lib")
            assert find_bench(bench) == (None if name in (".", "sites") else bench)
        locked = {".": bench / "sites", "sites": bench / "sites/common_site_config.json"}.get(name, bench / name)
        assert said == f"{locked} cannot be read (Permission denied); check its owner and permissions."

    def test_sites_that_may_not_be_listed(self, build: Build) -> None:
        with for_a_stranger(build(a=LIBRARY, b=LIBRARY), "sites", 0o111) as bench:
            assert read(bench, "a").name == "a"
            said = refusal(bench)
        assert said == f"{bench / 'sites'} cannot be read (Permission denied); check its owner and permissions."

    def test_no_db_name(self, build: Build) -> None:
        bench = build(lib={"db_password": SECRET})
        assert refusal(bench) == (
            f"{bench / 'sites/lib/site_config.json'} has no db_name, which every key of the site begins with; "
            'add the name of the site\'s database: "db_name": "...".'
        )

    @pytest.mark.parametrize("character", list("|*?[]\\"))
    def test_a_db_name_that_reaches_another_site(self, build: Build, character: str) -> None:
        db_name = f"_lib{character}"
        bench = build(lib={"db_name": db_name})
        rule = (
            f"The db_name {db_name!r} holds {character!r}; the site's keys begin with it, so it may hold none of "
            "| * ? [ ] \\, which would let it reach another site's keys."
        )
        assert refusal(bench) == f"{bench / 'sites/lib/site_config.json'}: {rule}"
        with pytest.raises(SettingsError, match=re.escape(rule)):
            check_db_name(db_name)

    def test_other_bad_db_names(self, build: Build) -> None:
        bench = build(lib='{"db_name": "_\\ud800"}')
        said = r"The db_name '_\ud800' holds half a character (a lone surrogate); write it out."
        assert refusal(bench) == f"{bench / 'sites/lib/site_config.json'}: {said}"
        with pytest.raises(SettingsError, match=r"^The db_name is empty; the site's keys begin with it"):
            check_db_name("")

    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="|*?[]\\"), min_size=1))
    def test_any_other_db_name_is_accepted(self, db_name: str) -> None:
        check_db_name(db_name)

    @pytest.mark.parametrize(
        "key", ["db_name", "db_type", "db_host", "db_socket", "db_user", "db_password", "redis_cache"]
    )
    @pytest.mark.parametrize("value", [12345, ["12345"], {"a": 12345}, True])
    def test_an_entry_that_is_no_text(self, build: Build, key: str, value: object) -> None:
        bench = build(lib={**LIBRARY, key: value})
        said = refusal(bench)
        assert said == f"{bench / 'sites/lib/site_config.json'}: {key} must be text; put it in double quotes."

    @pytest.mark.parametrize("port", [65536, -1, "x", "\u0661", 3306.5, True, "3306 "])
    def test_a_bad_database_port(self, build: Build, port: object) -> None:
        bench = build(lib={**LIBRARY, "db_port": port})
        assert refusal(bench) == f"{bench / 'sites/lib/site_config.json'}: db_port must be a number from 1 to 65535."
        assert refusal(bench, None, FRAPPE_DB_PORT="x").startswith("the environment variable FRAPPE_DB_PORT: db_port")

    def test_a_bad_default_site(self, build: Build) -> None:
        bench = build({"default_site": ["lib"]}, lib=LIBRARY)
        said = f"{bench / 'sites/common_site_config.json'}: default_site must be text; put it in double quotes."
        assert refusal(bench) == said

    @pytest.mark.parametrize(
        ("entry", "said"),
        [
            ("http://:pw@h", "redis_cache begins with http://; write it as redis://127.0.0.1:13000."),
            (
                "redis://:pw@h:99999",
                "the host or port in redis_cache is malformed; write it as redis://127.0.0.1:13000.",
            ),
            ("h:x", "the host or port in redis_cache is malformed; write it as redis://127.0.0.1:13000."),
            (
                "redis://[::1:13000",
                "the host or port in redis_cache is malformed; write it as redis://127.0.0.1:13000.",
            ),
        ],
    )
    def test_a_bad_cache_address(self, build: Build, entry: str, said: str) -> None:
        bench = build({"redis_cache": entry}, lib=LIBRARY)
        assert refusal(bench) == f"{bench / 'sites/common_site_config.json'}: {said}"

    @pytest.mark.parametrize(
        "change", [{"redis_cache_sentinels": None}, {"redis_cache_sentinels": [1]}, {"redis_cache_master_service": ""}]
    )
    def test_half_a_sentinel(self, build: Build, change: dict[str, object]) -> None:
        common = {
            "redis_cache_sentinel_enabled": 1,
            "redis_cache_sentinels": ["h1:26379"],
            "redis_cache_master_service": "mymaster",
            **change,
        }
        bench = build(common, lib=LIBRARY)
        assert refusal(bench) == (
            f"{bench / 'sites/common_site_config.json'} turns Sentinel on without redis_cache_sentinels "
            "(a list of texts like 127.0.0.1:26379) and redis_cache_master_service; add both."
        )

    @pytest.mark.parametrize("key", ["redis_cache_sentinel_password", "redis_cache_master_username"])
    def test_sentinel_with_credentials(self, build: Build, key: str) -> None:
        common = {
            "redis_cache_sentinel_enabled": 1,
            "redis_cache_sentinels": ["h1:26379"],
            "redis_cache_master_service": "mymaster",
            key: SECRET,
        }
        bench = build(common, lib=LIBRARY)
        assert refusal(bench) == (
            f"{bench / 'sites/common_site_config.json'} turns Sentinel on with users or passwords, which are not read "
            "from there; name the server with FRAPPE_CACHE_URL."
        )


class TestSecrets:
    def test_the_repr_holds_no_password(self, build: Build) -> None:
        site = read(build({"redis_cache": "redis://:hunter2@h:1"}, lib=LIBRARY))
        assert site.db_password == SECRET
        assert "hunter2" not in repr(site)
        assert "hunter2" not in str(site)

    @pytest.mark.parametrize(
        "text",
        [
            '{"db_password": "hunter2", "db_name": "a|"}',
            '{"db_password": "hunter2"}',
            '{"db_password": "hunter2" "db_name": "a"}',
            '{"db_password": ["hunter2"], "db_name": "a"}',
            '{"redis_cache": "redis://:hunter2@h:x", "db_name": "a"}',
            '{"redis_cache": "http://:hunter2@h", "db_name": "a"}',
            '{"db_password": "hunter2", "db_port": "x", "db_name": "a"}',
            '["hunter2"]',
            '"hunter2"',
        ],
    )
    def test_no_message_holds_a_password(self, build: Build, text: str) -> None:
        bench = build(lib=text)
        with pytest.raises(BenchError) as caught:
            read(bench)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None

    def test_a_site_can_be_pickled_and_hashed(self, build: Build) -> None:
        site = read(build(lib=LIBRARY))
        assert pickle.loads(pickle.dumps(site)) == site
        assert {site: 1}[site] == 1


class TestDatabaseUrl:
    def test_mariadb(self, build: Build) -> None:
        site = read(build(lib={"db_name": "_lib", "db_password": SECRET, "db_user": "a@b"}))
        assert site.database_url == "mariadb+pymysql://a%40b:hunter2%2F%C3%9F@127.0.0.1:3306/_lib?charset=utf8mb4"

    def test_postgres_on_ipv6_without_a_password(self, build: Build) -> None:
        site = read(build(lib={"db_name": "_lib", "db_type": "postgres", "db_host": "::1"}))
        assert site.database_url == "postgresql+psycopg://_lib@[::1]:5432/_lib"

    def test_a_socket_goes_before_host_and_port(self, build: Build) -> None:
        entries = {"db_name": "_lib", "db_socket": "/run/my sql.sock"}
        bench = build(a=entries, b={**entries, "db_type": "postgres"})
        url = read(bench, "a").database_url
        assert url == "mariadb+pymysql://_lib@/_lib?charset=utf8mb4&unix_socket=/run/my%20sql.sock"
        assert read(bench, "b").database_url == "postgresql+psycopg://_lib@/_lib?host=/run/my%20sql.sock"

    def test_sqlite_is_the_sites_own_file(self, build: Build) -> None:
        bench = build(lib={"db_name": "_lib", "db_type": "sqlite"})
        assert read(bench).database_url == f"sqlite:///{bench}/sites/lib/db/_lib.db"

    def test_an_unknown_kind(self, build: Build) -> None:
        site = read(build(lib={"db_name": "_lib", "db_type": "oracle"}))
        assert (site.database_url, site.db_port) == (None, None)


def test_a_missing_file_names_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=re.escape(f"{tmp_path / 'x.json'} does not exist; write it.")):
        read_json(tmp_path / "x.json", "write it")
