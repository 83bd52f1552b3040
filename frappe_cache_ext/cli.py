"""The command `frappe-cache`: try the cache out, open the notebooks, look after the server.

Of this package only the magics and this module, with `cli_demo` and `cli_doctor`, print. What goes wrong for the user
is one line on the error stream. Nothing heavy is imported before a command needs it, so that ``--help`` and the
shell's completion are quick.
"""

from __future__ import annotations

import argparse
import contextlib
import contextvars
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import __version__
from .cli_text import PROGRAM, complain
from .errors import CacheError, CacheUnavailable, CacheWarning, ServerError, SettingsError

if TYPE_CHECKING:
    from .connections import Connection
    from .settings import Settings

FAILED: Final = 1
INTERRUPTED: Final = 130
NOBODY_READS: Final = 141
"""128 and the signal's number, as shells report a command that ended by SIGINT or SIGPIPE."""

_SETTINGS: Final = ("url", "site", "bench", "home")
_KEYS_SHOWN: Final = 100


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Example:
        >>> main(["--version"])
        frappe-cache 0.1.0
        0

    Args:
        argv: the words after the program's name; those of this process where None.

    Returns:
        The exit code: 0, `FAILED`, `INTERRUPTED`, `NOBODY_READS`, 2 for words that make no sense, or 3 from `status`
        where no server runs.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # A key in the user's alphabet must not end the command where the terminal cannot show it.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `frappe-cache keys | head`: the reader has had enough. Python would complain once more at its last flush.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except CacheError as error:
        complain(str(error))
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        complain(f"{where}{error.strerror or error}")
    return FAILED


def _run(words: list[str]) -> int:
    try:
        arguments = _parse(words)
        with _plain_warnings():
            # A copy: the command's site and request are not the caller's.
            code: int = contextvars.copy_context().run(arguments.run, arguments)
            return code
    except SystemExit as end:  # argparse has said what there is to say
        return end.code if isinstance(end.code, int) else FAILED


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show our warnings as lines of the command, without the place in its source that Python would name."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, CacheWarning):
                complain(f"warning: {message}")
            else:
                shown(message, category, *place, **more)

        warnings.showwarning = show
        warnings.simplefilter("always", CacheWarning)
        yield


# --- the words on the command line --------------------------------------------------------------------------------


def _parse(words: list[str]) -> argparse.Namespace:
    """The command's function as `run`, and its arguments; ends the program as argparse does."""
    for_jupyter: list[str] = []
    if words[:1] == ["lab"] and "--" in words:
        # Cut here and not by argparse, whose handling of `--` differs from one Python to the next.
        cut = words.index("--")
        words, for_jupyter = words[:cut], words[cut + 1 :]
    arguments = _parser().parse_args(words)
    arguments.for_jupyter = for_jupyter
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Frappe's cache without Frappe: try it out, open its notebooks, look after its server.",
        epilog="`frappe-cache COMMAND --help` tells more about a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.set_defaults(run=lambda _arguments: _show_help(parser))
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str, *more: str) -> argparse.ArgumentParser:
        description = " ".join((text[0].upper() + text[1:] + ".", *more))
        added = commands.add_parser(name, help=text, description=description, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    demo = command("demo", _demo, "show what the cache does, in 7 seconds, with timings")
    lab = command(
        "lab", _lab, "open the notebooks in JupyterLab, with the cache's server running",
        "What follows -- goes to JupyterLab: frappe-cache lab -- --no-browser",
    )  # fmt: skip
    lab.add_argument(
        "folder", nargs="?", type=Path, metavar="NOTEBOOK_DIR",
        help="the notebooks; by default this repository's notebooks/, elsewhere the current folder",
    )  # fmt: skip
    serve = command(
        "serve", _serve, "start the embedded server, unless it runs already",
        "It is the user's own, listens on a unix socket only, keeps its data, and runs until it is stopped.",
    )  # fmt: skip
    serve.add_argument("--maxmemory", metavar="SIZE", help="the most its values may take, such as 512mb or 2gb")
    status = command("status", _status, "say whether the embedded server runs", "Exit code 0 if so, 3 if not.")
    stop = command("stop", _stop, "stop the embedded server", "Its data stays for the next start.")
    doctor = command(
        "doctor", _doctor, "say in one screen what is found, what is wrong, and what to do about it",
        "It starts nothing, and ends with exit code 1 if something is wrong.",
    )  # fmt: skip
    keys = command("keys", _keys, "list the keys of a site", "Values are not read.")
    keys.add_argument("prefix", nargs="?", default="", metavar="PREFIX", help="what the keys begin with")
    keys.add_argument(
        "--limit", type=_natural, metavar="N",
        help=f"show N keys at most, 0 for all; by default {_KEYS_SHOWN}, with --json all",
    )  # fmt: skip
    keys.add_argument("--json", action="store_true", help="print a JSON array of objects, for programs")
    config = command(
        "bench-config", _bench_config, "write the files that run a bench's cache",
        "These are config/redis_cache.conf, the line of the Procfile and the section of supervisor.conf. "
        "What is there already and differs is kept.",
    )  # fmt: skip
    config.add_argument("directory", type=Path, metavar="DIR", help="the bench's folder")
    config.add_argument(
        "--port", type=_natural, metavar="P", help="the TCP port; by default the one that the sites ask for, else 13000"
    )
    config.add_argument("--maxmemory", metavar="SIZE", help="such as 737mb; by default 5 %% of this machine's memory")
    config.add_argument("--user", metavar="U", help="whom supervisor runs it as; by default you")
    config.add_argument("--force", action="store_true", help="replace what differs, after a backup")

    for each in (demo, lab, doctor, keys):
        group = each.add_argument_group("which cache", "By default what the FRAPPE_CACHE_… variables say.")
        group.add_argument("--url", help="the server, such as redis://127.0.0.1:13000 or memory://")
        group.add_argument("--site", help="the site's name")
        group.add_argument("--bench", metavar="DIR", help="a Frappe bench, whose server and sites to use")
        group.add_argument("--home", metavar="DIR", help="the folder of the embedded server")
    for each in (serve, status, stop):
        each.add_argument("--home", metavar="DIR", help="its folder; by default FRAPPE_CACHE_HOME or the user's cache")
    return parser


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def _show_help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return 0


def _chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that the command line names."""
    return {name: value for name in _SETTINGS if (value := getattr(arguments, name, None)) is not None}


def _load(arguments: argparse.Namespace) -> Settings:
    from .settings import Settings  # noqa: PLC0415  (here and below: see the module's head)

    return Settings.load(**_chosen(arguments))


def _connect(settings: Settings) -> Connection:
    """The connection to a server that answers.

    Raises:
        CacheUnavailable: it does not; the message names it.
    """
    from .connections import connection_for  # noqa: PLC0415
    from .settings import mask_url  # noqa: PLC0415

    connection = connection_for(settings)
    try:
        connection.check()
    except CacheUnavailable as error:
        raise CacheUnavailable(f"the server at {mask_url(settings.url)} cannot be used: {error}") from error
    return connection


# --- trying out ---------------------------------------------------------------------------------------------------


def _demo(arguments: argparse.Namespace) -> int:
    from .cli_demo import run_demo  # noqa: PLC0415

    settings = _load(arguments)
    _connect(settings)
    broken = run_demo(settings)
    for promise in broken:
        complain(f"a promise of the cache's was not kept: {promise}")
    return FAILED if broken else 0


def _lab(arguments: argparse.Namespace) -> int:
    import importlib.util  # noqa: PLC0415

    settings = _load(arguments)
    if importlib.util.find_spec("jupyterlab") is None:
        complain(
            f"JupyterLab is not installed for {sys.executable}; install it with: pip install 'frappe-cache-ext[lab]'"
        )
        return FAILED
    folder = arguments.folder or _notebooks(Path.cwd()) or Path.cwd()
    if not folder.is_dir():
        raise SettingsError(f"{folder} is not a folder; name the one that holds the notebooks.")
    if settings.url.startswith("embedded://"):
        from . import server  # noqa: PLC0415

        try:
            print(f"{server.start(settings.server_home).version} runs; `frappe-cache stop` ends it.")
        except ServerError as error:
            # The notebooks do without, and say so: no reason to keep them shut.
            complain(f"warning: {error}")
    environment = dict(os.environ)
    if arguments.bench is not None and arguments.url is None:
        # A bench that is named here comes before these; for the kernels it is the environment that names it.
        environment.pop("FRAPPE_CACHE_URL", None)
        environment.pop("FRAPPE_CACHE_DATABASE_URL", None)
    for name, value in _chosen(arguments).items():
        environment[f"FRAPPE_CACHE_{name.upper()}"] = str(getattr(settings, name)) if name != "url" else value
    sys.stdout.flush()  # what is still in the buffer would be lost
    # In a container root is often all there is, and JupyterLab would only say that it does not run as root.
    as_root = ["--allow-root"] if os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.absolute()}", *as_root]
    command += arguments.for_jupyter
    os.execvpe(command[0], command, environment)  # noqa: S606  (a list of words, and no shell)


def _notebooks(start: Path) -> Path | None:
    """The notebooks of the repository that a folder lies in."""
    for folder in (start, *start.parents):
        if (folder / "frappe_cache_ext").is_dir() and (folder / "notebooks").is_dir():
            return folder / "notebooks"
    return None


# --- the embedded server ------------------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    from .cli_server import serve  # noqa: PLC0415

    return serve(arguments)


def _status(arguments: argparse.Namespace) -> int:
    from .cli_server import status  # noqa: PLC0415

    return status(arguments)


def _stop(arguments: argparse.Namespace) -> int:
    from .cli_server import stop  # noqa: PLC0415

    return stop(arguments)


# --- looking ------------------------------------------------------------------------------------------------------


def _doctor(arguments: argparse.Namespace) -> int:
    from .cli_doctor import run_doctor  # noqa: PLC0415

    return run_doctor(_chosen(arguments))


def _keys(arguments: argparse.Namespace) -> int:
    from . import context  # noqa: PLC0415
    from .cli_keys import list_keys, print_keys  # noqa: PLC0415
    from .redis_wrapper import RedisWrapper  # noqa: PLC0415

    connection = _connect(_load(arguments))  # first: `get_keys` would find nothing where the server is away
    settings = context.init(**_chosen(arguments))
    names = RedisWrapper().get_keys(arguments.prefix)
    if connection.down is not None:
        raise CacheUnavailable(connection.down)
    limit = arguments.limit if arguments.limit is not None else 0 if arguments.json else _KEYS_SHOWN
    found = list_keys(connection, names[: limit or None])
    print_keys(found, settings.site, settings.db_name, len(names), as_json=arguments.json)
    return 0


# --- a bench ------------------------------------------------------------------------------------------------------


def _bench_config(arguments: argparse.Namespace) -> int:
    from .bench import DEFAULT_PORT, BenchConfig, configured_port, write_bench_config  # noqa: PLC0415
    from .server_home import MIB, size_in_bytes  # noqa: PLC0415

    wanted = configured_port(arguments.directory)
    port = arguments.port if arguments.port is not None else wanted or DEFAULT_PORT
    maxmemory = None if arguments.maxmemory is None else size_in_bytes(arguments.maxmemory) // MIB
    config = BenchConfig(arguments.directory, port=port, maxmemory_mb=maxmemory, user=arguments.user)
    for file in write_bench_config(config, force=arguments.force):
        print(file)
    if wanted is not None and wanted != port:
        complain(
            f"note: the sites look for their cache on port {wanted}, not {port}; "
            "change redis_cache in sites/common_site_config.json."
        )
    return 0
