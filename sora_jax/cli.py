"""Runs a command: flags, --help, --version, --import, and how errors end it.

    status 0      done; --help; `Preempted`
           2      `UserError`, or a flag that cannot be used: one line on stderr, no traceback
           130    Ctrl-C: one line, the message of the code that was interrupted if it has one
           141    the reader left early (`| head`): nothing is printed, as for any broken pipe

--import=MODULE, before all else, imports a module of the user's, which may register families,
oracles, attention patterns, samplers, data sources or configurations (`registry`).
--config=NAME is then the configuration registered under that name.

--help prints the command's docstring, its flags and, where it takes a config file, the keys of that
file. absl's own --help ends with status 1 and knows no keys.
"""

import importlib.metadata
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from sora_jax import __version__, config
from sora_jax.errors import Preempted, UserError
from sora_jax.registry import CONFIGS, load_module

flags.DEFINE_multi_string(
    "import",
    [],
    "a module, or a .py file, that registers families, oracles, attention patterns, samplers, "
    "data sources or configurations; may be given again",
)
flags.DEFINE_boolean("version", False, "print the versions of this project and of JAX")
# Not imported: it needs ml_collections, which a bare machine lacks.
REGISTERED = Path(__file__).with_name("registered_config.py")
HELP = ("--help", "-help", "--helpshort", "-h", "-?", "--helpfull")
# flags by their names before 0.2
RENAMED = {
    "guidance_picture": "guidance_video",
    "guidance_sound": "guidance_audio",
    "config.model.pairs": "config.model.depth",
}


def run_main(main: Callable[[Sequence[str]], object]) -> None:
    """Runs an absl `main` and ends the process with one of the statuses above."""

    def guarded(argv):
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # Orbax tells each of its moves at INFO
        try:
            status = main(argv)
            sys.stdout.flush()
            return status
        except UserError as error:
            _stop(error)
        except BrokenPipeError:
            _leave()
        except KeyboardInterrupt as error:
            print(str(error) or "stopped", file=sys.stderr)
            sys.exit(0 if isinstance(error, Preempted) else 130)

    app.run(guarded, flags_parser=_parse)


def message(error: UserError) -> str:
    """The error in the words of a command: with the flag whose value is wrong."""
    known = error.field is not None and error.field in flags.FLAGS
    return f"--{error.field}: {error}" if known else str(error)


def _stop(error: object) -> NoReturn:
    text = message(error) if isinstance(error, UserError) else error
    print(f"error: {text}", file=sys.stderr)
    sys.exit(2)


def _leave() -> NoReturn:
    """Ends the process where nobody reads its output any more."""
    # Else the interpreter complains as it flushes at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def _parse(argv: Sequence[str]) -> list[str]:
    """Reads the flags; what cannot be used ends the process with one line."""
    try:
        if {"--version", "-version"} & set(argv[1:]):
            versions = (__version__, importlib.metadata.version("jax"), sys.version.split()[0])
            print("sora_jax {}, jax {}, Python {}".format(*versions))
            sys.exit(0)
        for old, new in RENAMED.items():
            if _given(argv, old):
                raise UserError(f"--{old} is called --{new} now")
        argv = _imported(argv)
        if asked := set(HELP) & set(argv[1:]):
            print(_help([arg for arg in argv if arg not in asked]), flush=True)
            sys.exit(0)
        rest = flags.FLAGS(argv)
    except BrokenPipeError:
        _leave()
    except UserError as error:
        _stop(error)
    except flags.Error as error:
        _stop(f"{' '.join(str(error).split())} (--help lists the flags)")
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
    if len(rest) > 1:
        _stop(
            f"unexpected argument {rest[1]!r}; flags are written --name=value (--help lists them)"
        )
    return rest


def import_flags() -> list[str]:
    """This command's --import flags, for a command that it runs in another process."""
    return [f"--import={name}" for name in flags.FLAGS["import"].value]


def _imported(argv: Sequence[str]) -> list[str]:
    """Imports the modules of --import, which configurations may need; argv without flag files, and
    with the file of a configuration in place of its registered name.
    """
    argv = flags.FLAGS.read_flags_from_files(list(argv), force_gnu=False)
    for _, _, module in _given(argv, "import"):
        load_module(module)
    flag = flags.FLAGS["config"] if "config" in flags.FLAGS else None
    if "ml_collections" not in type(flag).__module__:  # a plain string is looked up by its command
        return argv
    for first, end, config_name in reversed(_given(argv, "config")):
        if config_name in CONFIGS:
            try:
                CONFIGS[config_name]()
            except Exception as error:
                said = " ".join(f"{type(error).__name__}: {error}".split())
                raise UserError(f"the configuration {config_name!r} fails: {said}") from error
            argv[first:end] = [f"--config={REGISTERED}:{config_name}"]
        elif CONFIGS and not os.path.exists(config_name.partition(":")[0]):
            CONFIGS[config_name]  # says which names there are
    return argv


def _given(argv: Sequence[str], name: str) -> list[tuple[int, int, str]]:
    """(first, end, value) of each --name=value, or --name value, in argv[first:end]."""
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
    """What to say of a key that the config file does not have, as ml_collections tells it; None if
    the error is another one.
    """
    close = re.search(r'Did you mean "(.+)" instead of "(.+)"', str(error))
    key = close[2] if close else str(error).strip("\\\"'")
    if key.endswith("'get_config"):
        return f"{_config_flag(argv)} has no get_config(); see experiments/configs"
    if not any(arg.startswith("--config.") and key in arg for arg in argv):
        return None
    remedy = f"did you mean {close[1]!r}?" if close else "--help lists them"
    return f"unknown key {key} in --config; {remedy}"


def _help(argv: Sequence[str]) -> str:
    """The help of the running command; argv as given, but without --help.

    Raises UserError for a config file that cannot be read.
    """
    text = [
        (sys.modules["__main__"].__doc__ or "").strip(),
        "Flags:\n" + flags.FLAGS.main_module_help().split("\n", 2)[2],
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
    try:
        flags.FLAGS(argv)
    except flags.Error:  # whatever else is missing or wrong: the config has been read before
        pass
    values = config.flatten(config.from_flag(flags.FLAGS["config"]))
    return f"{how}\n\nIts keys and values:\n" + "\n".join(
        f"  --config.{key}={value}" for key, value in values.items()
    )
