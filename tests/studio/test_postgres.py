"""The jobs table on a real PostgreSQL, which runs as a user of its own: it refuses root."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from studio_parts import Bench, compete

from sora_jax.studio import accounts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("initdb"), reason="PostgreSQL is not installed"),
]


@pytest.fixture(scope="module")
def postgres():
    """The URL of a new database, on a socket in a folder."""
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path is short
    start = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        start = ["runuser", "-u", "postgres", "--"]
    data, options = str(folder / "data"), f"-c listen_addresses='' -k {folder}"

    def run(*command):
        done = subprocess.run([*start, *command], cwd="/", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    run("initdb", "-D", data, "-U", "studio", "-A", "trust", "--no-sync")
    log = str(folder / "log")
    run("pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start")
    try:
        yield f"postgresql://studio@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


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
