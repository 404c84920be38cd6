"""The endpoints of videos: create, remix, edit, extend, list, retrieve, delete, content.

Each takes a `Call` and returns JSON values or a response. `api` reads bodies and finds accounts.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from sora_jax.modality import ClipFormat
from sora_jax.studio import bodies, consent, content, jobs, models, posts
from sora_jax.studio.call import Call
from sora_jax.studio.problems import Problem, busy, conflict, invalid, missing
from sora_jax.studio.uploads import Probe, check_picture

POLL_MS = 500  # between two polls of the official package
MOST_CHARACTERS = 2
SETTINGS = ("seed", "steps", "guidance", "negative_prompt")  # of this project, in every request
CREATE = ("prompt", "model", "seconds", "size", "input_reference", "characters", *SETTINGS)
REMIX = ("prompt", "strength", *SETTINGS)
EDIT = ("prompt", "video", "strength", "shot", *SETTINGS)
EXTEND = ("prompt", "video", "seconds", *SETTINGS)
DATA_URL = re.compile(r"data:image/[a-z+.-]+;base64,")


def create(call: Call) -> dict[str, Any]:
    """Accepts a request for a new clip."""
    fields = call.fields
    bodies.check_names(fields, CREATE)
    prompt = _prompt(call)
    model = models.current(call.studio.store)
    model.check_name(bodies.text(fields, "model", 200))
    characters = bodies.names(fields, "characters", MOST_CHARACTERS)
    consent.check(call.studio.store, call.account, characters)
    size = bodies.text(fields, "size", 20)
    asked = bodies.number(fields, "seconds", 0.01, 3600)
    format = model.choose(size, asked, prompt)
    request = _settings(call) | {"characters": characters}
    job = jobs.new_id()
    picture = _picture(call)
    if picture is not None:
        suffix = check_picture(picture, models.size_of(format))
        request["first_frame"] = f"uploads/{job}/input.{suffix}"
        call.studio.media.write(request["first_frame"], picture)
    seconds = models.seconds_text(format.seconds if asked is None else asked, format)
    return _accept(call, job, "create", model, format, request, prompt, seconds)


def remix(call: Call) -> dict[str, Any]:
    """Accepts a request to change a clip everywhere."""
    bodies.check_names(call.fields, REMIX)
    source = _clip_of(call, call.path["video_id"])
    return _change(call, {"clip": source.id}, ClipFormat.from_dict(source.format), source.id)


def edit(call: Call) -> dict[str, Any]:
    """Accepts a request to change a clip, or one shot of it, given by id or as a file."""
    bodies.check_names(call.fields, EDIT)
    _prompt(call)
    job = jobs.new_id()
    source, format, _, parent = _source(call, job)
    return _change(call, source, format, parent, job)


def extend(call: Call) -> dict[str, Any]:
    """Accepts a request to add seconds to a clip, given by id or as a file."""
    bodies.check_names(call.fields, EXTEND)
    prompt = _prompt(call)
    most = call.studio.settings.limits.extension_seconds
    asked = bodies.number(call.fields, "seconds", 0.01, most)
    job = jobs.new_id()
    source, format, before, parent = _source(call, job)
    if format.shots:
        raise invalid("The video has several shots; only videos of one shot grow.", "video")
    latent = 2 * models.half_latent(format)
    count = max(1, round((latent * 4 if asked is None else asked) / latent))
    added = count * latent
    if asked is not None and abs(added - asked) > latent / 2 + models.SLACK:
        raise invalid(f"A video grows by whole latents of {latent:g} s; give more.", "seconds")
    request = _settings(call) | {"source": source, "added": added}
    seconds = models.seconds_text(before + added, format)
    model = models.current(call.studio.store)
    return _accept(call, job, "extend", model, format, request, prompt, seconds, parent)


def retrieve(call: Call) -> dict[str, Any]:
    """Returns a video."""
    job = _own(call, call.path["video_id"])
    if job.status in jobs.UNFINISHED:
        call.headers["openai-poll-after-ms"] = str(POLL_MS)
    return shown(call, job)


def listed(call: Call) -> dict[str, Any]:
    """Returns a page of the account's videos."""
    limit = int(bodies.number(call.query, "limit", 1, 100, whole=True) or 20)
    order = call.query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise invalid(f"The parameter 'order' is {order[:40]!r}; give asc or desc.", "order")
    after = bodies.text(call.query, "after", 100)
    page = jobs.page(call.studio.store, call.account, after, limit, order == "asc")
    if page is None:
        raise invalid("The cursor 'after' is no id of a video.", "after", "invalid_cursor")
    rows, more = page
    ids = [row.id for row in rows] or [None]
    data = [shown(call, row) for row in rows]
    return {
        "object": "list",
        "data": data,
        "first_id": ids[0],
        "last_id": ids[-1],
        "has_more": more,
    }


def delete(call: Call) -> dict[str, Any]:
    """Deletes a video; an unfinished one is cancelled."""
    job = _own(call, call.path["video_id"])
    jobs.delete(call.studio.store, job.id)
    call.studio.media.delete(f"clips/{job.id}")
    return {"id": job.id, "object": "video.deleted", "deleted": True}


def download(call: Call) -> Response:
    """Returns a file of a video, for a key or for a signed URL."""
    video = call.path["video_id"]
    variant = content.check_variant(call.query.get("variant", "video"))
    job = call.signed_job if call.signed_job is not None else _own(call, video)
    clip = jobs.find_clip(call.studio.store, job.id)
    return content.response(call.studio.media, job, clip, variant)


def shown(call: Call, job: jobs.Row) -> dict[str, Any]:
    """Returns a job as a Video of the API."""
    clip = jobs.find_clip(call.studio.store, job.id) if job.status == "completed" else None
    status = "failed" if job.status == "cancelled" else job.status
    error = job.error
    if job.status == "cancelled":
        error = {"code": "cancelled", "message": "The job was cancelled."}
    expires = None if clip is None else int(clip.expires_at)
    video: dict[str, Any] = {
        "id": job.id,
        "object": "video",
        "created_at": int(job.created_at),
        "completed_at": None if job.completed_at is None else int(job.completed_at),
        "expires_at": expires,
        "status": status,
        "progress": job.progress,
        "model": job.model,
        "prompt": job.prompt,
        "seconds": job.seconds,
        "size": job.size,
        "remixed_from_video_id": job.parent_id if job.kind in ("remix", "edit") else None,
        "error": error,
        "seed": job.request["seed"],
    }
    if clip is not None and expires is not None:
        sign = call.studio.signer.url
        video["content_urls"] = {name: sign(job.id, name, expires) for name in content.VARIANTS}
        video["verdict"], video["notes"] = clip.verdict, clip.notes
    return video


def _change(
    call: Call,
    source: Mapping[str, str],
    like: ClipFormat,
    parent: str | None,
    job: str | None = None,
) -> dict[str, Any]:
    """Accepts a remix, or with `shot` an edit of one shot.

    Args:
        call: the request.
        source: {"clip": id} or {"upload": key}.
        like: format of the source.
        parent: id of the clip that is changed, or None.
        job: id of the new job. Default None: a new one.
    """
    prompt, model = _prompt(call), models.current(call.studio.store)
    strength = bodies.number(call.fields, "strength", 0.01, 1.0)
    shot = bodies.number(call.fields, "shot", 1, 100, whole=True)
    format = like
    if like not in model.formats:
        format = model.like((like.height, like.width), float(like.fps))
    if shot is not None and (strength is not None or shot > len(format.shots)):
        raise invalid(
            f"The parameter 'shot' is {shot}, and the video has {len(format.shots) or 1} "
            "shots; an edit of one shot has no 'strength'.",
            "shot",
        )
    request = _settings(call) | {"source": dict(source), "strength": strength, "shot": shot}
    seconds = models.seconds_text(format.seconds, format)
    kind = "remix" if "video_id" in call.path else "edit"
    job = job or jobs.new_id()
    return _accept(call, job, kind, model, format, request, prompt, seconds, parent)


def _accept(
    call: Call,
    job: str,
    kind: str,
    model: models.Model,
    format: ClipFormat,
    request: dict[str, Any],
    prompt: str,
    seconds: str,
    parent: str | None = None,
) -> dict[str, Any]:
    """Adds a job to the queue and returns its Video. The arguments are columns of `jobs`."""
    request = request | {"format": format.to_dict()}
    shape = (format, request["steps"], request["guidance"])
    row = {
        "id": job,
        "account_id": call.account,
        "kind": kind,
        "model": model.name,
        "prompt": prompt,
        "seconds": seconds,
        "size": models.size_of(format),
        "request": request,
        # An extension goes window by window, so it cannot share a batch.
        "batch_key": job if kind == "extend" else repr(shape),
        "parent_id": parent,
    }
    most = call.studio.settings.limits.queue
    accepted = jobs.accept(call.studio.store, row, most)
    if accepted is None:
        call.studio.media.delete(f"uploads/{job}")
        raise busy(
            f"This key has {most} unfinished videos, its limit; wait for one.", "queue_full", 5.0
        )
    return shown(call, accepted)


def _prompt(call: Call) -> str:
    most = call.studio.settings.limits.prompt
    return bodies.text(call.fields, "prompt", most, required=True) or ""


def _settings(call: Call) -> dict[str, Any]:
    """Returns the settings of the sampler that a request gives, or their defaults."""
    fields, settings = call.fields, call.studio.settings
    seed = bodies.number(fields, "seed", 0, 2**32 - 1, whole=True)
    steps = bodies.number(fields, "steps", 1, settings.limits.steps, whole=True)
    return {
        "seed": secrets.randbits(32) if seed is None else seed,
        "steps": settings.steps if steps is None else steps,
        "guidance": bodies.number(fields, "guidance", 0, 100),
        "negative_prompt": bodies.text(fields, "negative_prompt", settings.limits.prompt) or "",
    }


def _picture(call: Call) -> bytes | None:
    """Returns the reference picture of a request, from its file or its data URL."""
    value = call.fields.get("input_reference")
    if value is None:
        return None
    if (file := bodies.upload(call.fields, "input_reference")) is not None:
        return file.file.read()
    if (
        not isinstance(value, dict)
        or len(value) != 1
        or not value.keys() <= {"image_url", "file_id"}
    ):
        raise invalid(
            "The parameter 'input_reference' is no file; give one, or {'image_url': a data URL}.",
            "input_reference",
        )
    url = value.get("image_url")
    if not isinstance(url, str) or not (head := DATA_URL.match(url)):
        raise invalid(
            "This server fetches no URLs and keeps no files; give the picture as a data URL "
            "(data:image/png;base64,...) or as a file.",
            "input_reference",
        )
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise invalid("The data URL is no base64.", "input_reference") from None


def _source(call: Call, job: str) -> tuple[dict[str, str], ClipFormat, float, str | None]:
    """Returns the video of an edit or an extension: where it is, its format, its seconds, and the
    id of its clip.
    """
    value = call.fields.get("video")
    if isinstance(value, dict) and isinstance(value.get("id"), str) and len(value) == 1:
        clip = _clip_of(call, value["id"])
        return {"clip": clip.id}, ClipFormat.from_dict(clip.format), clip.seconds, clip.id
    file = bodies.upload(call.fields, "video")
    if file is None:
        raise Problem(
            400,
            "The parameter 'video' is missing; give a file, or {'id': the id of a video}.",
            "missing_parameter",
            "video",
        )
    key = f"uploads/{job}/video.mp4"
    probe = _stored(call, key, file.file)
    model = models.current(call.studio.store)
    return {"upload": key}, model.like(probe.sides, probe.rate), probe.seconds, None


def _stored(call: Call, key: str, file: Any) -> Probe:
    """Stores an uploaded video and returns what it is; deletes it again if it is unusable."""
    path = call.studio.media.write(key, file)
    try:
        return call.studio.videos.check(path)
    except Problem:
        call.studio.media.delete(key.rpartition("/")[0])
        raise


def _own(call: Call, video: str) -> jobs.Row:
    job = jobs.find(call.studio.store, call.account, video)
    if job is None:
        raise missing("video", video)
    return job


def _clip_of(call: Call, video: str) -> jobs.Row:
    """Returns the clip of a finished video of the account, or of a published one."""
    job = posts.find_job(call.studio.store, call.account, video)
    if job is None:
        raise missing("video", video)
    if job.status != "completed":
        raise conflict(
            f"The video {job.id} is {job.status.replace('_', ' ')}, not completed.",
            "video_not_ready",
        )
    clip = jobs.find_clip(call.studio.store, job.id)
    if clip is None:
        raise Problem(404, "The content of this video has expired.", "video_expired", "video_id")
    return clip
