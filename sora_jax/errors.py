"""Errors that a user can cause and fix. Commands print them in one line without a traceback
(`cli.run_main`).

The functions of the public API raise UserError for invalid values. Constructors of
configurations (`ClipFormat`, `STDiTConfig`, `Run`, ...) raise ValueError, as is usual in
Python. If the values come from a file or a flag, `config.from_dict` converts it to a UserError
that names the key.
"""

from typing import Any


class UserError(Exception):
    """An error that a user can cause and fix: the request is wrong, not the code.

    It is no ValueError: a file that is missing, or a full disk, is no wrong value. Constructors of
    configurations, such as `ClipFormat(frames=16)`, raise ValueError.

    Attributes:
        message: one line: the problem, its location, the remedy. It names fields and settings
            rather than flags, because notebooks and servers show it too.
        field: the invalid field of the request or setting; None if no single field is wrong.
            Commands add the flag of that name.
        code: a machine-readable category: "invalid" (default), "not_found", "storage", ...

    `str(error)` is `message`, followed by ", or set OVERRIDE" if the argument `override` is given:
    a setting that accepts the request as it is. Python and commands have that setting; the HTTP
    server has not, and shows `message` alone.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        code: str = "invalid",
        override: str | None = None,
    ):
        super().__init__(message if override is None else f"{message}, or set {override}")
        self.message, self.field, self.code = message, field, code


def expect(value: Any, kinds: type | tuple[type, ...], field: str, remedy: str) -> None:
    """Raises UserError unless `value` is an instance of `kinds`.

    Args:
        value: the value to check.
        kinds: a type, or several.
        field: name of the value, for the message.
        remedy: what to give instead, for the message.
    """
    if not isinstance(value, kinds):
        raise UserError(f"{field} is a {type(value).__name__}; {remedy}", field=field)


class Preempted(KeyboardInterrupt):
    """The exception of a run that SIGTERM stopped, with all work saved.

    The exit status is 0, because a cluster's scheduler asked for the stop.
    """
