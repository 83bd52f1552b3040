"""Each magic, in a shell of this process: what it does, and the one line it says when it cannot."""

from __future__ import annotations

import math
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import frappe_cache_ext
from frappe_cache_ext import context
from frappe_cache_ext.notebook.tables import Table
from tests.support import RedisServer, free_port

from .conftest import Shell

cache = frappe_cache_ext.cache


class TestValues:
    def test_what_is_set_is_got(self, shell: Shell) -> None:
        assert shell.run('%cache_set color "green"') is None
        assert shell.out == ""
        assert shell.run("%cache_get color") == "green"
        assert cache.get_value("color") == "green"

    def test_the_value_can_be_assigned(self, shell: Shell) -> None:
        shell.run("%cache_set sizes [1, 2]")
        shell.run("sizes = %cache_get sizes")
        assert shell.out == ""
        assert shell.ip.user_ns["sizes"] == [1, 2]

    def test_a_missing_key_is_said_to_be_missing(self, shell: Shell) -> None:
        assert shell.run("%cache_get nothing") is None
        assert shell.out == "no such key: 'nothing'\n"
        shell.run("x = %cache_get nothing")
        assert (shell.out, shell.ip.user_ns["x"]) == ("no such key: 'nothing'\n", None)

    def test_a_stored_none_is_no_miss(self, shell: Shell) -> None:
        shell.run("%cache_set nothing None")
        assert shell.run("%cache_get nothing") is None
        assert shell.out == ""

    def test_the_expression_reads_the_users_names(self, shell: Shell) -> None:
        shell.run("a, b = 40, 2\ndef add(x, y): return x + y")
        shell.run("%cache_set sum {'sum': add(a, b), 'all': [x for x in (a, b) if x < a]}")
        assert shell.run("%cache_get sum") == {"sum": 42, "all": [2]}

    def test_the_expression_reads_the_names_of_its_function(self, shell: Shell) -> None:
        shell.run("def keep(local):\n    %cache_set kept [local + each for each in (0, local)]\nkeep(20)")
        assert shell.run("%cache_get kept") == [20, 40]

    @pytest.mark.parametrize("key", ["{v}$x", "a|b", "100%", "ключ", "k🔑", "a=b", "--like-an-option", "$HOME", "{}"])
    def test_a_key_is_taken_as_it_stands(self, shell: Shell, key: str) -> None:
        shell.run("v = x = 1")
        ahead = "-- " if key.startswith("-") else ""
        shell.run(f"%cache_set {ahead}{key} 5")
        assert cache.get_keys() == [cache.make_key(key)]
        assert shell.run(f"%cache_get {ahead}{key}") == 5

    @pytest.mark.parametrize("quoted", ['"two words"', "'two words'", r"two\ words"])
    def test_a_key_with_a_space_stands_in_quotes(self, shell: Shell, quoted: str) -> None:
        shell.run(f"%cache_set {quoted} 5")
        assert cache.get_keys() == [cache.make_key("two words")]
        assert shell.run(f"%cache_get {quoted}") == 5

    def test_a_semicolon_at_the_end_is_no_part_of_it(self, shell: Shell) -> None:
        shell.run("%cache_set color 5;")
        shell.run("x = %cache_get color;")
        assert shell.ip.user_ns["x"] == 5
        shell.run("%cache_set 'color;' 6")
        assert shell.run("%cache_get 'color;'") == 6

    @pytest.mark.parametrize("line", ["--ttl 60 k 5", "k 5 --ttl 60", "k --ttl 60 5", "k 5 --ttl=60", "--ttl=60 k 5"])
    def test_options_stand_first_or_last(self, shell: Shell, line: str) -> None:
        shell.run(f"%cache_set {line}")
        assert 59 < (cache.get_expiry("k") or 0) <= 60
        assert shell.run("%cache_get k") == 5

    @pytest.mark.parametrize(
        ("expression", "value"),
        [
            ('"a --ttl 60"', "a --ttl 60"),
            ('"a" " --shared"', "a --shared"),
            ("(7 --ttl)", 12),
            ("-1", -1),
            ("7-- 5", 12),
            ("{'a': '--ttl 3'}['a']", "--ttl 3"),
        ],
    )
    def test_what_only_looks_like_an_option_is_none(self, shell: Shell, expression: str, value: Any) -> None:
        shell.run("ttl = 5")
        shell.run(f"%cache_set k {expression}")
        assert shell.run("%cache_get k") == value
        assert cache.get_expiry("k") == math.inf

    def test_users_and_sites_are_kept_apart(self, shell: Shell) -> None:
        shell.run("%cache_set k 1")
        shell.run("%cache_set k 2 --user anna")
        shell.run("%cache_set k 3 --user")
        shell.run(f"%cache_set {context.current_settings().site}-k 4 --shared")
        assert shell.run("%cache_get k") == 1
        assert shell.run("%cache_get k --user anna") == 2
        assert shell.run("%cache_get k --user") == shell.run("%cache_get k --user Administrator") == 3
        assert shell.run(f"%cache_get {context.current_settings().site}-k --shared") == 4
        shell.run(f"%cache_del --shared {context.current_settings().site}-k")
        assert shell.out == "deleted 1 of 1 key\n"

    def test_deleting_says_how_many_there_were(self, shell: Shell) -> None:
        shell.run("%cache_set a 1")
        shell.run('%cache_set "b c" 1')
        shell.run('%cache_del a "b c" d a')
        assert shell.out == "deleted 2 of 3 keys\n"
        assert cache.get_keys() == []

    def test_a_hash_is_not_read_as_a_value(self, shell: Shell) -> None:
        shell.run("%cache_hset h f 1")
        assert shell.fails("%cache_get h") == "'h' is not a string but a hash; %cache_hgetall reads it"
        shell.run("%cache_set s 1")
        assert shell.fails("%cache_hset s f 1") == "'s' is not a hash but a string; %cache_get reads it"
        shell.run("frappe.cache.lpush('l', 1)")
        assert shell.fails("%cache_get l") == "'l' is not a string but a list; %redis reads it"


class TestExpiry:
    def test_it_is_read_and_set(self, shell: Shell) -> None:
        shell.run("%cache_set k 1")
        assert shell.run("%cache_ttl k") == math.inf
        shell.run("%cache_ttl k 60")
        assert shell.run("%cache_ttl k") == 60
        shell.run("%cache_ttl k none")
        assert shell.run("%cache_ttl k") == math.inf
        shell.run("%cache_ttl k 0.05")
        time.sleep(0.06)
        assert shell.run("%cache_ttl k") is None
        assert shell.out == "no such key: 'k'\n"

    def test_of_a_hash_and_of_a_user(self, shell: Shell) -> None:
        shell.run("%cache_hset h f 1")
        shell.run("%cache_ttl h 60")
        assert shell.run("%cache_ttl h") == 60
        shell.run("%cache_set k 1 --ttl 30 --user anna")
        assert shell.run("%cache_ttl k --user anna") == 30

    def test_the_default_can_be_configured(self, shell: Shell) -> None:
        shell.run("%config CacheMagics.ttl = 60")
        try:
            shell.run("%cache_set a 1")
            shell.run("%cache_set b 1 --ttl none")
            assert (shell.run("%cache_ttl a"), shell.run("%cache_ttl b")) == (60, math.inf)
        finally:
            shell.run("%config CacheMagics.ttl = None")


class TestHashes:
    def test_fields(self, shell: Shell) -> None:
        shell.run('%cache_hset user|admin name "Admin"')
        shell.run('%cache_hset user|admin "e mail" ""')
        assert shell.run("%cache_hget user|admin name") == "Admin"
        assert shell.run("%cache_hgetall user|admin") == {"name": "Admin", "e mail": ""}
        shell.run('%cache_hdel user|admin "e mail" other name')
        assert shell.out == "deleted 2 of 3 fields\n"
        assert cache.get_keys() == []

    def test_what_is_missing_is_named(self, shell: Shell) -> None:
        shell.run("%cache_hset h f None")
        assert (shell.run("%cache_hget h f"), shell.out) == (None, "")
        assert shell.run("%cache_hget h g") is None
        assert shell.out == "no such field: 'g' in 'h'\n"
        for line in ("%cache_hget other f", "%cache_hgetall other"):
            assert shell.run(line) is None
            assert shell.out == "no such key: 'other'\n"


class TestKeys:
    def test_they_are_listed_with_what_they_hold(self, shell: Shell) -> None:
        shell.run('%cache_set color "green" --ttl 60')
        shell.run("%cache_hset user|admin name 1")
        shell.run("frappe.cache.lpush('list', 1, 2)")
        shell.run("frappe.cache.sadd('set', 1)")
        shell.run("frappe.cache.zadd(frappe.cache.make_key('zset'), {'a': 1})")
        table = shell.run("%cache_keys")
        assert table.rows == [
            ("color", "string", "20 bytes", "1 min", "'green'"),
            ("list", "list", "2 items", "never", ""),
            ("set", "set", "1 member", "never", ""),
            ("user|admin", "hash", "1 field", "never", ""),
            ("zset", "zset", "1 member", "never", ""),
        ]

    def test_a_prefix_is_taken_literally(self, shell: Shell) -> None:
        for key in ("a*1", "ab1", "a*2"):
            shell.run(f"%cache_set {key} 1")
        assert [row[0] for row in shell.run("%cache_keys a*").rows] == ["a*1", "a*2"]

    def test_none_is_said(self, shell: Shell) -> None:
        site = context.current_settings().site
        assert repr(shell.run("%cache_keys")) == f"no key of site '{site}'"
        assert repr(shell.run("%cache_keys x")) == f"no key of site '{site}' begins with 'x'"

    def test_many_are_counted(self, shell: Shell) -> None:
        shell.run("%config CacheMagics.max_rows = 2")
        try:
            for number in range(5):
                cache.set_value(f"k{number}", number)
            table = shell.run("%cache_keys")
            assert ([row[0] for row in table.rows], table.more) == (["k0", "k1"], 3)
        finally:
            shell.run("%config CacheMagics.max_rows = 50")

    def test_looking_at_a_value_runs_and_imports_nothing(self, shell: Shell, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(tmp_path / "done"),)

        cache.redis.set(cache.make_key("evil"), pickle.dumps(Evil()))
        cache.redis.set(cache.make_key("broken"), b"\x80\x05broken")
        cache.redis.set(cache.make_key("text"), b"plain text")
        cache.redis.set(cache.make_key("unknown"), b"\x80\x05cno.such.module\nThing\n)\x81.")
        values = {row[0]: row[4] for row in shell.run("%cache_keys").rows}
        assert "mkdir" in values["evil"]
        assert not (tmp_path / "done").exists()
        assert values["text"] == "b'plain text'"
        assert "no.such.module.Thing" in values["unknown"]
        assert "no" not in sys.modules

    def test_a_large_value_is_cut(self, shell: Shell) -> None:
        cache.set_value("long", "x" * 1000)
        cache.set_value("huge", "x" * 100_000)
        values = {row[0]: row[4] for row in shell.run("%cache_keys").rows}
        assert len(values["long"]) == 50
        assert values["huge"] == ""


class TestClear:
    def test_everything(self, shell: Shell) -> None:
        site = context.current_settings().site
        for key in ("a", "b"):
            shell.run(f"%cache_set {key} 1")
        shell.run("%cache_clear")
        assert shell.out == f"cleared 2 keys: site {site}\n"
        assert cache.get_keys() == []

    def test_a_prefix(self, shell: Shell) -> None:
        for key in ("ab", "ac", "b"):
            shell.run(f"%cache_set {key} 1")
        shell.run("%cache_clear a")
        assert shell.out.startswith("cleared 2 keys beginning with 'a': site ")
        assert cache.get_keys() == [cache.make_key("b")]

    def test_a_user(self, shell: Shell) -> None:
        shell.run("%cache_set k 1 --user anna")
        shell.run("%cache_set k 1 --user ben")
        shell.run("%cache_hset bootinfo anna 1")
        shell.run("%cache_hset bootinfo ben 1")
        shell.run("%cache_clear --user anna")
        assert shell.out.startswith("cleared 1 key and 1 field of user anna: site ")
        assert shell.run("%cache_get k --user ben") == 1

    def test_a_doctype(self, shell: Shell) -> None:
        cache.set_value("document_cache::Tag::a", 1)
        cache.set_value("document_cache::Tags::a", 1)
        shell.run("%cache_clear --doctype Tag")
        assert shell.out.startswith("cleared 1 key about Tag: site ")

    def test_two_at_once_are_refused(self, shell: Shell) -> None:
        assert shell.fails("%cache_clear a --user b") == "%cache_clear: name one of --user, --doctype and PREFIX"


class TestStats:
    def test_the_counters_move(self, shell: Shell) -> None:
        before = dict(shell.run("%cache_stats").rows)
        shell.run("%cache_set k 1")
        shell.run("frappe.cache.get_value('k'), frappe.cache.get_value('k'), frappe.cache.get_value('none')")
        after = dict(shell.run("%cache_stats").rows)
        changes = {
            name: after[name] - before[name]
            for name in after
            if isinstance(after[name], int) and after[name] != before[name] and not name.startswith("server")
        }
        assert changes == {
            "keys of this site": 1,
            "this process: hits on the server": 1,
            "this process: hits in the request": 1,
            "this process: misses": 1,
            "this process: writes": 1,
        }
        assert after["server"].startswith("Valkey ")
        assert after["eviction"] == "allkeys-lru"
        assert after["memory"].count("MB") == 2

    def test_of_the_server_inside_this_process(self, shell: Shell) -> None:
        shell.run("%cache_connect memory://magics")
        assert shell.out.startswith("connected to fakeredis, a server in this process at memory://magics: site ")
        facts = dict(shell.run("%cache_stats").rows)
        assert "memory" not in facts
        assert facts["keys of this site"] == 0


class TestRedis:
    def test_replies_are_shown_as_redis_cli_shows_them(self, shell: Shell) -> None:
        name = f"{context.current_settings().site}-raw"
        shown = {
            f"SET {name} hello": "OK",
            f"GET {name}": '"hello"',
            f"set {name} OK": "OK",
            f"get {name}": '"OK"',
            f"TYPE {name}": "string",
            f"TTL {name}": "(integer) -1",
            f"GET {name}-not": "(nil)",
            f"DEL {name}": "(integer) 1",
            f"RPUSH {name} a 'b c' grün": "(integer) 3",
            f"LRANGE {name} 0 -1": '1) "a"\n2) "b c"\n3) "grün"',
            f"LRANGE {name} 5 9": "(empty array)",
            "PING": "PONG",
            "PING OK": "OK",
            f"UNLINK {name}": "(integer) 1",
        }
        assert {command: repr(shell.run(f"%redis {command}")) for command in shown} == shown

    def test_the_reply_can_be_assigned(self, shell: Shell) -> None:
        shell.run("reply = %redis PING hello")
        assert shell.ip.user_ns["reply"].value == b"hello"

    def test_a_pickle_is_shown_as_bytes(self, shell: Shell) -> None:
        shell.run("%cache_set k None")
        assert repr(shell.run(f"%redis GET {cache.make_key('k').decode()}")) == r'"\x80\x05N."'

    def test_text_of_many_lines_is_shown_as_such(self, shell: Shell) -> None:
        assert "\nused_memory_human:" in repr(shell.run("%redis INFO memory"))

    def test_options_of_the_command_are_its_own(self, shell: Shell) -> None:
        assert repr(shell.run("%redis ECHO --user")) == '"--user"'
        assert shell.run("%redis --help") is None
        assert "%redis [--help] [COMMAND ...]" in shell.out

    def test_an_error_is_one_line(self, shell: Shell) -> None:
        assert shell.fails("%redis FOO").startswith("(error) unknown command 'FOO'")
        assert shell.fails("%redis GET").startswith("(error) wrong number of arguments")
        assert shell.fails("%redis").startswith("%redis: name a command")

    def test_what_one_line_cannot_do_is_refused(self, shell: Shell) -> None:
        assert shell.fails("%redis subscribe a").startswith("SUBSCRIBE goes on for ever")
        assert shell.fails("%redis MULTI").startswith("MULTI: each %redis line stands alone")

    def test_a_command_on_the_connection_harms_nobody_else(self, shell: Shell) -> None:
        shell.run("%cache_set k 1")
        assert repr(shell.run("%redis SELECT 5")) == "OK"
        assert shell.run("%cache_get k") == 1
        assert repr(shell.run("%redis DBSIZE")) != "(integer) 0"


class TestSitesAndUsers:
    def test_the_current_ones(self, shell: Shell) -> None:
        site = context.current_settings().site
        assert shell.run("%cache_site") == site
        assert shell.run("%cache_user") == "Administrator"
        shell.run("%cache_user anna@example.com")
        assert shell.out == "user anna@example.com\n"
        assert shell.run("frappe.session.user") == "anna@example.com"
        shell.run(f"%cache_site {site}-2")
        assert shell.out == f"site {site}-2, user Administrator\n"
        assert shell.run("frappe.local.site") == f"{site}-2"

    def test_a_site_of_a_bench(self, shell: Shell, tmp_path: Path, embedded_server: Any) -> None:
        _make_bench(tmp_path, embedded_server.url, "a.localhost", "b.localhost")
        assert shell.fails(f"%cache_connect --bench {tmp_path}") == (
            f"{tmp_path}/sites holds 2 sites and no default; name one of a.localhost, b.localhost."
        )
        shell.run(f"%cache_connect --bench {tmp_path} --site a.localhost")
        assert shell.out.startswith("connected to Valkey ")
        assert ": site a.localhost, 0 keys; its database cannot be read: " in shell.out
        assert frappe_cache_ext.cache.make_key("k") == b"_a|k"
        shell.run("%cache_site b.localhost")
        assert frappe_cache_ext.cache.make_key("k") == b"_b|k"
        assert shell.fails("%cache_site c.localhost").startswith("The site 'c.localhost' does not exist in ")
        assert shell.run("%cache_site") == "b.localhost"
        (tmp_path / "sites" / "currentsite.txt").write_text("a.localhost")
        shell.run(f"%cache_connect --bench {tmp_path}")
        assert ": site a.localhost, 0 keys (its sites: a.localhost, b.localhost); its database" in shell.out

    def test_a_broken_bench(self, shell: Shell, tmp_path: Path) -> None:
        assert shell.fails(f"%cache_connect --bench {tmp_path}/no").startswith(f"{tmp_path}/no does not exist")
        _make_bench(tmp_path, "", "a.localhost")
        (tmp_path / "sites" / "common_site_config.json").write_text("{")
        assert "common_site_config.json" in shell.fails(f"%cache_connect --bench {tmp_path}")


def _make_bench(folder: Path, url: str, *sites: str) -> None:
    (folder / "sites").mkdir()
    (folder / "sites" / "common_site_config.json").write_text(f'{{"redis_cache": "{url}"}}')
    for site in sites:
        (folder / "sites" / site).mkdir()
        # Nobody listens on port 1: a bench's database is nothing that a test may look for on a default one.
        (folder / "sites" / site / "site_config.json").write_text(f'{{"db_name": "_{site[0]}", "db_port": 1}}')


class TestConnect:
    def test_it_says_where_and_whose(self, shell: Shell) -> None:
        site = context.current_settings().site
        shell.run("%cache_set k 1")
        shell.run("%cache_connect")
        assert shell.out.startswith("connected to Valkey ")
        assert shell.out.endswith(f" at embedded://: site {site}, 1 key\n")

    def test_the_site_is_kept_unless_another_is_named(self, shell: Shell, redis_server: RedisServer) -> None:
        site = context.current_settings().site
        shell.run(f"%cache_connect {redis_server.url}")
        assert shell.out.startswith(
            f"connected to Redis 7.0.15 at {redis_server.url}: site {site}, ".replace("7.0.15", shell.out.split()[3])
        )
        assert cache.redis.connection_pool.connection_kwargs["port"] == redis_server.port
        shell.run("%cache_connect --site other.test")
        assert f"{redis_server.url}: site other.test, " in shell.out

    @pytest.mark.parametrize(
        ("url", "line"),
        [
            ("foo://x", "'foo://x' is not the URL of a server; it begins with one of redis://"),
            ("localhost", "'localhost' is not the URL of a server; it begins with one of redis://"),
            ("redis://localhost:abc", "'redis://localhost:abc' is not the URL of a server: "),
            ("redis://:pw@127.0.0.1:1", "the cache at redis://:***@127.0.0.1:1 cannot be reached: "),
            ("unix:///nowhere", "the cache at unix:///nowhere cannot be reached: "),
        ],
    )
    def test_what_is_wrong_is_one_line_and_changes_nothing(self, shell: Shell, url: str, line: str) -> None:
        before = context.current_settings()
        assert shell.fails(f"%cache_connect {url}").startswith(line)
        assert context.current_settings() is before


class TestNoServer:
    @pytest.mark.parametrize(
        "line",
        [
            *("cache_get k", "cache_set k 1", "cache_del k", "cache_ttl k", "cache_keys", "cache_stats", "cache_clear"),
            *("cache_hset h f 1", "cache_hget h f", "cache_hgetall h", "cache_hdel h f", "redis PING", "cache_connect"),
        ],
    )
    def test_each_magic_says_so_in_one_line(self, shell: Shell, line: str) -> None:
        url = f"redis://127.0.0.1:{free_port()}"
        shell.run(f"frappe.init(url={url!r})")
        assert shell.fails(f"%{line}").startswith(f"the cache at {url} cannot be reached: Error 111 connecting")

    def test_a_server_that_hangs_is_waited_for_once(self, shell: Shell, redis_server: RedisServer) -> None:
        shell.run(f"%cache_connect {redis_server.url}")
        redis_server.freeze()
        try:
            started = time.monotonic()
            assert "cannot be reached" in shell.fails("%cache_get k")
            assert time.monotonic() - started < 3
        finally:
            redis_server.thaw()
        shell.run("%cache_get k")


class TestErrors:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("cache_set k x", "NameError: name 'x' is not defined (a text stands in quotes: 'x')"),
            ("cache_set k x + 1", "NameError: name 'x' is not defined"),
            ("cache_set k 1 +", "SyntaxError: invalid syntax: 1 +"),
            (
                "cache_set k x = 1",
                "SyntaxError: invalid syntax: x = 1 (an assignment has no value; to keep what a "
                "magic returns, write x = %magic ...)",
            ),
            ("cache_set k import os", "SyntaxError: invalid syntax: import os (a statement has no value)"),
            ("cache_set k 1/0", "ZeroDivisionError: division by zero"),
            ("cache_set k [1][2]", "IndexError: list index out of range"),
            ("cache_set k (1 for x in ())", "not stored: value: generator <genexpr> cannot be pickled"),
            ("cache_set k {'c': threading.Lock()}", "not stored: value['c']: _thread.lock cannot be pickled"),
            ("cache_user ''", "The user's name is empty; name one, for example 'Administrator'."),
            ("cache_site ''", "The site's name is empty; name one, for example site='library.localhost'."),
        ],
    )
    def test_of_an_expression_or_name(self, shell: Shell, line: str, said: str) -> None:
        shell.run("import threading")
        assert shell.fails(f"%{line}") == said
        assert cache.get_keys() == []

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("cache_set", "the following arguments are required: KEY, EXPR"),
            ("cache_set k", "the following arguments are required: EXPR"),
            ("cache_set k --ttl 5", "the following arguments are required: EXPR"),
            ("cache_set k 1 --foo", "there is no option --foo"),
            ("cache_set --foo k 1", "there is no option --foo"),
            ("cache_set k 1 --ttl", "argument --ttl: expected one argument"),
            ("cache_set k 1 --ttl 0", "argument --ttl: '0' is not a number of seconds greater than zero, nor none"),
            ("cache_set k 1 --ttl -5", "argument --ttl: '-5' is not a number of seconds greater than zero, nor none"),
            ("cache_set --ttl inf k 1", "argument --ttl: 'inf' is not a number of seconds greater than zero, nor none"),
            (
                "cache_set k 1 --ttl soon",
                "argument --ttl: 'soon' is not a number of seconds greater than zero, nor none",
            ),
            ("cache_set k 1 --shared now", "'now' stands after the options"),
            ("cache_set 'k 1", "no closing quote in 'k 1"),
            ("cache_get", "the following arguments are required: KEY"),
            ("cache_get two words", "unrecognized arguments: words"),
            ("cache_get it's", "no closing quote in it's"),
            ("cache_get --foo", "there is no option --foo"),
            ("cache_get k --foo bar", "there is no option --foo"),
            ("cache_ttl k 0", "argument S: '0' is not a number of seconds greater than zero, nor none"),
            ("cache_hset h f", "the following arguments are required: EXPR"),
            ("cached", "the following arguments are required: EXPR"),
            ("cached 1 --foo", "there is no option --foo"),
            ("cache_stats now", "unrecognized arguments: now"),
        ],
    )
    def test_of_an_argument(self, shell: Shell, line: str, said: str) -> None:
        name = line.split(maxsplit=1)[0]
        told = shell.fails(f"%{line}")
        assert told.startswith(f"%{name}: {said}. Usage: %{name}")
        assert cache.get_keys() == []

    def test_the_rest_of_the_cell_does_not_run(self, shell: Shell) -> None:
        shell.fails("%cache_get --foo\nran = True")
        assert "ran" not in shell.ip.user_ns

    def test_python_code_can_catch_it(self, shell: Shell) -> None:
        shell._run(
            "from frappe_cache_ext.notebook.arguments import MagicStopped\n"
            "try:\n    %cache_set k 1/0\nexcept MagicStopped as error:\n    caught = str(error)"
        )
        assert shell.done.success
        assert shell.ip.user_ns["caught"] == shell.err.strip() == "ZeroDivisionError: division by zero"

    def test_tb_shows_where_a_function_failed(self, shell: Shell) -> None:
        shell.run("def fails(x):\n    return 1 / x")
        assert shell.fails("%cache_set k fails(0)") == "ZeroDivisionError: division by zero (in fails; %tb shows where)"
        shell._run("%tb")
        assert "return 1 / x" in shell.out
        assert "expressions.py" not in shell.out

    def test_a_misspelt_setting_of_the_environment(self, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FRAPPE_CACHE_SITTE", "x")
        context._defaults.settings = None
        said = "The environment variable FRAPPE_CACHE_SITTE is none of ours. Did you mean FRAPPE_CACHE_SITE?"
        for line in (
            "cache_get k",
            "cache_set k 1",
            "cache_site",
            "cache_user",
            "cache_connect",
            "cache_stats",
            "redis PING",
        ):
            assert shell.fails(f"%{line}") == said
        monkeypatch.delenv("FRAPPE_CACHE_SITTE")

    def test_an_error_of_ours_has_its_traceback(self, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*args: object) -> None:
            raise AssertionError("ours")

        monkeypatch.setattr("frappe_cache_ext.notebook.magics.list_keys", broken)
        shell._run("%cache_keys")
        assert "Traceback" in shell.out + shell.err


class TestHelp:
    @pytest.mark.parametrize(
        "name",
        [
            *("cache_connect", "cache_site", "cache_user", "cache_set", "cache_get", "cache_del", "cache_hset"),
            *("cache_hget", "cache_hgetall", "cache_hdel", "cache_keys", "cache_ttl", "cache_stats", "cache_clear"),
            *("cached", "redis"),
        ],
    )
    def test_every_magic_has_some(self, shell: Shell, name: str) -> None:
        for option in ("--help", "-h"):
            assert shell.run(f"%{name} {option}") is None
            assert shell.out.startswith(f"  %{name} [--help]")
            assert f"Example: ``%{name}" in shell.out or f"= %{name}" in shell.out
        documented = shell.ip.magics_manager.magics["line"][name].__doc__
        assert documented is not None
        assert shell.out.strip() in documented

    def test_help_after_other_arguments(self, shell: Shell) -> None:
        for line in ("%cache_get k --help", "%cache_set k 1 --help"):
            assert shell.run(line) is None
            assert "--shared" in shell.out

    def test_a_question_mark_shows_it(self, shell: Shell) -> None:
        shell._run("%cache_get?")
        assert "The value of a key, to be shown or assigned." in shell.out


class TestQuiet:
    def test_nothing_is_said_about_what_was_done(self, shell: Shell) -> None:
        shell.run("%config CacheMagics.quiet = True")
        try:
            for line in ("cache_connect", "cache_user anna", "cached 1", "cached 1", "cache_del k", "cache_clear"):
                shell.run(f"%{line}")
                assert shell.out == ""
            shell.run("%cache_get k")
            assert shell.out == "no such key: 'k'\n"
        finally:
            shell.run("%config CacheMagics.quiet = False")


def test_tables_are_what_a_notebook_shows(shell: Shell) -> None:
    table = shell.run("%cache_stats")
    assert isinstance(table, Table)
    data, _ = shell.ip.display_formatter.format(table)
    assert set(data) == {"text/plain", "text/html"}
