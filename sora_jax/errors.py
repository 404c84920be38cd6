"""Errors that a user can cause and mend: one line that says what, where and the remedy; exit status
2; no traceback.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn


class UserError(Exception):
    """A mistake in what was asked, not in the code.

    The message is one line: what is wrong, where, what to do.
    """


class Preempted(KeyboardInterrupt):
    """Stopped by SIGTERM, with all that was done saved: what a scheduler asks for, so no failure;
    exit status 0.
    """


def _stop(message: object) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def run_main(main: Callable[[Sequence[str]], object]) -> None:
    """Run an absl `main`; a `UserError` or an unusable flag ends it with one line on stderr and
    exit status 2, Ctrl-C with one line (its message, if the code that was interrupted gave one) and
    exit status 130 (`Preempted`: 0), --help with `command_help` and 0. A reader that leaves early
    (`| head`) ends it in silence, with the status of a broken pipe.
    """
    from absl import app, flags, logging

    from sora_jax.command_help import ASKED, command_help

    def parse(argv):
        try:
            if asked := set(ASKED) & set(argv[1:]):
                print(command_help([arg for arg in argv if arg not in asked]))
                sys.exit(0)
            rest = flags.FLAGS(argv)
        except UserError as error:
            _stop(error)
        except flags.Error as error:
            _stop(f"{' '.join(str(error).split())} (--help lists the flags)")
        except (SyntaxError, NameError, ImportError) as error:
            if file := next((a for a in argv if a.startswith("--config=")), None):
                _stop(
                    f"{file} cannot be read as Python with get_config() "
                    f"({type(error).__name__}: {error}); see experiments/configs"
                )
            raise
        except (AttributeError, KeyError) as error:
            # ml_collections: a key that the config file does not have.
            close = re.search(r'Did you mean "(.+)" instead of "(.+)"', str(error))
            key = close[2] if close else str(error).strip("\\\"'")
            if key.endswith("'get_config"):
                _stop(
                    f"{next(a for a in argv if a.startswith('--config='))} has no "
                    "get_config(); see experiments/configs"
                )
            if not any(a.startswith("--config.") and key in a for a in argv):
                raise
            _stop(
                f"unknown key {key} in --config; "
                f"{f'did you mean {close[1]!r}?' if close else '--help lists them'}"
            )
        if len(rest) > 1:
            _stop(
                f"unexpected argument {rest[1]!r}; flags are written --name=value (--help "
                "lists them)"
            )
        return rest

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
            # else the interpreter complains as it flushes at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)
        except KeyboardInterrupt as error:
            print(str(error) or "stopped", file=sys.stderr)
            sys.exit(0 if isinstance(error, Preempted) else 130)

    app.run(guarded, flags_parser=parse)
