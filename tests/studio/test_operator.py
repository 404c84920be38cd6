"""What an operator does and meets: upgrade, backup, authority, a full disk, a database away."""

import errno
import io
import sqlite3
import tarfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from studio_parts import PROMPT, refused

from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.provenance.check import check
from sora_jax.studio.database import accounts, jobs, models, store
from sora_jax.studio.database.store import Store
from sora_jax.studio.database.tables import SCHEMA, metadata
from sora_jax.studio.settings import Settings
from sora_jax.studio.storage import authorities, content, media_store
from sora_jax.studio.upkeep import backup
from sora_jax.studio.worker import worker

VIDEOS = "/v1/videos"
VERSION_1 = Path(__file__).with_name("tables_1.sql")


def shape(url):
    """The columns and the indexes of each table."""
    opened = Store(url)
    inspected = sa.inspect(opened.engine)
    found = {
        name: (
            {column["name"] for column in inspected.get_columns(name)},
            {index["name"] for index in inspected.get_indexes(name)},
        )
        for name in inspected.get_table_names()
    }
    opened.close()
    return found


def test_tables_of_version_1_are_brought_to_this_one(tmp_path):
    """They get the shape of new ones, and keep their rows."""
    old = sqlite3.connect(tmp_path / "old.sqlite")
    old.executescript(VERSION_1.read_text())
    old.execute("INSERT INTO meta VALUES ('schema', '1'), ('secret_urls', '00')")
    old.execute("INSERT INTO accounts VALUES ('acct_1', 'mika', 'hash', 1.0, NULL)")
    old.execute(
        "INSERT INTO characters VALUES ('char_1', 'acct_1', 'x', 'unverified', 'k', 1.0, NULL)"
    )
    old.commit()
    old.close()
    found = shape(f"sqlite:///{tmp_path}/old.sqlite")
    assert found == shape(f"sqlite:///{tmp_path}/new.sqlite")
    assert found.keys() == metadata.tables.keys()
    opened = Store(f"sqlite:///{tmp_path}/old.sqlite")
    assert opened.known("schema") == str(SCHEMA) and opened.secret("urls") == b"\0"
    assert accounts.of_name(opened, "mika") == "acct_1"
    opened.close()


def test_tables_older_than_the_steps_are_refused(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/a.sqlite"
    Store(url).close()
    monkeypatch.setattr(store, "SCHEMA", SCHEMA + 5)
    with pytest.raises(UserError, match="use the version that made it, or another"):
        Store(url)


@pytest.mark.slow
def test_a_backup_is_a_server(tmp_path, bench):
    """Unpacked elsewhere, it has the clips, the keys and the authority."""
    done = bench.finished(bench.create(seed=1))
    queued = bench.create()
    (bench.studio.media.folder / "clips" / ".x.part").write_bytes(b"half a file")
    count = backup.write(bench.settings, tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert len(tar.getnames()) == count and not any(".part" in n for n in tar.getnames())
        tar.extractall(tmp_path / "other", filter="data")
    settings = Settings(str(tmp_path / "other"))
    opened = Store(settings.database_url)
    clip = jobs.find_clip(opened, done["id"])
    video = tmp_path / "other" / "media" / clip.folder / "video.mp4"
    assert video.read_bytes() == bench.content(done)
    account = accounts.local(opened)
    assert jobs.find(opened, account, queued["id"]).status == "queued"
    authority = authorities.open_for(settings, opened)
    assert authority.mark_key == bench.studio.authority.mark_key
    opened.close()


def test_files_that_leave_are_signed(tmp_path, bench):
    """Each variant, and the contact sheet; one changed byte is seen; parents are named."""
    source = bench.finished(bench.create(seed=1))
    remix = f"{VIDEOS}/{source['id']}/remix"
    made = bench.finished(bench.call("POST", remix, json={"prompt": PROMPT}).json())
    folder = bench.studio.media.path(jobs.find_clip(bench.studio.store, made["id"]).folder)
    authority, seen = bench.studio.authority, set()
    for path in folder.iterdir():
        if path.suffix in (".json", ".npz"):
            continue
        manifest = check(path, authority).manifest
        assert (manifest.state, manifest.job, manifest.action) == (
            "trusted", made["id"], "remixed"
        ), path  # fmt: skip
        assert [one.job for one in manifest.parents] == [source["id"]]
        seen.add(path.name)
    assert seen == {
        "video.mp4", "video.png", "thumbnail.webp", "spritesheet.jpg", "sound.wav"
    }  # fmt: skip
    ours = {"file": ("x.bin", bench.content(made, "sound"))}
    place = "/v1/content_provenance_checks"
    c2pa, mark = bench.call("POST", place, files=ours).json()["results"]
    assert (c2pa["validation_state"], c2pa["video_id"]) == ("trusted", made["id"])
    assert "development" in c2pa["issuer"] and c2pa["parents"][0]["video_id"] == source["id"]
    assert (mark["outcome"], mark["video_id"], mark["media"]) == (
        "detected", made["id"], ["sound"]
    )  # fmt: skip
    data = bytearray(bench.content(made, "thumbnail"))
    data[len(data) // 2] ^= 1
    c2pa, _ = bench.call("POST", place, files={"file": ("a", bytes(data))}).json()["results"]
    assert c2pa["validation_state"] in ("invalid", "not_present")


def test_the_authority_is_one_for_all_hosts(tmp_path, bench):
    """The database holds it, and another folder gets a copy; a flag names a real one."""
    other = Settings(str(tmp_path / "b"), database=bench.settings.database_url)
    copied = authorities.open_for(other, bench.studio.store)
    assert copied == bench.studio.authority and copied.development
    changed = tmp_path / "b" / "authority" / "mark.key"
    assert changed.stat().st_mode & 0o077 == 0
    files.write(changed, b"x" * 32)
    assert authorities.open_for(other, bench.studio.store) == copied
    named = Settings(str(tmp_path / "c"), authority=str(tmp_path / "none"))
    with pytest.raises(UserError, match="there is no such folder"):
        authorities.open_for(named, bench.studio.store)


def test_cancel(bench):
    """A queued video stays in the list as failed; a finished one is not cancelled."""
    done, queued = bench.finished(bench.create()), bench.create()
    answer = bench.call("POST", f"{VIDEOS}/{queued['id']}/cancel").json()
    assert (answer["status"], answer["error"]["code"]) == ("failed", "cancelled")
    assert bench.worker.work() == 0 and bench.get(queued)["error"]["code"] == "cancelled"
    for video in (done, queued):
        answer = bench.call("POST", f"{VIDEOS}/{video['id']}/cancel")
        refused(answer, 409, "video_finished")
    answer = bench.call("POST", f"{VIDEOS}/video_0/cancel")
    refused(answer, 404, "not_found", "video_id")


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk(bench, monkeypatch):
    """Uploads get 503, and a job whose files cannot be written fails without their path."""
    video = bench.content(bench.finished(bench.create()))
    video_file = {"video": ("a.mp4", video)}
    monkeypatch.setattr(media_store.shutil, "copyfileobj", full)
    answer = bench.call("POST", f"{VIDEOS}/edits", data={"prompt": PROMPT}, files=video_file)
    message = refused(answer, 503, "storage_full")
    assert answer.headers["retry-after"] and str(bench.settings.directory) not in message
    monkeypatch.undo()

    def unwritable(*_):
        raise files.cannot_write("/var/secret", OSError(errno.ENOSPC, "No space left on device"))

    job = bench.create()
    monkeypatch.setattr(worker, "publish", unwritable)
    bench.worker.work()
    error = bench.row(job).error
    assert error["code"] == "storage" and "secret" not in error["message"]
    assert not list(bench.studio.media.folder.glob("uploads/*/*"))
    assert len(list(bench.studio.media.folder.glob("clips/*/*"))) == 1


def test_a_database_that_does_not_answer(bench, monkeypatch):
    """Requests get 503; a worker tries again, and deletes no file of a clip whose row it may have
    written.
    """

    def away(*_):
        raise OperationalError("SELECT 1", {}, Exception("secret"))

    video = bench.create()
    monkeypatch.setattr(models, "current", away)
    answer = bench.call("POST", VIDEOS, json={"prompt": PROMPT})
    assert "secret" not in refused(answer, 503, "database_unavailable")
    assert answer.headers["retry-after-ms"] == "5000"
    real = jobs.complete

    def lost(*arguments):
        assert real(*arguments)
        away()

    monkeypatch.setattr(jobs, "complete", lost)
    with pytest.raises(OperationalError):
        bench.worker.work()
    monkeypatch.undo()
    assert bench.get(video)["status"] == "completed" and bench.content(video)[4:8] == b"ftyp"
    content.sweep(bench.studio.store, bench.studio.media)
    calls = []

    def once():
        calls.append(1)
        if len(calls) == 1:
            away()
        bench.worker.stop.set()
        return 0

    monkeypatch.setattr(worker, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(bench.worker, "work", once)
    bench.worker.run()
    assert len(calls) == 2 and io.BytesIO(bench.content(video)).read(8)[4:] == b"ftyp"
