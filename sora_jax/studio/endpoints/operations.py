"""The table of the endpoints below /v1, which `http.api` serves and `http.openapi` describes."""

import dataclasses
from collections.abc import Callable
from typing import Any

from sora_jax.studio.endpoints import characters, checks, grants, videos


@dataclasses.dataclass(frozen=True)
class Operation:
    """One endpoint.

    Attributes:
        method: method of HTTP, such as "GET".
        path: path with its parameters in braces.
        work: function of a `call.Call` that returns JSON values or a response.
        summary: one line for the OpenAPI document.
        response: name of the response's schema in `openapi`; "" for a file or no schema.
        body: names of the fields of the body. Default None: no body is read.
        required: names of the fields that must be given. Default: none.
        query: names of the parameters of the query. Default: none.
        errors: status codes of errors besides 401, 403, 429, 500 and 503. Default: none.
        signed: True if a signed URL may take the place of a key. Default False.
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
CHARACTER = "/v1/characters/{character_id}"
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
        characters.BODY,
        ("name", "video"),
        errors=WRITES,
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
        query=("variant", "viewer", "expires", "signature"),
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
    Operation(
        "POST",
        "/v1/videos/{video_id}/cancel",
        videos.cancel,
        "Cancel an unfinished video",
        "Video",
        errors=(404, 409),
    ),
    Operation(
        "POST",
        "/v1/characters/challenges",
        characters.challenge,
        "Ask for a phrase to say in a capture",
        "Challenge",
        (),
        errors=(400, 413),
    ),
    Operation(
        "POST",
        "/v1/characters",
        characters.create,
        "Store a character, or verify a capture",
        "Character",
        characters.BODY,
        ("name", "video"),
        errors=WRITES,
    ),
    Operation(
        "GET",
        "/v1/characters",
        characters.listed,
        "List the characters of the key",
        "CharacterList",
    ),
    Operation(
        "GET",
        CHARACTER,
        characters.retrieve,
        "Retrieve a character",
        "Character",
        errors=(404,),
    ),
    Operation(
        "DELETE",
        CHARACTER,
        characters.delete,
        "Delete a character and take it back from everybody",
        "DeletedCharacter",
        errors=(404,),
    ),
    Operation(
        "GET",
        f"{CHARACTER}/clips",
        characters.clips,
        "List the videos of all keys that show a character",
        "VideoList",
        query=("after", "limit"),
        errors=(400, 404),
    ),
    Operation(
        "GET",
        f"{CHARACTER}/grants",
        grants.listed,
        "List who may use a character",
        "GrantList",
        errors=(404,),
    ),
    Operation(
        "POST",
        f"{CHARACTER}/grants",
        grants.add,
        "Grant a character to a key, to mutuals or to everyone",
        "Grant",
        ("account",),
        ("account",),
        errors=(400, 404, 409, 413),
    ),
    Operation(
        "DELETE",
        f"{CHARACTER}/grants/{{account}}",
        grants.remove,
        "Take a grant back",
        "DeletedGrant",
        errors=(404,),
    ),
    Operation(
        "GET",
        f"{CHARACTER}/restrictions",
        grants.restrictions,
        "List what no video may show of a character",
        "RestrictionList",
        errors=(404,),
    ),
    Operation(
        "PUT",
        f"{CHARACTER}/restrictions",
        grants.restrict,
        "Replace the restrictions of a character",
        "RestrictionList",
        ("restrictions",),
        ("restrictions",),
        errors=(400, 404, 413),
    ),
    Operation("GET", "/v1/follows", grants.followed, "List whom the key follows", "FollowList"),
    Operation(
        "POST",
        "/v1/follows",
        grants.follow,
        "Follow a key",
        "Follow",
        ("account",),
        ("account",),
        errors=(400, 413),
    ),
    Operation(
        "DELETE",
        "/v1/follows/{account}",
        grants.unfollow,
        "Follow a key no more",
        "DeletedFollow",
        errors=(404,),
    ),
    Operation(
        "POST",
        "/v1/content_provenance_checks",
        checks.check,
        "Check the manifest and the marks of a file",
        "ProvenanceCheck",
        ("file",),
        ("file",),
        errors=(400, 413, 422),
    ),
)
