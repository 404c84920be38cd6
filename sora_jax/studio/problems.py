"""Errors of requests, in the shape of OpenAI's API: {"error": {message, type, param, code}}.

OpenAI's Python package raises for status 400 BadRequestError, 401 AuthenticationError, 403
PermissionDeniedError, 404 NotFoundError, 409 ConflictError, 422 UnprocessableEntityError, 429
RateLimitError, and from 500 on InternalServerError. It repeats a request after status 408, 409, 429
and from 500 on, unless the header x-should-retry is "false".
"""

from collections.abc import Mapping
from typing import Any

from sora_jax.errors import UserError

RETRY_SECONDS = 5
NO_ROOM = "The server cannot store files at the moment; try again later."
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


class Problem(Exception):
    """An error that is the answer to a request.

    Attributes:
        status: status code of HTTP.
        body: the JSON of the response, {"error": {"message", "type", "param", "code"}}.
        headers: headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        """Makes an error.

        Args:
            status: status code of HTTP.
            message: one line: the problem and its remedy.
            code: name of the kind of error, for programs, such as "not_found".
            param: the field of the request that is wrong. Default None: no single one.
            headers: headers of the response. Default: none.
        """
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        kind = TYPES.get(status, "invalid_request_error")
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": kind, "param": param, "code": code}
        }


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> Problem:
    """Returns the problem of status 400, for a value of a request that is not valid."""
    return Problem(400, message, code, param)


def missing(what: str, name: str) -> Problem:
    """Returns the problem of status 404, for something that does not exist or belongs to another
    account.

    Args:
        what: its kind, such as "video".
        name: its id.
    """
    return Problem(404, f"There is no {what} {name[:80]!r}.", "not_found", f"{what}_id")


def conflict(message: str, code: str) -> Problem:
    """Returns the problem of status 409, for a request that does not fit the state of something. A
    header keeps OpenAI's package from repeating it.
    """
    return Problem(409, message, code, headers={"x-should-retry": "false"})


def busy(message: str, code: str, seconds: float) -> Problem:
    """Returns the problem of status 429, for a limit that is reached. Headers tell clients to try
    again after `seconds`.
    """
    later = {
        "retry-after": str(max(1, round(seconds))),
        "retry-after-ms": str(round(seconds * 1e3)),
    }
    return Problem(429, message, code, headers=later)


def unavailable(message: str, code: str) -> Problem:
    """Returns the problem of status 503, for a failure that the operator has to mend. Headers tell
    clients to try again after RETRY_SECONDS.
    """
    later = {"retry-after": str(RETRY_SECONDS), "retry-after-ms": str(1000 * RETRY_SECONDS)}
    return Problem(503, message, code, headers=later)


def of_user_error(error: UserError, param: str | None = None) -> Problem:
    """Returns the problem of a `UserError`: status 503 if a file cannot be written, else status 400
    with its message.

    `param` is the field of the request that is wrong. Default None: the field of the error.
    """
    if error.code == "storage":
        return unavailable(NO_ROOM, "storage_full")
    return invalid(error.message, param or error.field)
