"""Attacks by malformed requests and files, against a real server. None of them makes it fail, and
nothing of them stays.
"""

import gzip
import io
import json
import struct
import zlib

import av
import httpx
import numpy as np
import pytest
from PIL import Image
from real_server import ROOT, Server
from studio_parts import PROMPT, refused

pytestmark = pytest.mark.slow
VIDEOS = "/v1/videos"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_stays(server):
    """After each attack the server lives, its log has no traceback and its store no new file."""
    before = stored(server)
    yield
    assert server.get("/healthz").status_code == 200
    assert "Traceback" not in (server.folder / "log").read_text()
    assert stored(server) == before


def stored(server):
    return {path for path in (server.folder / "media").rglob("*") if path.is_file()}


def sent(server, field, content, path="/v1/videos/edits", name="a.mp4", **data):
    files = {field: (name, content)}
    return server.call("mallory", "POST", path, data={"prompt": PROMPT, **data}, files=files)


def test_a_path_in_a_name(server):
    """Of a file, of a character, and of an id."""
    answer = sent(server, "video", b"no video", name="../../../evil.mp4")
    refused(answer, 400, "invalid_value", "video")
    assert not list(ROOT.rglob("evil.mp4"))
    for name in ("..%2f..%2fstudio.sqlite", "%2e%2e/%2e%2e/etc/passwd", "..%5c..", "%00"):
        for place in (f"{VIDEOS}/{name}/content", f"/v1/characters/{name}/clips"):
            answer = server.call("mallory", "GET", place)
            assert answer.status_code in (400, 404), (place, answer.text)
            assert "error" in answer.json()


def test_a_script_in_a_title(server):
    """It comes back as JSON that no browser takes for a page."""
    name = "<script>alert(1)</script>"
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "png")
    answer = sent(server, "video", picture.getvalue(), "/v1/characters", name=name)
    assert "<script>" not in answer.text
    answer = server.call("mallory", "GET", f"/v1/{name}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_sql_in_a_cursor(server):
    for text in ("' OR 1=1 --", "video_0'; DROP TABLE jobs; --", "\0", "%", "_" * 99):
        for place in (VIDEOS,):
            answer = server.call("mallory", "GET", place, params={"after": text})
            assert answer.status_code == 400, answer.text
        answer = server.call("mallory", "POST", "/v1/follows", json={"account": text})
        assert answer.status_code == 400, answer.text
    assert server.call("mallory", "GET", VIDEOS).status_code == 200


def test_a_multipart_bomb(server):
    """Many parts, many files, names nested deeply, and a part that is too large."""
    many = {f"f{i}": (None, "x") for i in range(20_000)}
    refused(server.call("mallory", "POST", VIDEOS, files=many), 400, "invalid_form")
    files = [("video", ("a", b"x")) for _ in range(1_000)]
    refused(server.call("mallory", "POST", VIDEOS, files=files), 400, "invalid_form")
    deep = {"a" + "[b]" * 5_000: (None, "1")}
    assert server.call("mallory", "POST", VIDEOS, files=deep).status_code == 400
    large = {"prompt": (None, "x" * (22 << 20))}
    assert server.call("mallory", "POST", VIDEOS, files=large).status_code in (400, 413)
    whole = sent(server, "video", b"\0" * (65 << 20))
    refused(whole, 413, "body_too_large")


def test_a_zip_bomb(server):
    """A body that would unpack to 1 GB is not unpacked; neither is a picture of 30,000 pixels a
    side, nor one whose data are more than its pixels.
    """
    bomb = gzip.compress(b" " * (100 << 20), 1)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = server.call("mallory", "POST", VIDEOS, content=bomb, headers=headers)
    refused(answer, 400, "invalid_json")

    def png(width, height, data):
        def chunk(kind, body):
            return struct.pack(">I", len(body)) + kind + body + struct.pack(
                ">I", zlib.crc32(kind + body)
            )  # fmt: skip

        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(
            b"IEND", b""
        )  # fmt: skip

    zeros = zlib.compress(b"\0" * (200 << 20), 9)
    for picture, place, field in (
        (png(30_000, 30_000, zeros), VIDEOS, "input_reference"),
        (png(30_000, 30_000, zeros), "/v1/videos/characters", "video"),
    ):
        fields = {"size": "64x64"} if place == VIDEOS else {"name": "x"}
        data = {"prompt": PROMPT} if place == VIDEOS else {}
        files = {field: ("a.png", picture)}
        answer = server.call("mallory", "POST", place, data=data | fields, files=files)
        assert answer.status_code in (400, 422), answer.text


def movie(count, rate, side=16):
    """An mp4 of black frames."""
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=rate)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8))
        for i in range(count):
            frame.pts = i
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return data.getvalue()


def test_an_mp4_of_a_hundred_thousand_frames(server):
    """An hour of them is too long, and 50 s of them are too many a second."""
    refused(sent(server, "video", movie(100_000, 30)), 400, "invalid_value", "video")
    refused(sent(server, "video", movie(100_000, 2_000)), 400, "invalid_value", "video")


def test_files_that_lie_about_their_type(server):
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "bmp")
    refused(sent(server, "video", picture.getvalue()), 400, "invalid_value", "video")
    lies = b"\0\0\0\x18ftypisom" + np.random.default_rng(0).bytes(50_000)
    refused(sent(server, "video", lies), 422, "unreadable", "video")
    answer = sent(server, "input_reference", picture.getvalue(), VIDEOS, name="a.png")
    refused(answer, 400, "invalid_value", "input_reference")
    check = "/v1/content_provenance_checks"
    for content in (picture.getvalue(), b"", b"PK\3\4" + b"\0" * 99):
        answer = server.call("mallory", "POST", check, files={"file": ("a.mp4", content)})
        refused(answer, 400, "invalid_value", "file")
    answer = server.call("mallory", "POST", check, files={"file": ("a.mp4", lies)})
    refused(answer, 422, "unreadable", "file")


def test_a_request_of_another_origin(server):
    """A form of another page has no key, and no header of it lets that page read an answer."""
    for method, place in (("POST", VIDEOS), ("DELETE", f"{VIDEOS}/video_0")):
        headers = {"origin": "https://evil.example", "cookie": "session=1; key=1"}
        answer = httpx.request(method, server.base + place, data={"prompt": "x"}, headers=headers)
        refused(answer, 401, "invalid_api_key")
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    preflight = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = httpx.options(server.base + VIDEOS, headers=preflight)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_body_that_never_ends(server):
    """A stream without a stated length is cut at the limit."""

    def stream():
        for _ in range(100):
            yield b" " * (1 << 20)

    headers = {"content-type": "application/json"}
    answer = server.call("mallory", "POST", VIDEOS, content=stream(), headers=headers)
    refused(answer, 413, "body_too_large")
    nested = json.dumps({"prompt": "x"}).replace('"x"', "[" * 100_000)
    answer = server.call("mallory", "POST", VIDEOS, content=nested, headers=headers)
    refused(answer, 400, "invalid_json")
