"""Malformed requests: each gets a status of 4xx with one line, in the shape of the API."""

import io
import json
import logging
import struct
import zlib

import httpx
import pytest
from PIL import Image
from studio_parts import PROMPT, refused

from sora_jax.errors import UserError
from sora_jax.studio.database import models
from sora_jax.studio.endpoints import bodies
from sora_jax.studio.problems import Problem
from sora_jax.studio.storage.content import Signer
from sora_jax.studio.storage.media_store import MediaStore

VIDEOS = "/v1/videos"


def post(shared, path=VIDEOS, **fields):
    return shared.call("POST", path, json={"prompt": PROMPT, **fields})


@pytest.mark.parametrize(
    "fields, code, param",
    [
        ({"prompt": None}, "missing_parameter", "prompt"),
        ({"prompt": " "}, "invalid_value", "prompt"),
        ({"prompt": 3}, "invalid_type", "prompt"),
        ({"prompt": "a\0b"}, "invalid_value", "prompt"),
        ({"prompt": "ball \ud800"}, "invalid_value", "prompt"),
        ({"prompt": "x" * 32_001}, "invalid_value", "prompt"),
        ({"prompt": "[SHOT 1 | nonsense"}, "invalid_value", "prompt"),
        ({"seconds": "soon"}, "invalid_value", "seconds"),
        ({"seconds": True}, "invalid_value", "seconds"),
        ({"seconds": -1}, "invalid_value", "seconds"),
        ({"seconds": 1e300}, "invalid_value", "seconds"),
        ({"size": "77x33"}, "invalid_value", "size"),
        ({"size": 16}, "invalid_type", "size"),
        ({"model": "veo-3"}, "model_not_found", "model"),
        ({"seed": 2**32}, "invalid_value", "seed"),
        ({"seed": 1.5}, "invalid_value", "seed"),
        ({"steps": 1_001}, "invalid_value", "steps"),
        ({"guidance": "NaN"}, "invalid_value", "guidance"),
        ({"sede": 1}, "unknown_parameter", "sede"),
        ({"input_reference": "a.png"}, "invalid_value", "input_reference"),
        ({"input_reference": {"file_id": "f"}}, "invalid_value", "input_reference"),
        (
            {"input_reference": {"image_url": "http://169.254.169.254/"}},
            "invalid_value",
            "input_reference",
        ),
        (
            {"input_reference": {"image_url": "data:image/png;base64,%%%"}},
            "invalid_value",
            "input_reference",
        ),
        ({"characters": "mika"}, "invalid_value", "characters"),
        ({"characters": [{"name": "mika"}]}, "invalid_value", "characters"),
        ({"characters": [{"id": "a"}] * 3}, "invalid_value", "characters"),
    ],
)
def test_fields_of_create(shared, fields, code, param):
    body = json.dumps({"prompt": PROMPT, **fields})
    answer = shared.call("POST", VIDEOS, content=body, headers={"content-type": "application/json"})
    refused(answer, 400, code, param)


@pytest.mark.parametrize(
    "kind, body, code",
    [
        ("application/json", b"{", "invalid_json"),
        ("application/json", b"[1]", "invalid_json"),
        ("application/json", b'{"prompt": NaN}', "invalid_json"),
        ("application/json", b"[" * 200_000, "invalid_json"),
        ("application/json", b"\xff\xfe\x00", "invalid_json"),
        ("text/plain", b"prompt", "unsupported_content_type"),
        ("multipart/form-data", b"--x--", "invalid_form"),
        ("multipart/form-data; boundary=x", b"no form", "invalid_form"),
    ],
)
def test_bodies(shared, kind, body, code):
    answer = shared.call("POST", VIDEOS, content=body, headers={"content-type": kind})
    refused(answer, 400, code)


def test_forms_with_too_many_parts(shared):
    fields = {f"f{i}": "x" for i in range(bodies.MOST_FIELDS + 1)}
    answer = shared.call("POST", VIDEOS, data=fields, files={"a": ("a", b"")})
    refused(answer, 400, "invalid_form")
    files = [("a", ("a", b"")) for _ in range(bodies.MOST_FILES + 1)]
    refused(shared.call("POST", VIDEOS, files=files), 400, "invalid_form")


@pytest.mark.parametrize("name", ["[a]", "a[b", "a[b][c][d][e]", "a]b", ""])
def test_names_of_form_fields(shared, name):
    answer = shared.call("POST", VIDEOS, files={name or "x[": (None, "1")})
    refused(answer, 400, "invalid_form")


def form(*pairs):
    fields = {}
    for name, value in pairs:
        match = bodies.NAME.fullmatch(name)
        bodies._put(fields, [match[1], *bodies.KEYS.findall(match[2])], value, name)
    return fields


def test_bracket_names():
    """As the official package writes them; the order of repeated names matters."""
    assert form(("video[id]", "a"), ("b", "1")) == {"video": {"id": "a"}, "b": "1"}
    pairs = [("c[][id]", "a"), ("c[][id]", "b"), ("c[][x]", "2")]
    assert form(*pairs) == {"c": [{"id": "a"}, {"id": "b", "x": "2"}]}
    assert form(("c[]", "a"), ("c[]", "b")) == {"c": ["a", "b"]}
    for twice in ([("a", "1")] * 2, [("a", "1"), ("a[b]", "1")], [("a[]", "1"), ("a[b]", "1")]):
        with pytest.raises(Problem):
            form(*twice)


def test_a_body_beyond_the_limit(bench):
    """By its stated length, and by its true one without a stated length."""
    bench.with_limits(upload_bytes=1000)
    refused(post(bench, negative_prompt="x" * 2000), 413, "body_too_large")

    async def stream():
        for _ in range(20):
            yield b" " * 100

    kind = {"content-type": "application/json"}
    answer = bench.call("POST", VIDEOS, content=stream(), headers=kind)
    refused(answer, 413, "body_too_large")
    assert post(bench).status_code == 200


@pytest.mark.parametrize(
    "query, code, param",
    [
        ({"limit": "0"}, "invalid_value", "limit"),
        ({"limit": "101"}, "invalid_value", "limit"),
        ({"limit": "x"}, "invalid_value", "limit"),
        ({"order": "up"}, "invalid_value", "order"),
        ({"after": "video_0"}, "invalid_cursor", "after"),
        ({"after": "' OR 1=1; DROP TABLE jobs; --"}, "invalid_cursor", "after"),
    ],
)
def test_pages(shared, query, code, param):
    refused(shared.call("GET", VIDEOS, params=query), 400, code, param)
    assert shared.call("GET", VIDEOS).json()["data"]


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", f"{VIDEOS}/video_0"),
        ("DELETE", f"{VIDEOS}/video_0"),
        ("GET", f"{VIDEOS}/video_0/content"),
        ("GET", f"{VIDEOS}/..%2f..%2fetc%2fpasswd"),
    ],
)
def test_unknown_videos(shared, method, path):
    answer = shared.call(method, path)
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "not_found"


def test_unknown_paths_and_methods(shared):
    refused(shared.call("GET", "/v1/images"), 404, "not_found")
    refused(shared.call("PUT", VIDEOS), 405, "method_not_allowed")
    refused(shared.call("GET", f"{VIDEOS}/characters/char_0"), 404, "not_found", "character_id")


def test_content(shared, bench):
    path = f"{VIDEOS}/{shared.clip['id']}/content"
    refused(shared.call("GET", path, params={"variant": "../x"}), 400, "invalid_value", "variant")
    queued = bench.create()
    answer = bench.call("GET", f"{VIDEOS}/{queued['id']}/content")
    refused(answer, 409, "video_not_ready")
    assert answer.headers["x-should-retry"] == "false"
    answer = bench.call("POST", f"{VIDEOS}/{queued['id']}/remix", json={"prompt": PROMPT})
    refused(answer, 409, "video_not_ready")


def mp4_head(size=400):
    return struct.pack(">I4s4sI", 20, b"ftyp", b"isom", 0) + b"isom" + b"\0" * size


@pytest.mark.parametrize(
    "content, status, code",
    [
        (b"", 400, "invalid_value"),
        (b"GIF89a" + b"\0" * 100, 400, "invalid_value"),
        (b"PK\3\4" + b"\0" * 100, 400, "invalid_value"),
        (mp4_head(), 422, "unreadable"),
    ],
)
def test_files_that_are_no_videos(shared, content, status, code):
    """They are not kept."""
    for path, field in (("edits", "prompt"), ("extensions", "prompt"), ("characters", "name")):
        files = {"video": ("../../etc/clip.mp4", content, "video/mp4")}
        answer = shared.call("POST", f"{VIDEOS}/{path}", data={field: "x"}, files=files)
        refused(answer, status, code, "video")
    kept = [p for p in shared.studio.media.folder.rglob("*") if p.is_file()]
    assert {path.relative_to(shared.studio.media.folder).parts[0] for path in kept} == {"clips"}


def test_a_video_that_is_too_long(bench, shared):
    bench.studio.videos.most_seconds = 0.5
    files = {"video": ("clip.mp4", shared.content(shared.clip))}
    answer = bench.call("POST", f"{VIDEOS}/edits", data={"prompt": PROMPT}, files=files)
    assert "lasts 1.125 s" in refused(answer, 400, "invalid_value", "video")


def test_pictures(shared):
    whole = io.BytesIO()
    Image.effect_noise((16, 16), 90).convert("RGB").save(whole, "png")
    head = struct.pack(">4sIIBBBBB", b"IHDR", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head
    bomb += struct.pack(">I", zlib.crc32(head))
    cases = (
        (b"not a picture", 400, "invalid_value"),
        (whole.getvalue()[:200], 422, "unreadable"),
        (bomb, 400, "invalid_value"),
    )
    for content, status, code in cases:
        files = {"input_reference": ("a.png", content)}
        answer = shared.call("POST", VIDEOS, data={"prompt": PROMPT}, files=files)
        refused(answer, status, code, "input_reference")


def test_an_edit_of_one_shot_needs_shots(shared):
    fields = {"prompt": PROMPT, "video": {"id": shared.clip["id"]}, "shot": 1}
    refused(shared.call("POST", f"{VIDEOS}/edits", json=fields), 400, "invalid_value", "shot")
    fields["video"] = {"id": 3}
    answer = shared.call("POST", f"{VIDEOS}/edits", json=fields)
    refused(answer, 400, "missing_parameter", "video")


def test_extensions_are_limited(shared):
    fields = {"prompt": PROMPT, "video": {"id": shared.clip["id"]}}
    for seconds in ("61", "0.1", "0"):
        answer = post(shared, f"{VIDEOS}/extensions", **fields, seconds=seconds)
        refused(answer, 400, "invalid_value", "seconds")


def test_a_character_is_not_verified(shared):
    """No generation is accepted with a character, and it belongs to its account."""
    files = {"video": ("clip.mp4", shared.content(shared.clip))}
    name = "<script>alert(1)</script>"
    answer = shared.call("POST", f"{VIDEOS}/characters", data={"name": name}, files=files)
    character = answer.json()
    assert character["name"] == name and character["status"] == "unverified"
    found = shared.call("GET", f"{VIDEOS}/characters/{character['id']}")
    assert found.json() == character and found.headers["x-content-type-options"] == "nosniff"
    for ids in ([character["id"]], ["char_guessed"], [character["id"], "char_guessed"]):
        answer = post(shared, characters=[{"id": one} for one in ids])
        refused(answer, 403, "character_not_verified", "characters")


def test_before_a_worker_was_ever_ready(bench):
    """Nobody knows which clips can be made."""
    with bench.studio.store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM workers")
    answer = post(bench)
    refused(answer, 503, "not_ready")
    assert answer.headers["retry-after-ms"] == "5000"
    assert models.ready(bench.studio.store) == 0
    answer = bench.call("GET", "/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "loading", "workers": 0})


def test_a_failure_of_the_code_is_one_line(bench, monkeypatch, caplog):
    """Status 500, and the traceback is in the log alone."""

    def broken(*_):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(models, "current", broken)
    with caplog.at_level(logging.ERROR, "sora_jax.studio"):
        answer = post(bench)
    refused(answer, 500, "server_error")
    assert "secret" not in answer.text and "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "key", ["../x", "/etc/passwd", "a/../../x", "", "a//b", "a\\..", ".x", "a\0"]
)
def test_keys_of_files_stay_in_the_folder(tmp_path, key):
    with pytest.raises((UserError, ValueError)):
        MediaStore(tmp_path / "media").path(key)


def test_a_link_does_not_lead_out_of_the_folder(tmp_path):
    store = MediaStore(tmp_path / "media")
    (store.folder / "out").symlink_to(tmp_path)
    with pytest.raises(UserError, match="no key"):
        store.path("out/x")


def test_signed_urls(bench, monkeypatch):
    """They need no key, and nothing in them can be changed; they end."""
    done = bench.finished(bench.create())
    url = httpx.URL(done["content_urls"]["video"])
    assert bench.call("GET", str(url)).content[4:8] == b"ftyp"
    for name, value in (
        ("variant", "thumbnail"),
        ("viewer", "acct_0"),
        ("viewer", ""),
        ("expires", str(int(url.params["expires"]) + 1)),
        ("expires", "1e20"),
        ("expires", ""),
        ("signature", "0" * 64),
        ("signature", "\u00e9"),
    ):
        changed = url.copy_set_param(name, value)
        refused(bench.call("GET", str(changed)), 403, "invalid_signature")
    other = str(url).replace(done["id"], "video_" + "0" * 32)
    refused(bench.call("GET", other), 403, "invalid_signature")
    ended = Signer(bench.studio.store).url(
        done["id"], "video", done["created_at"] - 1, url.params["viewer"]
    )
    refused(bench.call("GET", ended), 403, "url_expired")
