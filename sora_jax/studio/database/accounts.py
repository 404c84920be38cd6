"""Accounts and their keys.

An account has a name and one key, a secret text that its requests carry. The database holds only
the SHA-256 of the key. No slow hash is needed, because a key has 256 random bits and cannot be
guessed. While no key exists, a server that only its own machine can reach accepts every request as
the account `local`.
"""

import hashlib
import re
import secrets
import threading
import time

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from sora_jax.errors import UserError
from sora_jax.studio.database import jobs
from sora_jax.studio.database.store import Store
from sora_jax.studio.database.tables import accounts

LOCAL = "local"  # account of a server without keys
RESERVED = (LOCAL, "everyone", "mutuals")  # the latter two are audiences of grants
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")


def new_key(store: Store, name: str) -> str:
    """Makes an account and returns its key, which is stored nowhere.

    Args:
        store: the database.
        name: name of the account: 1 to 40 of a to z, digits and _ . -, first a letter or digit.

    Raises:
        UserError: the name is taken, reserved or not of this form.
    """
    if not NAME.fullmatch(name) or name in RESERVED:
        raise UserError(
            f"{name!r} is no name of a key; give 1 to 40 small letters, digits or _ . - "
            f"(not {', '.join(RESERVED)})",
            field="new_key",
        )
    key = f"sk-sora-{secrets.token_urlsafe(32)}"
    try:
        with store.engine.begin() as connection:
            _insert(connection, store, name, _hash(key))
    except IntegrityError:
        raise UserError(
            f"there is a key {name} already; give another name", field="new_key"
        ) from None
    return key


def delete_key(store: Store, name: str) -> None:
    """Deletes the key of the account `name`. Its unfinished jobs are cancelled, and the name stays
    taken.

    Raises:
        UserError: there is no key of that name.
    """
    named = sa.select(accounts.c.id).where(
        accounts.c.name == name, accounts.c.key_hash.is_not(None)
    )
    with store.engine.begin() as connection:
        account = connection.execute(named).scalar_one_or_none()
        if account is None:
            raise UserError(f"there is no key {name!r}", field="delete_key", code="not_found")
        gone = {"key_hash": None, "deleted_at": store.clock()}
        connection.execute(sa.update(accounts).where(accounts.c.id == account).values(gone))
        jobs.cancel_all(store, connection, account)


def has_keys(store: Store) -> bool:
    """Returns whether any account has a key."""
    with store.engine.connect() as connection:
        found = sa.select(accounts.c.id).where(accounts.c.key_hash.is_not(None)).limit(1)
        return connection.execute(found).first() is not None


def of_key(store: Store, key: str) -> str | None:
    """Returns the id of the account with a key; None if no account has it."""
    found = sa.select(accounts.c.id).where(accounts.c.key_hash == _hash(key))
    with store.engine.connect() as connection:
        return connection.execute(found).scalar_one_or_none()


def of_name(store: Store, name: str) -> str | None:
    """Returns the id of the account with a name; None if there is none, or its key was deleted."""
    found = sa.select(accounts.c.id).where(accounts.c.name == name, accounts.c.deleted_at.is_(None))
    with store.engine.connect() as connection:
        return connection.execute(found).scalar_one_or_none()


def active(store: Store, account: str) -> bool:
    """Returns whether an account exists and its key was not deleted."""
    found = sa.select(accounts.c.id).where(
        accounts.c.id == account, accounts.c.deleted_at.is_(None)
    )
    with store.engine.connect() as connection:
        return connection.execute(found).first() is not None


def local(store: Store) -> str:
    """Returns the id of the account `local`, which is made at its first use."""
    found = sa.select(accounts.c.id).where(accounts.c.name == LOCAL)
    for _ in range(2):
        with store.engine.connect() as connection:
            account = connection.execute(found).scalar_one_or_none()
        if account is not None:
            return account
        try:
            with store.engine.begin() as connection:
                return _insert(connection, store, LOCAL, None)
        except IntegrityError:  # another process was faster
            continue
    raise RuntimeError("the account `local` can neither be found nor made")


class RateLimit:
    """A limit of requests a minute for each account, within one process."""

    def __init__(self, per_minute: int):
        """Starts with the full number of requests for each account: `per_minute`, which is regained
        evenly within a minute.
        """
        self.per_minute = per_minute
        self._left: dict[str, tuple[float, float]] = {}  # requests left, and when that was
        self._lock = threading.Lock()

    def wait(self, account: str) -> float:
        """Returns 0 and counts a request, if the account may make one now; otherwise the seconds
        after which one is allowed.
        """
        now, rate = time.monotonic(), self.per_minute / 60
        with self._lock:
            left, then = self._left.get(account, (float(self.per_minute), now))
            left = min(float(self.per_minute), left + (now - then) * rate)
            allowed = left >= 1
            self._left[account] = (left - allowed, now)
        return 0.0 if allowed else (1 - left) / rate


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _insert(connection: sa.Connection, store: Store, name: str, key_hash: str | None) -> str:
    account = f"acct_{secrets.token_hex(12)}"
    row = {"id": account, "name": name, "key_hash": key_hash, "created_at": store.clock()}
    connection.execute(sa.insert(accounts).values(row))
    return account
