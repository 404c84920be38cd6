"""How an idle worker waits: on PostgreSQL for a NOTIFY of a new job, on SQLite for a moment.

PostgreSQL delivers a notification when the transaction that accepted the job commits. A worker also
looks each second, for jobs of lost workers and for notifications that were sent while it was not
connected.
"""

import threading
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from sora_jax.studio.database.store import Store

CHANNEL = "sora_jax_jobs"
POLL_SECONDS = 0.2  # between two looks into an empty queue of SQLite
LISTEN_SECONDS = 1.0  # and of PostgreSQL


def announce(store: Store, connection: sa.Connection) -> None:
    """Wakes waiting workers when the transaction of a connection commits."""
    if store.is_postgres:
        connection.execute(sa.text(f"NOTIFY {CHANNEL}"))


class Listener:
    """Waits for new jobs."""

    def __init__(self, store: Store):
        """store: the database."""
        self._store = store
        self._connection: Any = None

    def wait(self, stop: threading.Event) -> None:
        """Returns when there may be a new job, or `stop` is set, after at most a second."""
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
        """Closes its connection."""
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
