"""Sessions: the web page signs in with a key once, and a cookie stands for the key from then on.

The cookie is HttpOnly and SameSite=Strict, and the database holds its SHA-256. A request that
changes something must also carry the header `x-csrf-token`, which only pages of this origin can
read. A session ends by signing out, after SESSION_SECONDS, and with its key.
"""

import hashlib
import hmac
import secrets
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sora_jax.studio.database import accounts, tables
from sora_jax.studio.database.store import Store
from sora_jax.studio.database.tables import sessions
from sora_jax.studio.endpoints import bodies
from sora_jax.studio.endpoints.call import Call, Studio
from sora_jax.studio.problems import Problem

COOKIE = "studio_session"
HEADER = "x-csrf-token"
SESSION_SECONDS = 14 * 86_400.0
SITE = "sec-fetch-site"  # header in which browsers say which site's page made a request
SAFE = ("GET", "HEAD", "OPTIONS")  # methods that change nothing
OWN_SITES = ("same-origin", "none")  # "none": the user typed the address


def start(store: Store, account: str) -> str:
    """Starts a session of an account and returns its token, which is stored nowhere."""
    token = secrets.token_urlsafe(32)
    row = {
        "id": _hash(token),
        "account_id": account,
        "created_at": store.clock(),
        "expires_at": store.clock() + SESSION_SECONDS,
    }
    with store.engine.begin() as connection:
        connection.execute(sa.delete(sessions).where(sessions.c.expires_at < store.clock()))
        connection.execute(sa.insert(sessions).values(row))
    return token


def end(store: Store, token: str) -> None:
    """Ends the session of a token, if there is one."""
    with store.engine.begin() as connection:
        connection.execute(sa.delete(sessions).where(sessions.c.id == _hash(token)))


def csrf(store: Store, token: str) -> str:
    """Returns the token that requests of a session must send in HEADER."""
    secret = store.secret("csrf")
    return hmac.new(secret, token.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def account_of(store: Store, request: Request) -> str | None:
    """Returns the id of the account whose session the cookie of a request names; None if there is
    no cookie or its session has ended.

    Raises:
        Problem: status 403 for a request of another origin, and for one that changes something
            without the header HEADER.
    """
    token = request.cookies.get(COOKIE, "")
    if not token:
        return None
    known = sa.and_(
        sessions.c.id == _hash(token),
        sessions.c.expires_at > store.clock(),
        tables.accounts.c.id == sessions.c.account_id,
        tables.accounts.c.key_hash.is_not(None),
    )
    with store.engine.connect() as connection:
        account = connection.execute(
            sa.select(tables.accounts.c.id).where(known)
        ).scalar_one_or_none()
    if account is None:
        return None
    check_origin(request)
    given = request.headers.get(HEADER, "")
    if request.method not in SAFE and not hmac.compare_digest(
        csrf(store, token).encode(), given.encode()
    ):
        raise Problem(403, f"The header {HEADER} is missing or wrong; load the page again.", "csrf")
    return account


def check_origin(request: Request) -> None:
    """Raises Problem for a request that a page of another origin made."""
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    site = request.headers.get(SITE, "none")
    if site not in OWN_SITES or (origin and urlsplit(origin).netloc != host):
        raise Problem(403, "A page of another origin made this request.", "cross_origin")


async def sign_in(studio: Studio, request: Request) -> Response:
    """Answers POST /api/session {"key": text}: starts a session and sets its cookie.

    Raises:
        Problem: status 403 for a page of another origin, 401 for an unknown key.
    """
    check_origin(request)
    fields = await bodies.read(request)
    bodies.check_names(fields, ("key",))
    key = bodies.text(fields, "key", 200, required=True) or ""
    account = accounts.of_key(studio.store, key.strip())
    if account is None:
        raise Problem(401, "There is no such key.", "invalid_api_key", "key")
    token = start(studio.store, account)
    response = JSONResponse({"object": "session", "csrf": csrf(studio.store, token)})
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(SESSION_SECONDS),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


def retrieve(call: Call) -> dict[str, Any]:
    """Returns the name of the account of the request, and the CSRF token that requests of its
    session must carry to change something.
    """
    store = call.studio.store
    asked = sa.select(tables.accounts.c.name).where(tables.accounts.c.id == call.account)
    with store.engine.connect() as connection:
        name = connection.execute(asked).scalar_one()
    token = csrf(store, call.session) if call.session else ""
    return {
        "object": "session",
        "account": name,
        "csrf": token,
        "signed_in": bool(call.session) and name != accounts.LOCAL,
    }


def sign_out(call: Call) -> dict[str, Any]:
    """Ends the session of the request and deletes its cookie."""
    end(call.studio.store, call.session)
    call.headers["set-cookie"] = f"{COOKIE}=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict"
    return {"object": "session.deleted", "deleted": True}


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
