"""The outermost layer of the server: limits the size of bodies, logs and counts requests.

A log line has the method, the path without its query, the status, the milliseconds and the account.
Prompts, keys and signatures are not logged.
"""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sora_jax.studio.http.metrics import Metrics
from sora_jax.studio.logs import log
from sora_jax.studio.problems import Problem

METHODS = ("GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS")
HEADERS = [(b"x-content-type-options", b"nosniff")]


class Gateway:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, metrics: Metrics, most_bytes: int):
        """Wraps an application.

        Args:
            app: the application.
            metrics: where requests are counted.
            most_bytes: largest size of the body of a request.
        """
        self.app, self.metrics, self.most_bytes = app, metrics, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, whole = time.perf_counter(), 0, False

        async def answer(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)
            whole = message["type"] == "http.response.body" and not message.get("more_body")

        try:
            await self.app(scope, self._limited(scope, receive), answer)
        except Exception as error:
            log.exception("%s %s failed: %s", scope["method"], _path(scope), type(error).__name__)
            if not whole:  # raising breaks the connection, so the client sees that it was cut
                raise
        finally:
            seconds = time.perf_counter() - started
            route = scope.get("studio_route", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.count(method, route, status, seconds)
            account = scope.get("studio_account", "-")
            log.info("%s %s %d %.0f ms %s", method, _path(scope), status, 1e3 * seconds, account)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """Returns `receive` with a limit: it raises Problem, status 413, for too large a body."""
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        too_large = stated.isdigit() and len(stated) < 20 and int(stated) > self.most_bytes
        count = 0

        async def limited() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if too_large or count > self.most_bytes:
                mib = self.most_bytes / (1 << 20)
                raise Problem(413, f"The body has more than {mib:g} MiB.", "body_too_large")
            return message

        return limited


def _path(scope: Scope) -> str:
    """Returns the path of a request as one line of printable ASCII."""
    return ascii(scope["path"])[1:-1][:200]
