"""How an idle worker waits: on PostgreSQL for a NOTIFY of a new job, on SQLite for POLL_SECONDS.

PostgreSQL delivers a notification when the transaction that accepted the job commits. A worker also
looks into the queue each second (LISTEN_SECONDS), because jobs of lost workers cause no
notification, and one may be sent while the worker is not connected.
"""

import threading
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from sora_jax.studio.database.store import Store

CHANNEL = "sora_jax_jobs"
POLL_SECONDS = 0.2  # between two looks into an empty queue, with SQLite
LISTEN_SECONDS = 1.0  # the same with PostgreSQL, without a notification


def announce(store: Store, connection: sa.Connection) -> None:
    """Wakes waiting workers when the transaction of a connection commits."""
    if store.is_postgres:
        connection.execute(sa.text(f"NOTIFY {CHANNEL}"))


class Listener:
    """Waits for new jobs."""

    def __init__(self, store: Store):
        """Makes a listener on a database. It connects when it first waits."""
        self._store = store
        self._connection: Any = None

    def wait(self, stop: threading.Event) -> None:
        """Waits until there may be a new job, at most LISTEN_SECONDS. With SQLite it returns early
        when `stop` is set.
        """
        if not self._store.is_postgres:
            stop.wait(POLL_SECONDS)
            return
        try:
            driver = self._opened().connection.driver_connection
            for _ in driver.notifies(timeout=LISTEN_SECONDS, stop_after=1):
                return
        except (SQLAlchemyError, OSError, self._store.driver_error):
            self.close()
            stop.wait(POLL_SECONDS)

    def close(self) -> None:
        """Closes the connection of the listener, if it has one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _opened(self) -> Any:
        if self._connection is None:
            connection = self._store.engine.connect()
            self._connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            self._connection.execute(sa.text(f"LISTEN {CHANNEL}"))
        return self._connection
