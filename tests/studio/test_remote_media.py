"""Media behind a URL: two hosts whose folders share nothing but the store."""

import os

import pytest
from studio_parts import PROMPT, Bench

from sora_jax.errors import UserError
from sora_jax.studio.settings import Settings
from sora_jax.studio.storage import content
from sora_jax.studio.storage.remote_media import RemoteStore


@pytest.mark.slow
def test_two_hosts_share_a_store(tmp_path, pipeline, weights_files):
    """One accepts and serves, the other works: uploads and clips cross between them."""
    url, database = f"file://{tmp_path}/far", f"sqlite:///{tmp_path}/a.sqlite"
    parts = (pipeline, weights_files)
    with (
        Bench(tmp_path / "api", *parts, media=url, database=database) as api,
        Bench(tmp_path / "worker", *parts, media=url, database=database) as other,
    ):
        video = api.create(seed=1)
        assert other.worker.work() == 1
        assert api.get(video)["status"] == "completed"
        clip = api.content(video)
        assert clip[4:8] == b"ftyp"
        files = {"video": ("a.mp4", clip)}
        edit = api.call("POST", "/v1/videos/edits", data={"prompt": PROMPT}, files=files).json()
        remix = api.call("POST", f"/v1/videos/{video['id']}/remix", json={"prompt": PROMPT}).json()
        while api.worker.work():  # of the clip that the other host made
            pass
        for made in (edit, remix):
            assert api.get(made)["status"] == "completed", api.get(made)
        assert not list((tmp_path / "far").glob("uploads/*/*"))
        for path in (tmp_path / "far" / "clips").rglob("*"):
            os.utime(path, (0, 0))
        content.sweep(api.studio.store, api.studio.media)  # old, and of clips that are there
        assert other.content(video, "sound")[:4] == b"RIFF"
        api.call("DELETE", f"/v1/videos/{video['id']}")
        assert not list((tmp_path / "far" / "clips" / video["id"]).rglob("*.mp4"))


def test_files_of_a_store(tmp_path):
    """Keys stay below the URL; old folders are found; a store that fails tells it."""
    store = RemoteStore(f"file://{tmp_path}/far", tmp_path / "near")
    other = RemoteStore(f"file://{tmp_path}/far", tmp_path / "other")
    store.write("clips/a/b/video.mp4", b"1234")
    assert other.path("clips/a/b/video.mp4").read_bytes() == b"1234"
    assert list(store.old("clips", 3600.0)) == []
    os.utime(tmp_path / "far/clips/a/b/video.mp4", (0, 0))
    assert list(store.old("clips", 3600.0)) == ["clips/a/b"]
    for key in ("../x", "/etc/passwd", "a/../../x", ""):
        with pytest.raises(UserError, match="is no key"):
            store.write(key, b"")
    (tmp_path / "far/full").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="the media store fails") as told:
        store.write("full/a", b"1")
    assert told.value.code == "storage"
    with pytest.raises(UserError, match="give a folder, or a URL"):
        RemoteStore("nothing://x", tmp_path / "y")
    assert Settings("d", media="s3://x").media_url == "s3://x"
