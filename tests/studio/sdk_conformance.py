"""Drives a server of the Videos API by the official `openai` package, and prints what agrees.

    pip install openai
    python tests/studio/sdk_conformance.py --base_url=http://127.0.0.1:8000/v1

It needs nothing of this project, so it can be pointed at any server. --prompt, --seconds and --size
are those of a clip that the server can make. Clips that it makes are deleted at the end. The exit
status is the number of checks that fail.

Ten endpoints are those of OpenAI. What this project has beside them (challenges, grants, checks of
provenance, cancel) is skipped where it is missing. --capture is a command that writes an mp4 file
to stdout, in which its last arguments, the words of a phrase, are said:

    --capture="python tests/studio/film_capture.py --actor=3"
"""

import argparse
import asyncio
import base64
import io
import shlex
import struct
import subprocess
import sys
import time
import traceback
import warnings
import zlib

import openai

warnings.simplefilter("ignore", DeprecationWarning)
ROWS = []


class Skipped(Exception):
    """A check whose precondition failed."""


def check(name):
    """Decorator: adds a check to the table, in order of definition."""

    def add(function):
        ROWS.append((name, function))
        return function

    return add


class Context:
    """What the checks share: clients, options, and the clip made first."""

    def __init__(self, options):
        self.options = options
        self.client = openai.OpenAI(
            base_url=options.base_url, api_key=options.api_key, max_retries=0
        )
        self.made, self.clip, self.seconds = [], None, {}
        self.fields = {"prompt": options.prompt}
        self.fields |= {
            n: v for n, v in (("seconds", options.seconds), ("size", options.size)) if v
        }

    def keep(self, video):
        self.made.append(video.id)
        return video

    def finished(self, video):
        done = self.client.videos.poll(video.id)
        assert done.status == "completed", f"{done.status}: {done.error}"
        return done

    def need_clip(self):
        if self.clip is None:
            raise Skipped("no clip was made")
        return self.clip


def png(width, height):
    """A grey PNG."""
    rows = b"".join(b"\0" + b"\x80" * 3 * width for _ in range(height))

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def raises(kind, status, function, *arguments, **named):
    """Calls a function, and returns the error of a kind that it must raise."""
    try:
        function(*arguments, **named)
    except openai.APIStatusError as error:
        assert isinstance(error, kind), f"{type(error).__name__}: {error}"
        assert error.status_code == status, error.status_code
        body = error.response.json()["error"]
        assert {"message", "type", "param", "code"} <= body.keys(), body
        assert body["message"] and "\n" not in body["message"], body
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


@check("create (multipart without a file)")
def _(c):
    video = c.keep(c.client.videos.create(**c.fields))
    assert video.object == "video" and video.status in ("queued", "in_progress"), video
    assert isinstance(video.created_at, int) and isinstance(video.seconds, str)
    assert video.prompt == c.options.prompt


@check("create_and_poll to completed")
def _(c):
    started = time.monotonic()
    video = c.keep(c.client.videos.create_and_poll(**c.fields))
    assert video.status == "completed" and video.progress == 100, video
    assert video.completed_at and video.expires_at and video.error is None
    c.clip = video
    c.seconds["create_and_poll"] = time.monotonic() - started


@check("poll header openai-poll-after-ms")
def _(c):
    video = c.keep(c.client.videos.create(**c.fields))
    raw = c.client.videos.with_raw_response.retrieve(video.id)
    status = raw.parse().status
    assert status in ("completed", "failed") or raw.headers.get("openai-poll-after-ms"), status
    c.finished(video)


@check("model name sora-2")
def _(c):
    video = c.keep(c.client.videos.create(model="sora-2", **c.fields))
    assert video.model


@check("retrieve")
def _(c):
    assert c.client.videos.retrieve(c.need_clip().id).id == c.clip.id


@check("list: pages to the end, both orders")
def _(c):
    c.need_clip()
    new = [video.id for video in c.client.videos.list(limit=2)]
    old = [video.id for video in c.client.videos.list(limit=3, order="asc")]
    assert len(new) == len(set(new)) and set(c.made) <= set(new)
    assert new == old[::-1], (new, old)


@check("download video: a whole mp4")
def _(c):
    content = c.client.videos.download_content(c.need_clip().id).read()
    assert content[4:8] == b"ftyp" and b"moov" in content and b"mdat" in content
    assert len(content) > 1000


@check("download thumbnail and spritesheet")
def _(c):
    for variant in ("thumbnail", "spritesheet"):
        content = c.client.videos.download_content(c.need_clip().id, variant=variant).read()
        known = (b"RIFF", b"\xff\xd8\xff", b"\x89PNG")
        assert content.startswith(known), (variant, content[:8])


@check("streaming response")
def _(c):
    stream = c.client.videos.with_streaming_response.download_content(c.need_clip().id)
    with stream as response:
        assert b"".join(response.iter_bytes())[4:8] == b"ftyp"


@check("remix (JSON)")
def _(c):
    video = c.keep(c.client.videos.remix(c.need_clip().id, prompt=c.options.prompt))
    assert video.remixed_from_video_id == c.clip.id
    c.finished(video)


@check("edit of an uploaded file")
def _(c):
    content = c.client.videos.download_content(c.need_clip().id).read()
    file = ("clip.mp4", io.BytesIO(content), "video/mp4")
    c.finished(c.keep(c.client.videos.edit(prompt=c.options.prompt, video=file)))


@check("extend by id (video[id] of extra_body)")
def _(c):
    before = float(c.need_clip().seconds)
    video = c.client.videos.extend(
        prompt=c.options.prompt,
        seconds="4",
        video=openai.omit,
        extra_body={"video": {"id": c.clip.id}},
    )
    done = c.finished(c.keep(video))
    assert float(done.seconds) == before + 4, done.seconds


@check("extend by id (JSON, client.post)")
def _(c):
    body = {"prompt": c.options.prompt, "seconds": "4", "video": {"id": c.need_clip().id}}
    kind = type(c.clip)
    c.finished(c.keep(c.client.post("/videos/extensions", body=body, cast_to=kind)))


@check("create with a first frame (file)")
def _(c):
    width, height = map(int, c.need_clip().size.split("x"))
    file = ("frame.png", io.BytesIO(png(width, height)), "image/png")
    c.finished(c.keep(c.client.videos.create(input_reference=file, **c.fields)))


@check("create with a first frame (input_reference[image_url])")
def _(c):
    width, height = map(int, c.need_clip().size.split("x"))
    url = "data:image/png;base64," + base64.b64encode(png(width, height)).decode()
    extra = {"input_reference": {"image_url": url}}
    c.finished(c.keep(c.client.videos.create(extra_body=extra, **c.fields)))


@check("first frame of another size: 400")
def _(c):
    width, height = map(int, c.need_clip().size.split("x"))
    file = ("frame.png", io.BytesIO(png(width + 2, height)), "image/png")
    create = c.client.videos.create
    error = raises(openai.BadRequestError, 400, create, input_reference=file, **c.fields)
    assert "Inpaint image must match the requested width and height" in error.message


@check("create_character, get_character")
def _(c):
    content = c.client.videos.download_content(c.need_clip().id).read()
    file = ("clip.mp4", io.BytesIO(content), "video/mp4")
    made = c.client.videos.create_character(name="Mika", video=file)
    assert made.id and made.name == "Mika" and made.created_at
    assert c.client.videos.get_character(made.id).id == made.id
    c.character = made.id


@check("a character that is not verified: 403")
def _(c):
    if not hasattr(c, "character"):
        raise Skipped("no character was made")
    extra = {"characters": [{"id": c.character}, {"id": c.character}]}
    create = c.client.videos.create
    error = raises(openai.PermissionDeniedError, 403, create, extra_body=extra, **c.fields)
    assert error.code == "character_not_verified"


def post(c, path, body):
    """The JSON of a POST beside OpenAI's endpoints."""
    try:
        return c.client.post(path, body=body, cast_to=object)
    except openai.NotFoundError:
        raise Skipped(f"the server has no {path}") from None


@check("a challenge: once, and no generated clip passes")
def _(c):
    challenge = post(c, "/characters/challenges", {})
    assert len(challenge["phrase"].split()) == 3 and challenge["expires_at"] > time.time()
    content = c.client.videos.download_content(c.need_clip().id).read()
    extra = {"challenge_id": challenge["id"]}

    def record():
        file = ("clip.mp4", io.BytesIO(content), "video/mp4")
        return c.client.videos.create_character(name="Nobody", video=file, extra_body=extra)

    made = record()
    assert made.status == "rejected" and made.reason, made
    error = raises(openai.BadRequestError, 400, record)
    assert error.code == "invalid_challenge", error.code


@check("a capture becomes a verified character; grants")
def _(c):
    if not c.options.capture:
        raise Skipped("no --capture")
    challenge = post(c, "/characters/challenges", {})
    command = [*shlex.split(c.options.capture), *challenge["phrase"].split()]
    film = subprocess.run(command, capture_output=True, check=True).stdout
    extra, name = {"challenge_id": challenge["id"]}, f"actor {int(time.time())}"
    file = ("me.mp4", io.BytesIO(film), "video/mp4")
    made = c.client.videos.create_character(name=name, video=file, extra_body=extra)
    assert made.status == "verified", made
    path = f"/characters/{made.id}"
    try:
        assert c.client.videos.get_character(made.id).handle == name.replace(" ", "_")
        assert post(c, f"{path}/grants", {"account": "everyone"})["account"] == "everyone"
        rules = {"restrictions": ["no throw"]}
        assert c.client.put(f"{path}/restrictions", body=rules, cast_to=object)["data"]
        assert c.client.get(f"{path}/clips", cast_to=object)["data"] == []
    finally:
        c.client.delete(path, cast_to=object)


@check("content_provenance_checks of a video")
def _(c):
    content = c.client.videos.download_content(c.need_clip().id).read()
    headers = {"headers": {"Content-Type": "multipart/form-data"}}
    files = [("file", ("clip.mp4", io.BytesIO(content), "video/mp4"))]
    post_ = c.client.post
    try:
        path = "/content_provenance_checks"
        found = post_(path, body={}, files=files, options=headers, cast_to=object)
    except openai.NotFoundError:
        raise Skipped("the server has no checks") from None
    assert found["object"] == "content_provenance_check", found
    assert found["results"][0]["validation_state"] == "trusted", found
    assert found["results"][0]["video_id"] == c.clip.id, found


@check("cancel")
def _(c):
    video = c.keep(c.client.videos.create(**c.fields))
    try:
        ended = post(c, f"/videos/{video.id}/cancel", {})
    except openai.ConflictError:
        return  # it was finished already
    assert ended["error"]["code"] == "cancelled", ended


@check("an impossible size: 400")
def _(c):
    fields = {**c.fields, "size": "77x33"}
    error = raises(openai.BadRequestError, 400, c.client.videos.create, **fields)
    assert error.param == "size"


@check("an impossible duration: 400")
def _(c):
    fields = {**c.fields, "seconds": "3599"}
    error = raises(openai.BadRequestError, 400, c.client.videos.create, **fields)
    assert error.param == "seconds"


@check("an unknown video: 404")
def _(c):
    error = raises(openai.NotFoundError, 404, c.client.videos.retrieve, "video_0")
    assert error.code and error.param


@check("content of an unfinished video: 409 or 404")
def _(c):
    video = c.keep(c.client.videos.create(**c.fields))
    try:
        c.client.videos.download_content(video.id).read()
    except (openai.ConflictError, openai.NotFoundError) as error:
        assert error.body
    else:
        assert c.client.videos.retrieve(video.id).status == "completed"


@check("a wrong key: 401")
def _(c):
    if not c.options.api_key_needed:
        raise Skipped("the server asks for no key; give --api_key")
    other = c.client.with_options(api_key="sk-wrong")
    raises(openai.AuthenticationError, 401, other.videos.retrieve, "video_0")


@check("asynchronous client")
def _(c):
    async def drive():
        options = c.options
        async with openai.AsyncOpenAI(base_url=options.base_url, api_key=options.api_key) as client:
            video = c.keep(await client.videos.create_and_poll(**c.fields))
            assert video.status == "completed", video
            content = await client.videos.download_content(video.id)
            assert content.content[4:8] == b"ftyp"

    asyncio.run(drive())


@check("delete; then 404")
def _(c):
    for video in dict.fromkeys(c.made):
        deleted = c.client.videos.delete(video)
        assert deleted.deleted is True and deleted.object == "video.deleted", deleted
        assert deleted.id == video
        raises(openai.NotFoundError, 404, c.client.videos.retrieve, video)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base_url", required=True, help="such as http://127.0.0.1:8000/v1")
    parser.add_argument("--api_key", default="", help="default: none is needed")
    parser.add_argument("--prompt", default="a large red ball is dropped and bounces twice")
    parser.add_argument("--seconds", default="", help="default: the server's")
    parser.add_argument("--size", default="", help="default: the server's")
    parser.add_argument("--capture", default="", help="command that films a phrase; see above")
    parser.add_argument("--verbose", action="store_true", help="print where a check failed")
    options = parser.parse_args()
    options.api_key_needed, options.api_key = bool(options.api_key), options.api_key or "none"
    context, failed = Context(options), 0
    print(f"openai {openai.__version__}, {options.base_url}\n")
    print("| check | result | seconds |\n|---|---|---|")
    for name, function in ROWS:
        started = time.monotonic()
        try:
            function(context)
            result = "yes"
        except Skipped as reason:
            result = f"skipped: {reason}"
        except Exception as error:
            failed += 1
            result = " ".join(f"NO: {type(error).__name__}: {error}".split())[:200]
            if options.verbose:
                traceback.print_exc()
        print(f"| {name} | {result} | {time.monotonic() - started:.1f} |", flush=True)
    print(f"\n{len(ROWS) - failed} of {len(ROWS)} without a failure")
    sys.exit(failed)


if __name__ == "__main__":
    main()
