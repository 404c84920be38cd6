"""Finds the video or picture from which a request starts: a clip of the account, a published clip,
or an upload.
"""

import base64
import binascii
import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence

from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.studio.consent import permissions, screening
from sora_jax.studio.database import jobs, likenesses, models
from sora_jax.studio.endpoints import bodies, posts
from sora_jax.studio.endpoints.call import Call
from sora_jax.studio.problems import Problem, conflict, invalid, missing

DATA_URL = re.compile(r"data:image/[a-z+.-]+;base64,")


def picture(call: Call) -> bytes | None:
    """Returns the file of a request's reference picture, which is uploaded or given as a data URL;
    None if it has none.

    Raises:
        Problem: the field is neither of them.
    """
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


@dataclasses.dataclass(frozen=True)
class Source:
    """The video that a request starts from.

    Attributes:
        place: {"clip": id} or {"upload": key in the media store}.
        format: format of the clip; for an upload the first format of the model with its sides and
            rate, else the model's default.
        seconds: duration of the video, which only an extension uses.
        clip: id of the clip. Default None: an upload.
        found: ids of the recorded characters that an upload shows. Default: none.
    """

    place: dict[str, str]
    format: ClipFormat
    seconds: float
    clip: str | None = None
    found: Sequence[str] = ()


@contextlib.contextmanager
def new_job(call: Call) -> Iterator[str]:
    """Context manager: yields the id of a new job. If an error ends the context, the job's uploads
    are deleted.
    """
    job = jobs.new_id()
    try:
        yield job
    except BaseException:
        call.studio.media.delete(f"uploads/{job}")
        raise


def source(call: Call, job: str) -> Source:
    """Returns the video of an edit or an extension. An uploaded one is checked, stored for the job
    with the id `job`, and screened for recorded characters.

    Raises:
        Problem: the field `video` is missing, there is no such clip, or it cannot be used.
    """
    value = call.fields.get("video")
    if isinstance(value, dict) and isinstance(value.get("id"), str) and len(value) == 1:
        clip = own_clip(call, value["id"])
        format = ClipFormat.from_dict(clip.format)
        return Source({"clip": clip.id}, format, clip.seconds, clip.id)
    file = bodies.upload(call.fields, "video")
    if file is None:
        raise Problem(
            400,
            "The parameter 'video' is missing; give a file, or {'id': the id of a video}.",
            "missing_parameter",
            "video",
        )
    key = f"uploads/{job}/video.mp4"
    probe = call.studio.videos.check(call.studio.media.write(key, file.file))
    found = screened(call, key)
    format = models.current(call.studio.store).like(probe.sides, probe.rate)
    return Source({"upload": key}, format, probe.seconds, None, found)


def own(call: Call, video: str) -> jobs.Row:
    """Returns the job of a video of the account.

    Raises:
        Problem: status 404 if there is none, 403 if it is hidden because a character was taken
            back.
    """
    job = jobs.find(call.studio.store, call.account, video)
    if job is None:
        raise missing("video", video)
    _check_hidden(call, job)
    return job


def seen(call: Call, video: str) -> jobs.Row:
    """Returns the job of a video that the viewer's account made, or that shows a character which it
    owns.

    Raises:
        Problem: status 404 if there is none, 403 if it is hidden because a character was taken
            back.
    """
    job = jobs.of_id(call.studio.store, video)
    if job is None or (
        job.account_id != call.viewer
        and not permissions.owns_shown(call.studio.store, call.viewer, job.id)
    ):
        raise missing("video", video)
    _check_hidden(call, job)
    return job


def _check_hidden(call: Call, job: jobs.Row) -> None:
    if permissions.hidden(call.studio.store, call.viewer, [job]):
        raise Problem(
            403,
            "This video shows a character that its owner has taken back.",
            "character_permission_denied",
            "video_id",
        )


def own_clip(call: Call, video: str) -> jobs.Row:
    """Returns the row of the clip of a finished video of the account, or of a published one.

    Raises:
        Problem: status 404 if there is none or its files expired, 409 if it is not finished, 403 if
            it is hidden.
    """
    job = posts.find_job(call.studio.store, call.account, video)
    if job is None:
        raise missing("video", video)
    _check_hidden(call, job)
    if job.status != "completed":
        raise conflict(
            f"The video {job.id} is {job.status.replace('_', ' ')}, not completed.",
            "video_not_ready",
        )
    clip = jobs.find_clip(call.studio.store, job.id)
    if clip is None:
        raise Problem(404, "The content of this video has expired.", "video_expired", "video_id")
    return clip


def screened(call: Call, key: str) -> list[str]:
    """Returns the ids of the recorded characters that an uploaded file shows. `key` is its key in
    the media store.

    Raises:
        Problem: status 422; it cannot be decoded.
    """
    studio = call.studio
    recorded = likenesses.everybody(studio.store)
    if not recorded:
        return []
    try:
        found = studio.verifier.screen(studio.media.path(key))
    except UserError:
        raise Problem(422, "The file cannot be decoded; give another one.", "unreadable") from None
    return screening.match(studio.store, found, recorded)
