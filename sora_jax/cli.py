"""Command-line runner: flags, --help, --version, --import, and exit statuses.

    status 0      success; --help; `Preempted` (SIGTERM stopped a run, with all work saved)
           2      `UserError`, an invalid flag, a full disk or an absent platform: one line on
                  stderr, no traceback
           130    Ctrl-C: one line, the interrupted code's own message if it has one
           141    broken pipe (`| head`): nothing is printed

--import=MODULE is processed first. It imports a user module, which may register families, oracles,
attention patterns, samplers, data sources or configurations (`registry`). --config=NAME then
selects the configuration registered under that name.

Characters that stdout or stderr cannot encode are escaped, so printing never fails. A value that
begins with ~/ is a path below the home folder, as in `--output=~/clips`: most shells expand ~ only
at the start of a word. A flag's former name still works, with a note on stderr.

--help prints the command's docstring, its flags and, for a command with a config file, the keys of
that file. absl's own --help exits with status 1 and does not list keys.
"""

import contextlib
import importlib.metadata
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from sora_jax import __version__, config
from sora_jax.errors import Preempted, UserError
from sora_jax.files import disk_error
from sora_jax.registry import CONFIGS, load_module
from sora_jax.text_files import read_text

flags.DEFINE_multi_string(
    "import",
    [],
    "a module, or a .py file, that registers families, oracles, attention patterns, samplers, "
    "data sources or configurations; may be given again",
)
flags.DEFINE_boolean("version", False, "print the versions of this project and of JAX")
# Referred to by path, not imported: it needs ml_collections, which a minimal install lacks.
REGISTERED = Path(__file__).with_name("registered_config.py")
FILE = "file"  # a command with this flag also takes its value without the flag's name
HELP = ("--help", "-help", "--helpshort", "-h", "-?", "--helpfull")
# former flag name -> current name
RENAMED = {
    "guidance_picture": "guidance_video",
    "guidance_sound": "guidance_audio",
    "config.model.pairs": "config.model.depth",
    "config.data.scenes": "config.data.clips",
}


def run_main(main: Callable[[Sequence[str]], object]) -> None:
    """Runs `main`, the function of a command, after parsing the flags, and exits the process.

    The exit status is the integer that `main` returns, 0 for None, or one of those that the
    module's docstring lists. `main` is called with [name of the program]: commands read flags only.
    """

    prepare_streams()

    def guarded(argv: Sequence[str]) -> object:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # Orbax logs every step at INFO
        try:
            with piped():
                return main(argv)
        except UserError as error:
            _stop(error)
        except KeyboardInterrupt as error:
            print(str(error) or "stopped", file=sys.stderr)
            sys.exit(0 if isinstance(error, Preempted) else 130)
        except OSError as error:
            if disk_error(error) is None:
                raise
            _silence()
            place = error.filename or "the output"
            _stop(f"cannot write {place}: {error.strerror}; free some space, or write elsewhere")
        except (RuntimeError, AssertionError):
            # Imported here, as `compat` loads JAX. Without JAX there is no such error.
            platform = _platform_error() if "jax" in sys.modules else None
            if platform is None:
                raise
            _stop(platform)

    app.run(guarded, flags_parser=_parse)


def _platform_error() -> UserError | None:
    from sora_jax import compat  # slow: it loads JAX

    return compat.platform_error()


def prepare_streams() -> None:
    """Makes printing safe: escapes characters that a stream cannot encode, and replaces a closed
    stream by one that discards.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, as it stays open
            setattr(sys, name, stream)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def piped() -> Iterator[None]:
    """A context for printing. The process exits with status 141 if nobody reads stdout any more."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _leave()


def message(error: UserError) -> str:
    """Returns the text of an error. If its `field` is the name of a flag, that flag comes first:
    "--NAME: TEXT".
    """
    known = error.field is not None and error.field in flags.FLAGS
    return f"--{error.field}: {error}" if known else str(error)


def _stop(error: object) -> NoReturn:
    text = message(error) if isinstance(error, UserError) else error
    with contextlib.suppress(OSError):  # nobody may read stderr
        print(f"error: {text}", file=sys.stderr)
    sys.exit(2)


def _leave() -> NoReturn:
    """Exits after a broken pipe, when nobody reads stdout any more."""
    _silence()
    sys.exit(128 + signal.SIGPIPE)


def _silence() -> None:
    """Discards what stdout still holds. Otherwise the interpreter prints an error when it flushes
    stdout at exit.
    """
    with contextlib.suppress(OSError, ValueError):  # a stream without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags of `argv` and returns the rest: the name of the program alone.

    --help and --version print and exit with status 0. An invalid flag ends the process with a
    one-line error and status 2.
    """
    try:
        if {"--version", "-version"} & set(argv[1:]):
            versions = (__version__, importlib.metadata.version("jax"), sys.version.split()[0])
            print("sora_jax {}, jax {}, Python {}".format(*versions))
            sys.exit(0)
        argv = _renamed(_with_flag_files(argv))
        # ml_collections looks for the keys of --config in sys.argv
        argv = sys.argv[:] = _imported([_at_home(arg) for arg in argv])
        if requested := set(HELP) & set(argv[1:]):
            print(_help([arg for arg in argv if arg not in requested]), flush=True)
            sys.exit(0)
        rest = flags.FLAGS(argv)
        _check_values()
    except BrokenPipeError:
        _leave()
    except UserError as error:
        _stop(error)
    except flags.Error as error:
        _stop(f"{_plain(' '.join(str(error).split()))} (--help lists the flags)")
    except (SyntaxError, NameError, ImportError) as error:
        file = _config_flag(argv)
        if file is None:
            raise
        _stop(
            f"{file} cannot be read as Python with get_config() ({type(error).__name__}: {error}); "
            "see experiments/configs"
        )
    except (AttributeError, KeyError) as error:
        wrong = _unknown_key(argv, error)
        if wrong is None:
            raise
        _stop(wrong)
    if len(rest) == 2 and FILE in flags.FLAGS and not flags.FLAGS[FILE].present:
        flags.FLAGS[FILE].value = rest.pop()
    if len(rest) > 1:
        _stop(
            f"unexpected argument {rest[1]!r}; flags are written --name=value (--help lists them)"
        )
    return rest


def _plain(text: str) -> str:
    """Returns the message of a flag's error, with plain words for a value that is no number."""
    whole = r"invalid literal for int\(\) with base 10: ('.*')"
    text = re.sub(whole, r"give a whole number, not \1", text)
    return re.sub(r"could not convert string to float: ('.*')", r"give a number, not \1", text)


def _with_flag_files(argv: Sequence[str], above: tuple[str, ...] = ()) -> list[str]:
    """Returns argv with each --flagfile=FILE replaced by the flags in that file.

    As in absl, a line of a file holds one flag, and lines that begin with # or // are comments. A
    file may include others; `above` are the paths of those that include this one, so that a circle
    raises UserError.
    """
    result = list(argv)
    for first, end, file in reversed(_given(argv, "flagfile")):
        path = os.path.expanduser(file)
        if path in above:
            raise UserError(f"--flagfile={file} includes itself; leave that line out")
        lines = [line.strip() for line in read_text(path).split("\n")]
        lines = [line for line in lines if line and not line.startswith(("#", "//"))]
        result[first:end] = _with_flag_files(lines, (*above, path))
    return result


def _renamed(argv: Sequence[str]) -> list[str]:
    """Returns argv with the current names of flags in place of former ones (RENAMED), and prints a
    note on stderr for each.
    """
    argv = list(argv)
    for old, new in RENAMED.items():
        found = _given(argv, old)
        for first, _, _ in found:
            argv[first] = argv[first].replace(old, new, 1)
        if found:
            print(f"note: --{old} is called --{new} now", file=sys.stderr)
    return argv


def _at_home(arg: str) -> str:
    """Returns the argument --name=~/path with the home folder in place of ~, and any other argument
    unchanged.
    """
    flag, equals, value = arg.partition("=")
    if flag.startswith("-") and equals and (value == "~" or value.startswith("~/")):
        return f"{flag}={os.path.expanduser(value)}"
    return arg


def _check_values() -> None:
    """Raises UserError if the value of a flag, or of a key of --config, is NaN or infinite, or if
    a key's value is an empty list, for which a default would silently be used.
    """
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{name}={value} is not a finite number; give one")
        if name.startswith("config.") and isinstance(value, (tuple, list)) and not value:
            raise UserError(f"--{name} is empty; give a value, or leave it out")


def import_flags() -> list[str]:
    """Returns the arguments `--import=MODULE` of this command, so that another process can be
    started with the same modules.
    """
    return [f"--import={name}" for name in flags.FLAGS["import"].value or ()]


def _imported(argv: list[str]) -> list[str]:
    """Imports the modules of --import, which may register configurations. Returns `argv` with
    --config=NAME of a registered one replaced by --config=registered_config.py:NAME.

    Raises:
        UserError: a module cannot be imported, or the configuration fails or is unknown.
    """
    for _, _, module in _given(argv, "import"):
        load_module(module)
    if "config" not in flags.FLAGS:
        return argv
    if "ml_collections" not in type(flags.FLAGS["config"]).__module__:
        return argv  # a plain string: the command looks it up
    for first, end, config_name in reversed(_given(argv, "config")):
        if config_name in CONFIGS:
            try:
                CONFIGS[config_name]()
            except Exception as error:
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                raise UserError(f"the configuration {config_name!r} fails: {reason}") from error
            argv[first:end] = [f"--config={REGISTERED}:{config_name}"]
        elif CONFIGS and not os.path.exists(config_name.partition(":")[0]):
            CONFIGS[config_name]  # raises UserError, which lists the known names
    return argv


def _given(argv: Sequence[str], name: str) -> list[tuple[int, int, str]]:
    """Returns (first, end, value) of each --name=value or --name value in argv[first:end]."""
    found = []
    for i, arg in enumerate(argv):
        flag, equals, value = arg.lstrip("-").partition("=")
        if arg.startswith("-") and flag == name:
            if equals:
                found.append((i, i + 1, value))
            elif i + 1 < len(argv):
                found.append((i, i + 2, argv[i + 1]))
    return found


def _config_flag(argv: Sequence[str]) -> str | None:
    return next((arg for arg in argv if arg.startswith("--config=")), None)


def _unknown_key(argv: Sequence[str], error: Exception) -> str | None:
    """Returns the message for a key that the config file lacks, or for a file without get_config().

    Both are recognised by the text of ml_collections' error. Returns None if the error has another
    cause.
    """
    close = re.search(r'Did you mean "(.+)" instead of "(.+)"', str(error))
    key = close[2] if close else str(error).strip("\\\"'")
    if key.endswith("'get_config"):
        return f"{_config_flag(argv)} has no get_config(); see experiments/configs"
    if not any(arg.startswith("--config.") and key in arg for arg in argv):
        return None
    given = next((a for a in argv if re.match(rf"--config\..*\b{re.escape(key)}\b", a)), key)
    path = given.removeprefix("--config.").partition("=")[0]
    remedy = "--help lists them; the entries of a list, such as data.sets, are changed in the file"
    return f"unknown key {path} in --config; {f'did you mean {close[1]!r}?' if close else remedy}"


def _help(argv: Sequence[str]) -> str:
    """Returns the help text of the running command.

    Args:
        argv: the arguments of the command line, without --help.

    Raises:
        UserError: the config file cannot be read.
    """
    text = [
        (sys.modules["__main__"].__doc__ or "").strip(),
        "Flags:\n" + "".join(flags.FLAGS.main_module_help().split("\n", 2)[2:]),
        "Of every command:\n"
        + "\n".join(f"  --{name}: {flags.FLAGS[name].help}" for name in ("import", "version")),
    ]
    if "config" in flags.FLAGS:
        text.append(_keys(argv))
    return "\n\n".join(text)


def _keys(argv: Sequence[str]) -> str:
    how = (
        "The keys of the config file are overridden one by one, after --config: --config=FILE "
        "--config.train.steps=200\n"
        "An unknown key fails with the nearest name; the values that a run had are saved in its "
        "directory."
    )
    given = any(arg.lstrip("-").partition("=")[0] == "config" for arg in argv)
    if not given:
        return f"{how}\nGive --config=FILE with --help to see the keys of that file."
    # other flags may be invalid or missing; the config is parsed by then
    with contextlib.suppress(flags.Error):
        flags.FLAGS(argv)
    values = config.flatten(config.from_flag(flags.FLAGS["config"]))
    return f"{how}\n\nIts keys and values:\n" + "\n".join(
        f"  --config.{key}={value}" for key, value in values.items()
    )
