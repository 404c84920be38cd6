"""The jobs table on a real PostgreSQL, which runs as a user of its own: it refuses root."""

import shutil
import tarfile
import threading
import time

import pytest
from studio_parts import Bench, add_job, compete

from sora_jax.errors import UserError
from sora_jax.studio.database import accounts, wake
from sora_jax.studio.database.store import Store
from sora_jax.studio.settings import Settings
from sora_jax.studio.upkeep import backup
from sora_jax.studio.upkeep.soak import Postgres

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("initdb"), reason="PostgreSQL is not installed"),
]


@pytest.fixture(scope="module")
def postgres():
    """The URL of a new database, on a socket in a folder."""
    pytest.importorskip("psycopg")
    made = Postgres()
    try:
        yield made.url
    finally:
        made.close()


def test_from_request_to_clip(tmp_path, postgres, pipeline, weights_files):
    """Accepted, claimed, completed, listed, cancelled and deleted, as on SQLite."""
    with Bench(tmp_path, pipeline, weights_files, database=postgres) as bench:
        assert bench.studio.store.is_postgres
        done = bench.finished(bench.create(seed=1))
        assert done["status"] == "completed" and bench.content(done)[4:8] == b"ftyp"
        other = bench.create()
        page = bench.call("GET", "/v1/videos", params={"limit": 1}).json()
        assert page["has_more"] and page["last_id"] == other["id"]
        for video in (done, other):
            bench.call("DELETE", f"/v1/videos/{video['id']}")
        assert bench.row(other).status == "cancelled" and bench.worker.work() == 0
        key = accounts.new_key(bench.studio.store, "mika")
        account = accounts.of_key(bench.studio.store, key)
        assert account is not None
        accounts.delete_key(bench.studio.store, "mika")
        assert accounts.of_key(bench.studio.store, key) is None


def test_each_job_has_one_owner(postgres):
    """FOR UPDATE SKIP LOCKED: nobody waits, and nobody claims a job of another."""
    made, got = compete(postgres, 300)
    assert sorted(job for mine in got for job in mine) == sorted(made)
    assert sum(bool(mine) for mine in got) >= 2


def test_a_new_job_wakes_a_worker(postgres, monkeypatch):
    """By NOTIFY, long before it would look by itself; a lost connection is opened again."""
    monkeypatch.setattr(wake, "LISTEN_SECONDS", 60.0)
    opened = Store(postgres)
    account, listener, stop = accounts.local(opened), wake.Listener(opened), threading.Event()

    def waits():
        started = time.monotonic()
        thread = threading.Thread(target=listener.wait, args=(stop,))
        thread.start()
        time.sleep(1.0)  # it listens by then
        add_job(opened, account)
        thread.join(30)
        assert not thread.is_alive()
        return time.monotonic() - started

    assert 1.0 <= waits() < 20
    listener.close()
    assert waits() < 20
    listener._connection.connection.driver_connection.close()
    assert waits() < 20  # it finds out, and returns to look
    listener.close()
    opened.close()


def test_a_backup_of_postgresql(tmp_path, postgres):
    settings = Settings(str(tmp_path), database=postgres)
    if not shutil.which("pg_dump"):
        with pytest.raises(UserError, match="needs pg_dump"):
            backup.write(settings, tmp_path / "a.tar")
        return
    assert backup.write(settings, tmp_path / "a.tar") >= 1
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert "studio.pgdump" in tar.getnames()
