"""The HTTP application: finds the account of a request, reads its body, and calls the endpoint.

While no key exists, only this machine may use the server. It listens on loopback; requests must
name a loopback host, which defeats DNS rebinding; and requests from web pages of other origins are
refused.
"""

import asyncio
import contextlib
import errno
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sora_jax.errors import UserError
from sora_jax.studio.database import accounts, models
from sora_jax.studio.endpoints import bodies, sessions
from sora_jax.studio.endpoints.call import Call, Studio
from sora_jax.studio.endpoints.operations import OPERATIONS, Operation
from sora_jax.studio.http import openapi, page
from sora_jax.studio.http.gateway import Gateway
from sora_jax.studio.http.metrics import Metrics
from sora_jax.studio.logs import log
from sora_jax.studio.problems import NO_ROOM, Problem, busy, of_user_error, unavailable
from sora_jax.studio.storage import content

SWEEP_SECONDS = 600.0  # time between two searches for files to delete
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Handler = Callable[[Request], Awaitable[Response]]


class Api:
    """Makes the HTTP application of an API process."""

    def __init__(self, studio: Studio):
        """Prepares an application with the parts that its requests share."""
        self.studio = studio
        self.limit = accounts.RateLimit(studio.settings.limits.requests_per_minute)
        self.metrics = Metrics()

    def app(self) -> Gateway:
        """Returns the ASGI application."""
        routes = [
            Route(one.path, self._endpoint(one), methods=[one.method])
            for one in (*OPERATIONS, *page.OPERATIONS)
        ]
        routes += page.routes(self.studio)
        for path, handler in (
            ("/healthz", self._health),
            ("/metrics", self._metrics),
            ("/openapi.json", self._openapi),
        ):
            routes.append(Route(path, _open(path, handler), methods=["GET"]))
        handlers = {
            Problem: _problem,
            HTTPException: _http_error,
            OperationalError: _no_database,
            Exception: _failure,
        }
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        return Gateway(app, self.metrics, self.studio.settings.limits.upload_bytes)

    def _endpoint(self, operation: Operation) -> Handler:
        async def handle(request: Request) -> Response:
            request.scope["studio_route"] = operation.path
            call = await run_in_threadpool(self._admit, request, operation)
            request.scope["studio_account"] = call.account or "signed URL"
            try:
                if operation.body is not None:
                    call.fields = await bodies.read(request)
                result = await run_in_threadpool(operation.work, call)
            except UserError as error:
                if error.code == "storage":
                    log.error("%s", error.message)
                raise of_user_error(error) from None
            except OSError as error:  # the files of a form are spooled to disk
                if error.errno not in FULL:
                    raise
                log.error("%s", error)
                raise unavailable(NO_ROOM, "storage_full") from None
            finally:
                await request.close()
            if isinstance(result, Response):
                return result
            return JSONResponse(result, headers=call.headers)

        return handle

    def _admit(self, request: Request, operation: Operation) -> Call:
        """Finds the account of a request, and returns its call, without the fields of the body.

        Raises:
            Problem: status 401 without a valid key or session, 403 for a request from elsewhere or
                a signature that is not valid, 429 for too many requests.
        """
        query = dict(request.query_params)
        call = Call(self.studio, "", request.path_params, query)
        if operation.signed and "signature" in query:
            self._check_signature(call)
            return call
        call.account = call.viewer = self._account(request)
        call.session = request.cookies.get(sessions.COOKIE, "")
        if wait := self.limit.wait(call.account):
            per_minute = self.limit.per_minute
            raise busy(f"This key may make {per_minute} requests a minute.", "rate_limit", wait)
        return call

    def _account(self, request: Request) -> str:
        store = self.studio.store
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and key:
            account = accounts.of_key(store, key.strip())
            if account is not None:
                return account
        if (account := sessions.account_of(store, request)) is not None:
            return account
        if self.studio.settings.loopback and not accounts.has_keys(store):
            _check_local(request)
            return accounts.local(store)
        raise Problem(
            401,
            "The key is missing or wrong; send it as Authorization: Bearer KEY.",
            "invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )

    def _check_signature(self, call: Call) -> None:
        store = self.studio.store
        with store.engine.connect() as connection:
            now = store.now(connection)
        self.studio.signer.check(call.path["video_id"], call.query, now)
        call.viewer = call.query.get("viewer", "")

    async def _health(self, _: Request) -> Response:
        workers = await run_in_threadpool(models.ready, self.studio.store)
        status = {"status": "ready" if workers else "loading", "workers": workers}
        return JSONResponse(status, 200 if workers else 503)

    async def _metrics(self, _: Request) -> Response:
        text = await run_in_threadpool(self.metrics.text, self.studio.store)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def _openapi(self, _: Request) -> Response:
        return JSONResponse(openapi.document())

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            task.cancel()

    async def _sweep(self) -> None:
        while True:
            try:
                await run_in_threadpool(content.sweep, self.studio.store, self.studio.media)
            except Exception:  # the next search may succeed
                log.exception("files of ended clips could not be deleted")
            await asyncio.sleep(SWEEP_SECONDS)


def _open(path: str, handler: Handler) -> Handler:
    """Returns the handler of an endpoint that needs no key."""

    async def handle(request: Request) -> Response:
        request.scope["studio_route"] = path
        return await handler(request)

    return handle


def _check_local(request: Request) -> None:
    """Raises Problem for a request of another machine, or of a page of another origin."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    origin = request.headers.get("origin")
    foreign = origin and not _is_loopback(urlsplit(origin).hostname or "")
    if foreign or not _is_loopback(host) or request.headers.get(sessions.SITE) == "cross-site":
        raise Problem(
            403,
            "This server has no key, so only this machine may use it; make one: "
            "python -m experiments.serve --new_key=NAME.",
            "not_local",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return JSONResponse(error.body, error.status, headers=error.headers)


def _no_database(_: Request, error: Exception) -> Response:
    """Answers a request while the database does not respond, or its disk is full."""
    log.error("the database does not answer: %s", " ".join(str(error).split())[:200])
    problem = unavailable("The database does not answer; try again later.", "database_unavailable")
    return JSONResponse(problem.body, problem.status, headers=problem.headers)


def _failure(_: Request, __: Exception) -> Response:
    """Answers a request for which the code raised an unexpected error, which `Gateway` logs."""
    message = "The server failed to answer; its log has the reason."
    return JSONResponse(Problem(500, message, "server_error").body, 500)


def _http_error(request: Request, error: Exception) -> Response:
    """Answers a request of an unknown path or method, in the shape of the API's errors."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    message = f"There is no {request.method[:10]} {request.url.path[:200]}; see /openapi.json."
    problem = Problem(error.status_code, message, code)
    return JSONResponse(problem.body, problem.status, headers=error.headers)
