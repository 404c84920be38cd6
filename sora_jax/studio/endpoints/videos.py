"""The endpoints of videos: create, remix, edit, extend, list, retrieve, cancel, delete, download.

Each takes a `call.Call` and returns JSON values or a response, or raises `problems.Problem`.
`http.api` has found the account and read the body before.
"""

import secrets
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from starlette.responses import Response

from sora_jax.modality import ClipFormat
from sora_jax.studio.consent import permissions
from sora_jax.studio.database import jobs, models
from sora_jax.studio.endpoints import bodies, sources
from sora_jax.studio.endpoints.call import Call
from sora_jax.studio.endpoints.uploads import check_picture
from sora_jax.studio.problems import busy, conflict, invalid
from sora_jax.studio.storage import content

POLL_MS = 500  # milliseconds that OpenAI's package is told to wait between two polls
MOST_CHARACTERS = 2
Page = TypeVar("Page", bound=tuple)
# Fields of every request, which OpenAI's API does not have; then the fields of each endpoint.
SETTINGS = ("seed", "steps", "guidance", "negative_prompt")
CREATE = ("prompt", "model", "seconds", "size", "input_reference", "characters", *SETTINGS)
REMIX = ("prompt", "strength", *SETTINGS)
EDIT = ("prompt", "video", "strength", "shot", *SETTINGS)
EXTEND = ("prompt", "video", "seconds", *SETTINGS)


def create(call: Call) -> dict[str, Any]:
    """Accepts a request for a new clip."""
    fields = call.fields
    bodies.check_names(fields, CREATE)
    prompt = _prompt(call)
    model = models.current(call.studio.store)
    model.check_name(bodies.text(fields, "model", 200))
    given = bodies.names(fields, "characters", MOST_CHARACTERS)
    size = bodies.text(fields, "size", 20)
    asked = bodies.number(fields, "seconds", 0.01, 3600)
    format = model.choose(size, asked, prompt)
    request, found = _settings(call) | {"characters": given}, []
    seconds = models.seconds_text(format.seconds if asked is None else asked, format)
    picture = sources.picture(call)
    with sources.new_job(call) as job:
        if picture is not None:
            suffix = check_picture(picture, models.size_of(format))
            request["first_frame"] = f"uploads/{job}/input.{suffix}"
            call.studio.media.write(request["first_frame"], picture)
            found = sources.screened(call, request["first_frame"])
        return _accept(call, job, "create", model, format, request, prompt, seconds, found=found)


def remix(call: Call) -> dict[str, Any]:
    """Accepts a request to change a clip everywhere; the clip is named in the path."""
    bodies.check_names(call.fields, REMIX)
    clip = sources.own_clip(call, call.path["video_id"])
    source = sources.Source({"clip": clip.id}, ClipFormat.from_dict(clip.format), 0.0, clip.id)
    return _change(call, source, jobs.new_id())


def edit(call: Call) -> dict[str, Any]:
    """Accepts a request to change a clip, or one shot of it, given by id or as a file."""
    bodies.check_names(call.fields, EDIT)
    _prompt(call)
    with sources.new_job(call) as job:
        return _change(call, sources.source(call, job), job)


def extend(call: Call) -> dict[str, Any]:
    """Accepts a request to add seconds to a clip, given by id or as a file."""
    bodies.check_names(call.fields, EXTEND)
    prompt = _prompt(call)
    most = call.studio.settings.limits.extension_seconds
    asked = bodies.number(call.fields, "seconds", 0.01, most)
    with sources.new_job(call) as job:
        source = sources.source(call, job)
        if source.format.shots:
            raise invalid("The video has several shots; only videos of one shot grow.", "video")
        latent = 2 * models.half_latent(source.format)
        count = max(1, round((latent * 4 if asked is None else asked) / latent))
        added = count * latent
        if asked is not None and abs(added - asked) > latent / 2 + models.SLACK:
            raise invalid(f"A video grows by whole latents of {latent:g} s; give more.", "seconds")
        request = _settings(call) | {"source": source.place, "added": added}
        seconds = models.seconds_text(source.seconds + added, source.format)
        model = models.current(call.studio.store)
        start = (source.clip, source.found)
        return _accept(call, job, "extend", model, source.format, request, prompt, seconds, *start)


def retrieve(call: Call) -> dict[str, Any]:
    """Returns a video."""
    job = sources.seen(call, call.path["video_id"])
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
    rows, more = checked_cursor(page)
    hidden = permissions.hidden(call.studio.store, call.account, rows)
    data = [shown(call, row) for row in rows if row.id not in hidden]
    return page_of(data, more, [row.id for row in rows])


def checked_cursor(page: Page | None) -> Page:
    """Returns a page of rows. Raises Problem for None, which stands for an invalid cursor."""
    if page is None:
        raise invalid("The cursor 'after' is no id of a video.", "after", "invalid_cursor")
    return page


def page_of(
    data: list[dict[str, Any]], more: bool, ids: Sequence[str] | None = None
) -> dict[str, Any]:
    """Returns a page of a list, in the form of the API.

    Args:
        data: the objects of the page.
        more: whether others follow.
        ids: ids of all rows of the page, also of those that are not shown, so that the next page
            begins after them. Default None: the ids of the objects.
    """
    found = [one["id"] for one in data] if ids is None else list(ids)
    ends = found or [None]
    return {
        "object": "list",
        "data": data,
        "first_id": ends[0],
        "last_id": ends[-1],
        "has_more": more,
    }


def cancel(call: Call) -> dict[str, Any]:
    """Cancels an unfinished video, which stays in the list. Its worker stops at its next step,
    unless other clips of the batch are to be made.
    """
    job = sources.own(call, call.path["video_id"])
    if not jobs.cancel(call.studio.store, job.id):
        status = "cancelled" if job.status == "cancelled" else "finished"
        raise conflict(f"The video {job.id} is {status} already.", "video_finished")
    call.studio.media.delete(f"uploads/{job.id}")
    return shown(call, sources.own(call, job.id))


def delete(call: Call) -> dict[str, Any]:
    """Deletes a video; an unfinished one is cancelled. The owner of a character that it shows may
    delete it too.
    """
    job = sources.seen(call, call.path["video_id"])
    jobs.delete(call.studio.store, job.id)
    call.studio.media.delete(f"clips/{job.id}")
    return {"id": job.id, "object": "video.deleted", "deleted": True}


def download(call: Call) -> Response:
    """Returns a file of a video, for a key or for a signed URL."""
    video = call.path["video_id"]
    variant = content.check_variant(call.query.get("variant", "video"))
    job = sources.seen(call, video)
    clip = jobs.find_clip(call.studio.store, job.id)
    return content.response(call.studio.media, job, clip, variant)


def shown(call: Call, job: jobs.Row) -> dict[str, Any]:
    """Returns a job as a Video of the API (the schema of `openapi`). A cancelled job counts as
    failed there.
    """
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
        video["content_urls"] = {
            name: sign(job.id, name, expires, call.viewer) for name in content.VARIANTS
        }
        video["verdict"], video["notes"] = clip.verdict, clip.notes
    return video


def _change(call: Call, source: sources.Source, job: str) -> dict[str, Any]:
    """Accepts a remix, or with the field `shot` an edit of one shot.

    Args:
        call: the request.
        source: the video to change.
        job: id of the new job.
    """
    prompt, model = _prompt(call), models.current(call.studio.store)
    strength = bodies.number(call.fields, "strength", 0.01, 1.0)
    shot = bodies.number(call.fields, "shot", 1, 100, whole=True)
    format = like = source.format
    if like not in model.formats:
        format = model.like((like.height, like.width), float(like.fps))
    if shot is not None and strength is not None:
        raise invalid("An edit of one shot has no 'strength'; leave it or 'shot' out.", "strength")
    if shot is not None and shot > len(format.shots):
        count = len(format.shots)
        raise invalid(
            f"The parameter 'shot' is {shot}, and the video has "
            + (f"{count} shots; give 1 to {count}." if count else "one shot; leave 'shot' out."),
            "shot",
        )
    request = _settings(call) | {"source": source.place, "strength": strength, "shot": shot}
    seconds = models.seconds_text(format.seconds, format)
    kind = "remix" if "video_id" in call.path else "edit"
    start = (source.clip, source.found)
    return _accept(call, job, kind, model, format, request, prompt, seconds, *start)


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
    found: Collection[str] = (),
) -> dict[str, Any]:
    """Checks consent, adds a job to the queue and returns its Video.

    Most arguments are columns of the table `jobs`. `format` is the format of the clip, `found` has
    the ids of the characters that an uploaded file shows.

    Raises:
        Problem: a character may not be shown, or the queue of the account is full (status 429).
    """
    given, start = request.pop("characters", []), [] if parent is None else [parent]
    characters, every = _admit(call, model, prompt, given, found, start)
    request = request | {"format": format.to_dict(), "characters": characters}
    shape = (format, request["steps"], request["guidance"])
    if characters:  # one gate for a batch
        shape = (*shape, call.account)
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
    accepted = jobs.accept(call.studio.store, row, most, every)
    if accepted is None:
        raise busy(
            f"This key has {most} unfinished videos, its limit; wait for one.", "queue_full", 5.0
        )
    return shown(call, accepted)


def _admit(
    call: Call,
    model: models.Model,
    prompt: str,
    given: Sequence[str],
    found: Collection[str],
    start: Sequence[str],
) -> tuple[list[str], list[str]]:
    """Checks that the account may show the characters of a request. Arguments and result are those
    of `permissions.shown`.

    Raises:
        Problem: status 403 without consent, 400 for more characters than the model can show.
    """
    store = call.studio.store
    characters, every = permissions.shown(store, prompt, given, found, start)
    permissions.check(store, call.account, every, prompt)
    if len(characters) > model.references:
        raise invalid(
            f"This model shows at most {model.references} recorded characters; give fewer.",
            "characters",
            "too_many_characters",
        )
    return characters, every


def _prompt(call: Call) -> str:
    most = call.studio.settings.limits.prompt
    return bodies.text(call.fields, "prompt", most, required=True) or ""


def _settings(call: Call) -> dict[str, Any]:
    """Returns the fields SETTINGS of a request, or their defaults: a random seed, the steps of the
    server's settings, None for the default scale of guidance, no negative prompt.
    """
    fields, settings = call.fields, call.studio.settings
    seed = bodies.number(fields, "seed", 0, 2**32 - 1, whole=True)
    steps = bodies.number(fields, "steps", 1, settings.limits.steps, whole=True)
    return {
        "seed": secrets.randbits(32) if seed is None else seed,
        "steps": settings.steps if steps is None else steps,
        "guidance": bodies.number(fields, "guidance", 0, 100),
        "negative_prompt": bodies.text(fields, "negative_prompt", settings.limits.prompt) or "",
    }
