"""The database: SQLite in WAL mode, or PostgreSQL, as its URL says.

All processes of a server open the same database. The database holds the version of its tables. An
older program therefore refuses tables of a newer one instead of misreading them, and a newer
program brings older tables to its own version (`migrations`).
"""

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from sora_jax.errors import UserError
from sora_jax.studio.database.migrations import STEPS, migrate
from sora_jax.studio.database.tables import SCHEMA, meta, metadata

BUSY_MS = 30_000  # milliseconds that a process waits while another one writes to SQLite
DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}


class Store:
    """An open database.

    Attributes:
        engine: the SQLAlchemy engine, from which each thread takes its connections.
        is_postgres: True for PostgreSQL, False for SQLite.
        driver_error: the base class of the errors of the database's driver.
    """

    def __init__(self, url: str):
        """Opens the database, and makes its tables or brings them to this version.

        Args:
            url: URL such as sqlite:////var/studio.sqlite or postgresql://user@host/name.

        Raises:
            UserError: the database cannot be opened, or its tables have a newer version, or one too
                old to migrate.
        """
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise _unusable(url, "it is no URL of a database") from None
        name = parsed.drivername
        parsed = parsed.set(drivername=DRIVERS.get(name, name))
        self.is_postgres = parsed.get_backend_name() == "postgresql"
        if not self.is_postgres and parsed.get_backend_name() != "sqlite":
            raise _unusable(url, f"{parsed.get_backend_name()} is not supported")
        self._url = parsed.render_as_string(hide_password=True)
        try:
            if not self.is_postgres and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = sa.create_engine(parsed, pool_pre_ping=self.is_postgres)
            self.driver_error: type[Exception] = self.engine.dialect.loaded_dbapi.Error
            if not self.is_postgres:
                event.listen(self.engine, "connect", _prepare_sqlite)
            self._make_tables()
        except ModuleNotFoundError as error:
            raise _unusable(
                self._url, f"{error.name} is missing: pip install -e '.[studio]'"
            ) from None
        except (SQLAlchemyError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            raise _unusable(self._url, " ".join(str(cause).split())) from None
        self._check_version()

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()

    def now(self, connection: sa.Connection) -> float:
        """Returns the database's time in seconds since 1970; all hosts share its clock."""
        return float(connection.execute(sa.select(self.clock())).scalar_one())

    def clock(self) -> sa.ColumnElement[float]:
        """Returns an SQL expression whose value is the time of `now`."""
        if self.is_postgres:
            return sa.literal_column(
                "cast(extract(epoch from clock_timestamp()) as double precision)", sa.Float
            )
        return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Float)

    def secret(self, name: str) -> bytes:
        """Returns the random secret of this database with a name: 32 bytes, made at first use."""
        return bytes.fromhex(self.once(f"secret_{name}", secrets.token_hex(32)))

    def once(self, name: str, value: str) -> str:
        """Stores a text under a name unless one is stored there, and returns the stored text."""
        asked = sa.select(meta.c.value).where(meta.c.name == name)
        with self.engine.begin() as connection:
            self._insert_once(connection, name, value)
            return connection.execute(asked).scalar_one()

    def known(self, name: str) -> str | None:
        """Returns the text that `once` stored under a name; None if there is none."""
        with self.engine.connect() as connection:
            asked = sa.select(meta.c.value).where(meta.c.name == name)
            return connection.execute(asked).scalar_one_or_none()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[sa.Connection]:
        """Context manager: a transaction that excludes all other such transactions, also those of
        other processes.
        """
        with self.engine.begin() as connection:
            row = sa.update(meta).where(meta.c.name == "schema").values(value=meta.c.value)
            connection.execute(row)
            yield connection

    def _insert_once(self, connection: sa.Connection, name: str, value: str) -> None:
        new = sa.select(sa.literal(name), sa.literal(value))
        absent = ~sa.exists(sa.select(meta.c.name).where(meta.c.name == name))
        connection.execute(sa.insert(meta).from_select(["name", "value"], new.where(absent)))

    def _make_tables(self) -> None:
        """Makes missing tables. Several processes may start on an empty database at once."""
        for attempt in range(5):
            try:
                with self.engine.begin() as connection:
                    if not sa.inspect(connection).has_table("meta"):
                        metadata.create_all(connection)
                    self._insert_once(connection, "schema", str(SCHEMA))
                return
            except DBAPIError:
                if attempt == 4:
                    raise
                time.sleep(0.2)

    def _check_version(self) -> None:
        asked = sa.select(meta.c.value).where(meta.c.name == "schema")
        with self.engine.connect() as connection:
            found = int(connection.execute(asked).scalar_one())
        if found == SCHEMA:
            return
        if found > SCHEMA or found + 1 not in STEPS:
            remedy = (
                "update sora_jax" if found > SCHEMA else "use the version that made it, or another"
            )
            raise UserError(
                f"the database {self._url} has tables of version {found}, and this program knows "
                f"version {SCHEMA}; {remedy}",
                field="database",
                code="version",
            )
        with self.exclusive() as connection:
            found = int(connection.execute(asked).scalar_one())  # another process may be faster
            migrate(connection, found)
            newer = sa.update(meta).where(meta.c.name == "schema").values(value=str(SCHEMA))
            connection.execute(newer)


def _prepare_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # an accepted job survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _unusable(url: str, reason: str) -> UserError:
    return UserError(
        f"cannot open the database {url}: {reason}; give sqlite:////PATH or "
        "postgresql://USER@HOST/NAME",
        field="database",
    )
