"""The endpoints below /v1: what `api` serves and `openapi` describes."""

import dataclasses
from collections.abc import Callable
from typing import Any

from sora_jax.studio import characters, videos


@dataclasses.dataclass(frozen=True)
class Operation:
    """One endpoint.

    Attributes:
        method: of HTTP.
        path: with its parameters in braces.
        work: takes a `call.Call` and returns JSON values or a response.
        summary: one line.
        body: fields of the body; None: it takes none.
        required: those that must be given.
        query: parameters of the query.
        response: name of a schema of `openapi`; "" for a file.
        errors: statuses besides 401, 403, 429, 500 and 503.
        signed: whether a signed URL may take the place of a key.
    """

    method: str
    path: str
    work: Callable[..., Any]
    summary: str
    response: str
    body: tuple[str, ...] | None = None
    required: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    signed: bool = False


WRITES = (400, 409, 413, 422)
PROMPT = ("prompt",)
OPERATIONS = (
    Operation(
        "POST",
        "/v1/videos",
        videos.create,
        "Generate a clip",
        "Video",
        videos.CREATE,
        PROMPT,
        errors=(400, 413, 422),
    ),
    Operation(
        "GET",
        "/v1/videos",
        videos.listed,
        "List the videos of the key",
        "VideoList",
        query=("after", "limit", "order"),
        errors=(400,),
    ),
    Operation(
        "POST",
        "/v1/videos/edits",
        videos.edit,
        "Change a clip, or one shot of it",
        "Video",
        videos.EDIT,
        ("prompt", "video"),
        errors=(*WRITES, 404),
    ),
    Operation(
        "POST",
        "/v1/videos/extensions",
        videos.extend,
        "Add seconds to a clip",
        "Video",
        videos.EXTEND,
        ("prompt", "video"),
        errors=(*WRITES, 404),
    ),
    Operation(
        "POST",
        "/v1/videos/characters",
        characters.create,
        "Store a character",
        "Character",
        ("name", "video"),
        ("name", "video"),
        errors=(400, 413, 422),
    ),
    Operation(
        "GET",
        "/v1/videos/characters/{character_id}",
        characters.retrieve,
        "Retrieve a character",
        "Character",
        errors=(404,),
    ),
    Operation(
        "GET",
        "/v1/videos/{video_id}",
        videos.retrieve,
        "Retrieve a video",
        "Video",
        errors=(404,),
    ),
    Operation(
        "DELETE",
        "/v1/videos/{video_id}",
        videos.delete,
        "Delete a video; an unfinished one is cancelled",
        "DeletedVideo",
        errors=(404,),
    ),
    Operation(
        "GET",
        "/v1/videos/{video_id}/content",
        videos.download,
        "Download a file of a video",
        "",
        query=("variant", "expires", "signature"),
        errors=(400, 404, 409),
        signed=True,
    ),
    Operation(
        "POST",
        "/v1/videos/{video_id}/remix",
        videos.remix,
        "Change a clip everywhere",
        "Video",
        videos.REMIX,
        PROMPT,
        errors=(400, 404, 409, 413),
    ),
)
