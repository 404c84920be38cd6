"""The jobs table: one owner a job, leases, cancelling; and workers that are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import jax
import pytest
import sqlalchemy as sa
from studio_parts import add_job, compete

from sora_jax.errors import UserError
from sora_jax.studio.database import accounts, jobs, models, store, tables
from sora_jax.studio.database.store import Store
from sora_jax.studio.http.server import start_worker
from sora_jax.studio.storage import content, publish
from sora_jax.studio.worker import worker


def test_each_job_has_one_owner(tmp_path):
    """Processes that claim at once from one SQLite file."""
    made, got = compete(f"sqlite:///{tmp_path}/a.sqlite")
    every = [job for mine in got for job in mine]
    assert sorted(every) == sorted(made)


def test_a_claim_is_of_one_shape_and_in_order(bench):
    opened = bench.studio.store
    account = accounts.local(opened)
    made = [add_job(opened, account, key) for key in "abaa"]
    assert [row.id for row in jobs.claim(opened, "w", 2, 60)] == [made[0].id, made[2].id]
    assert [row.id for row in jobs.claim(opened, "w", 2, 60)] == [made[1].id]
    assert [row.id for row in jobs.claim(opened, "w", 2, 60)] == [made[3].id]
    assert not jobs.claim(opened, "w", 2, 60)


def test_a_lapsed_lease_goes_back_and_fails_in_the_end(bench):
    """The heartbeat keeps a job; without it the job goes back, and fails after two lost workers."""
    opened = bench.studio.store
    job = add_job(opened, accounts.local(opened))
    jobs.claim(opened, "w1", 1, 60)
    assert jobs.heartbeat(opened, "w1", [job.id], 40, 60) == {job.id}
    assert jobs.take_back(opened, 2) == 0 and bench.row({"id": job.id}).progress == 40
    jobs.heartbeat(opened, "w1", [job.id], 40, -1)
    assert jobs.take_back(opened, 2) == 1
    row = bench.row({"id": job.id})
    assert (row.status, row.owner, row.progress, row.attempts) == ("queued", None, 0, 1)
    assert jobs.heartbeat(opened, "w1", [job.id], 50, 60) == set()
    assert not jobs.fail(opened, "w1", job.id, "x", "x")
    jobs.claim(opened, "w2", 1, -1)
    assert jobs.take_back(opened, 2) == 0
    row = bench.row({"id": job.id})
    assert (row.status, row.error["code"]) == ("failed", "worker_lost")


def test_a_late_worker_leaves_no_files(bench):
    """Its job was taken back and completed by another: its clip is thrown away."""
    video = bench.create()
    (row,) = jobs.claim(bench.studio.store, bench.worker.id, 1, -1)
    other = bench.new_worker()
    assert other.work() == 1
    first = jobs.find_clip(bench.studio.store, video["id"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "claim", lambda *_: [row])
        bench.worker.work()
    assert jobs.find_clip(bench.studio.store, video["id"]).folder == first.folder
    folder = bench.studio.media.path(f"clips/{video['id']}")
    assert [path.name for path in folder.iterdir()] == [first.folder.rpartition("/")[2]]


def test_nothing_is_served_before_all_files_are_written(bench, monkeypatch):
    """A worker that dies while it writes leaves a job in progress, and files that nobody serves and
    that are deleted in the end.
    """
    video = bench.create()

    def dies(*arguments):
        columns = publish.publish(*arguments)
        assert columns["folder"]
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "publish", dies)
    monkeypatch.setattr(bench.studio.media.__class__, "delete", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        bench.worker.work()
    monkeypatch.undo()
    assert bench.row(video).status == "in_progress"
    assert bench.call("GET", f"/v1/videos/{video['id']}/content").status_code == 409
    left = list(bench.studio.media.folder.glob("clips/*/*/video.mp4"))
    assert len(left) == 1
    content.sweep(bench.studio.store, bench.studio.media)
    assert left[0].exists()  # it may belong to a worker that still writes
    os.utime(left[0].parent, (0, 0))
    content.sweep(bench.studio.store, bench.studio.media)
    assert not left[0].exists()


def test_a_deleted_job_stops_at_its_next_step(bench):
    """While the worker samples, DELETE cancels; the sampler stops long before its last step."""
    video = bench.create(steps=900)
    beating = threading.Thread(target=bench.worker._beat, daemon=True)
    beating.start()

    def delete_when_running():
        while bench.worker._progress < 1:
            time.sleep(0.01)
        bench.call("DELETE", f"/v1/videos/{video['id']}")

    deleting = threading.Thread(target=delete_when_running)
    deleting.start()
    bench.worker.work()
    reached = bench.worker._progress
    deleting.join()
    bench.worker._ended.set()
    beating.join()
    assert 1 <= reached < 99
    assert bench.row(video).status == "cancelled"
    assert not list(bench.studio.media.folder.glob("clips/*"))


def test_a_job_deleted_after_its_last_step_makes_no_clip(bench, monkeypatch):
    """While its files are written."""
    video = bench.create()

    def deleted_meanwhile(*arguments):
        bench.call("DELETE", f"/v1/videos/{video['id']}")
        return publish.publish(*arguments)

    monkeypatch.setattr(worker, "publish", deleted_meanwhile)
    bench.worker.work()
    assert bench.row(video).status == "cancelled"
    assert jobs.find_clip(bench.studio.store, video["id"]) is None
    assert not list(bench.studio.media.folder.glob("clips/*/*"))


def test_a_stopped_worker_returns_its_jobs(bench):
    """A stop between two steps is no lost worker: the attempt does not count."""
    video = bench.create(steps=900)
    thread = threading.Thread(target=bench.worker.run)
    thread.start()
    while bench.worker._progress < 1:
        time.sleep(0.01)
    bench.worker.stop.set()
    thread.join(60)
    row = bench.row(video)
    assert (row.status, row.owner, row.attempts) == ("queued", None, 0)
    assert models.ready(bench.studio.store) == 0


def test_a_killed_worker_loses_no_job(tmp_path, bench):
    """kill -9 of a real worker process in the middle of a job; another worker makes the clip."""
    video = bench.create(steps=1000, seed=4)
    environment = bench.settings
    process = start_worker(environment)
    try:
        deadline = time.monotonic() + 300
        while not bench.get(video)["progress"]:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()
        process.stdin.close()
    row = bench.row(video)
    assert (row.status, row.attempts) == ("in_progress", 1)
    assert bench.worker.work() == 0  # its lease holds
    lapsed = {"lease_until": bench.studio.store.clock() - 1}
    bench.change(video, **lapsed, request={**row.request, "steps": 2})
    done = bench.finished(video)
    assert (done["status"], bench.row(video).attempts) == ("completed", 2)
    assert bench.content(done)[4:8] == b"ftyp"


def test_an_end_of_the_parent_ends_the_worker(bench):
    """Its stdin closes, however its parent ended."""
    process = start_worker(bench.settings)
    process.stdin.close()
    assert process.wait(120) in (0, -signal.SIGTERM)


def test_ended_clips_are_deleted(bench):
    """After their time the files are gone, and the video tells so."""
    done = bench.finished(bench.create())
    content.sweep(bench.studio.store, bench.studio.media)
    assert bench.content(done)
    with bench.studio.store.engine.begin() as connection:
        connection.execute(sa.update(tables.clips).values(expires_at=1.0))
    content.sweep(bench.studio.store, bench.studio.media)
    assert not list(bench.studio.media.folder.glob("clips/*/*/*"))
    answer = bench.call("GET", f"/v1/videos/{done['id']}/content")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "video_expired")
    assert bench.get(done)["status"] == "completed"


def test_tables_of_a_newer_version_are_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/a.sqlite"
    opened = Store(url)
    with opened.engine.begin() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        connection.exec_driver_sql("UPDATE meta SET value = '99' WHERE name = 'schema'")
    opened.close()
    assert mode == "wal"
    with pytest.raises(UserError, match="tables of version 99"):
        Store(url)


@pytest.mark.parametrize("url", ["x", "mysql://a/b", "sqlite:////proc/none/a.sqlite"])
def test_databases_that_cannot_be_opened(url):
    with pytest.raises(UserError, match="cannot open the database"):
        Store(url)


def test_processes_that_open_an_empty_database_at_once(tmp_path):
    code = (
        f"from sora_jax.studio.database.store import Store; Store('sqlite:///{tmp_path}/a.sqlite')"
    )
    start = [sys.executable, "-W", "error", "-c", code]
    processes = [subprocess.Popen(start, stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        assert process.communicate(timeout=120)[1] == b"" and process.returncode == 0


def test_the_clock_is_that_of_the_database(bench):
    with bench.studio.store.engine.connect() as connection:
        assert abs(bench.studio.store.now(connection) - time.time()) < 60
    assert json.dumps(bench.settings.to_dict()) and store.SCHEMA == tables.SCHEMA


def test_a_worker_without_a_job_compiles_for_the_first(bench, monkeypatch):
    """The job that comes next traces no program."""
    traced = []

    def note(event, *_, **__):
        if event.endswith("jaxpr_trace_duration"):
            traced.append(event)

    jax.clear_caches()
    waiting = threading.Event()
    monkeypatch.setattr(worker.Listener, "wait", lambda *_: waiting.set() or time.sleep(0.01))
    running = threading.Thread(target=bench.worker.run)
    running.start()
    try:
        assert waiting.wait(300)
        jax.monitoring.register_event_duration_secs_listener(note)
        video = bench.create()
        while bench.get(video)["status"] not in ("completed", "failed"):
            time.sleep(0.05)
    finally:
        bench.worker.stop.set()
        running.join()
        jax.monitoring.unregister_event_duration_listener(note)
    assert bench.get(video)["status"] == "completed"
    assert not traced
