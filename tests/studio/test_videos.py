"""Create, poll, download, remix, edit, extend, list, delete, as the Videos API does."""

import base64
import io

import av
import numpy as np
import pytest
from PIL import Image
from studio_parts import FORM, PROMPT, refused

from sora_jax.studio.database import jobs
from sora_jax.studio.storage.publish import sprites
from sora_jax.studio.worker.sampling import build_request


def png(width, height):
    data = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 40)).save(data, "png")
    return data.getvalue()


def test_create_poll_download(bench):
    """An accepted request is queued, a worker completes it, and its files are playable."""
    video = bench.create(seed=3)
    assert (video["status"], video["progress"], video["prompt"]) == ("queued", 0, PROMPT)
    assert (video["seconds"], video["size"], video["seed"]) == ("1", "16x16", 3)
    answer = bench.call("GET", f"/v1/videos/{video['id']}")
    assert answer.headers["openai-poll-after-ms"] == "500"
    done = bench.finished(video)
    assert (done["status"], done["progress"], done["error"]) == ("completed", 100, None)
    assert done["expires_at"] - done["completed_at"] in range(30 * 86_400 - 2, 30 * 86_400 + 2)
    with av.open(io.BytesIO(bench.content(done))) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        assert len(frames) == 9 and frames[0].shape == (16, 16, 3)
    with av.open(io.BytesIO(bench.content(done, "sound"))) as file:
        assert file.streams.audio[0].rate == 16_000
    assert Image.open(io.BytesIO(bench.content(done, "thumbnail"))).size == (16, 16)
    assert Image.open(io.BytesIO(bench.content(done, "spritesheet"))).size == (48, 48)
    assert done["verdict"]["met"] is not None or done["verdict"]["reason"]


def test_a_seed_makes_the_clip(bench):
    """Alone or in a batch, the same seed gives the same clip; without one, each request differs."""
    first = bench.finished(bench.create(seed=5))
    again, other, free = bench.create(seed=5), bench.create(seed=6), bench.create()
    bench.finished(free)
    clips = [bench.content(video, "spritesheet") for video in (first, again, other, free)]
    read = [np.asarray(Image.open(io.BytesIO(clip))).astype(int) for clip in clips]
    assert np.abs(read[0] - read[1]).max() <= 2
    assert np.abs(read[0] - read[2]).max() > 20 and np.abs(read[0] - read[3]).max() > 20
    assert free["seed"] != bench.create()["seed"]


def test_requests_of_equal_shape_share_a_batch(bench):
    """Two of three fit the batch of two; a clip of another size waits for its own."""
    for fields in ({}, {"size": "24x16"}, {}, {}):
        bench.create(**fields)
    claims = [jobs.claim(bench.studio.store, "w", 2, 60) for _ in range(4)]
    assert [len(rows) for rows in claims] == [2, 1, 1, 0]
    assert [row.size for row in claims[1]] == ["24x16"]


def test_sizes_and_seconds(bench):
    assert bench.create(size="24x16")["size"] == "24x16"
    assert bench.create(seconds="1")["seconds"] == "1"
    assert bench.create(seconds=1.25)["seconds"] == "1"
    assert bench.create(model="sora-2-pro")["model"].startswith("st_dit-")
    half = FORM.frames_per_latent / FORM.fps / 2
    far = f"{FORM.seconds + half + 0.01:.3f}"
    answer = bench.call("POST", "/v1/videos", json={"prompt": PROMPT, "seconds": far})
    assert "16x16 of 1.125 s, 24x16 of 1.125 s" in refused(answer, 400, "invalid_value", "seconds")
    near = f"{FORM.seconds + half - 0.01:.3f}"
    assert bench.create(seconds=near)["status"] == "queued"


@pytest.mark.parametrize("how", ["file", "data URL", "form"])
def test_first_frame(bench, how):
    """A reference picture becomes the first frame."""
    data, url = png(16, 16), "data:image/png;base64," + base64.b64encode(png(16, 16)).decode()
    sent = {
        "file": {"data": {"prompt": PROMPT}, "files": {"input_reference": ("a.png", data)}},
        "data URL": {"json": {"prompt": PROMPT, "input_reference": {"image_url": url}}},
        "form": {
            "data": {"prompt": PROMPT, "input_reference[image_url]": url},
            "files": {"seed": (None, "1")},
        },
    }[how]
    answer = bench.call("POST", "/v1/videos", **sent)
    assert answer.status_code == 200, answer.text
    done = bench.finished(answer.json())
    assert done["status"] == "completed", done
    clip = jobs.find_clip(bench.studio.store, done["id"])
    assert clip.provenance["task"] == "first_frame"
    assert not bench.studio.media.path(f"uploads/{done['id']}").exists()


def test_a_frame_of_another_size_is_refused(shared):
    files = {"input_reference": ("a.png", png(16, 18), "image/png")}
    answer = shared.call("POST", "/v1/videos", data={"prompt": PROMPT}, files=files)
    message = refused(answer, 400, "invalid_value", "input_reference")
    assert message.startswith("Inpaint image must match the requested width and height")


def test_remix(bench):
    source = bench.finished(bench.create(seed=1))
    path = f"/v1/videos/{source['id']}/remix"
    other = "a small blue ball is dropped and bounces once"
    answer = bench.call("POST", path, json={"prompt": other, "seed": 2, "strength": 0.25}).json()
    job, parts = bench.row(answer), (bench.pipeline, bench.studio.media, bench.studio.store)
    request = build_request(job, *parts)
    assert (request.strength, request.seed, request.prompt) == (0.25, 2, other)
    assert request.remixed.provenance["seed"] == 1
    remixed = bench.finished(answer)
    assert (remixed["status"], remixed["remixed_from_video_id"]) == ("completed", source["id"])
    assert jobs.find_clip(bench.studio.store, remixed["id"]).provenance["task"] == "remixed"


def test_edit_and_extension(bench):
    """By id in JSON, by id in a form, and of a file."""
    source = bench.finished(bench.create(seed=1))
    file = {"video": ("clip.mp4", bench.content(source), "video/mp4")}
    edited = bench.call("POST", "/v1/videos/edits", data={"prompt": PROMPT}, files=file).json()
    fields = {"prompt": PROMPT, "seconds": "1", "video": {"id": source["id"]}}
    by_id = bench.call("POST", "/v1/videos/extensions", json=fields).json()
    form = {"prompt": PROMPT, "seconds": "2", "video[id]": source["id"]}
    by_form = bench.call("POST", "/v1/videos/extensions", data=form).json()
    given = {"prompt": PROMPT, "seconds": "1"}
    of_file = bench.call("POST", "/v1/videos/extensions", data=given, files=file).json()
    expected = ((edited, "1", 9), (by_id, "2", 17), (by_form, "3", 25), (of_file, "2", 17))
    for video, seconds, frames in expected:
        done = bench.finished(video)
        assert (done["status"], done["seconds"]) == ("completed", seconds), done
        with av.open(io.BytesIO(bench.content(done))) as clip:
            assert sum(1 for _ in clip.decode(video=0)) == frames
    assert edited["remixed_from_video_id"] is None


def test_pages_to_the_end(bench):
    """Every page, in both orders; a deleted cursor still works."""
    made = [bench.create()["id"] for _ in range(7)]
    for order, expected in (("asc", made), ("desc", made[::-1])):
        seen, after, pages = [], {}, 0
        while True:
            query = {"limit": 3, "order": order} | after
            page = bench.call("GET", "/v1/videos", params=query).json()
            seen += [video["id"] for video in page["data"]]
            pages += 1
            if not page["has_more"]:
                break
            after = {"after": page["last_id"]}
        assert (seen, pages) == (expected, 3)
    bench.call("DELETE", f"/v1/videos/{made[2]}")
    page = bench.call("GET", "/v1/videos", params={"after": made[2], "order": "asc"}).json()
    assert [video["id"] for video in page["data"]] == made[3:]
    assert page["first_id"] == made[3] and page["last_id"] == made[6] and not page["has_more"]


def test_an_empty_list(bench):
    page = bench.call("GET", "/v1/videos").json()
    assert page == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False
    }  # fmt: skip


def test_delete(bench):
    """The clip, its files and its signed URLs are gone."""
    done = bench.finished(bench.create())
    signed = done["content_urls"]["video"]
    assert bench.call("GET", signed).status_code == 200
    folder = bench.studio.media.path(f"clips/{done['id']}")
    assert list(folder.glob("*/video.mp4"))
    answer = bench.call("DELETE", f"/v1/videos/{done['id']}")
    assert answer.json() == {"id": done["id"], "object": "video.deleted", "deleted": True}
    assert not list(folder.glob("*/*"))
    refused(bench.call("GET", f"/v1/videos/{done['id']}"), 404, "not_found", "video_id")
    refused(bench.call("GET", signed), 404, "not_found", "video_id")


def test_ranges(shared):
    path = f"/v1/videos/{shared.clip['id']}/content"
    answer = shared.call("GET", path, headers={"range": "bytes=4-7"})
    assert (answer.status_code, answer.content) == (206, b"ftyp")


def test_a_clip_whose_prompt_has_no_known_word_fails_alone(bench):
    """A failed job tells why, and its neighbour of the same batch is made."""
    bad, good = bench.create(prompt="zxqv blorp"), bench.create()
    assert bench.finished(good)["status"] == "completed"
    failed = bench.get(bad)
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "invalid_prompt", failed
    told = failed["error"]["message"]
    assert "\n" not in told
    assert "any_words" not in told and told.endswith(f'a clip such as "{PROMPT}"'), told


def test_a_deleted_source_fails_its_remix(bench):
    source = bench.finished(bench.create())
    remix = bench.call("POST", f"/v1/videos/{source['id']}/remix", json={"prompt": PROMPT}).json()
    bench.call("DELETE", f"/v1/videos/{source['id']}")
    assert bench.finished(remix)["error"]["code"] == "source_deleted"


def test_sprites_are_in_reading_order():
    frames = np.arange(30, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 4, 3), np.uint8)
    sheet = sprites(frames)
    assert sheet.shape == (10, 20, 3)
    cells = sheet[::2, ::4, 0].ravel()
    assert cells[0] == 0 and cells[-1] == 29 and (np.diff(cells.astype(int)) >= 1).all()


@pytest.mark.parametrize("count", range(1, 31))
def test_a_sprite_sheet_has_no_empty_cell(count):
    """Every cell is another frame, from the first to the last."""
    shades = np.arange(9, 9 + count, dtype=np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (count, 2, 4, 3))
    cells = sprites(frames)[::2, ::4, 0].ravel().astype(int)
    assert (cells[0], cells[-1]) == (9, 8 + count) or count == 1
    assert (np.diff(cells) >= 1).all() and min(count, 25) * 0.75 <= len(cells) <= 25
