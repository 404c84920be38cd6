"""Errors that a user can cause and mend, told in one line without a traceback (`cli.run_main`).

The functions of the public API raise UserError for values that they cannot work with. Constructors
of configurations (`ClipFormat`, `STDiTConfig`, `Run`, ...) raise ValueError, as Python's do; where
the values come from a file or a flag, `config.from_dict` makes it a UserError that names the key.
"""

from typing import Any


class UserError(Exception):
    """A mistake in what was asked, not in the code.

    Attributes:
        message: one line: what is wrong, where, what to do. It names fields and settings, not
            flags, for a notebook and a server show it too.
        field: the field of the request or setting that is wrong, if it is one. A command adds the
            flag of that name.
        code: a word for programs: "invalid", "not_found", ...
    """

    def __init__(self, message: str, *, field: str | None = None, code: str = "invalid"):
        super().__init__(message)
        self.message, self.field, self.code = message, field, code


def expect(value: Any, kinds: type | tuple[type, ...], field: str, remedy: str) -> None:
    """Raises UserError, which names the type that was given, unless `value` is one of `kinds`."""
    if not isinstance(value, kinds):
        raise UserError(f"{field} is a {type(value).__name__}; {remedy}", field=field)


class Preempted(KeyboardInterrupt):
    """Stopped by SIGTERM with all work saved. A scheduler asked for it: exit status 0."""
