"""The OpenAPI 3.1 document that describes the server, made from the table of its endpoints."""

import re
from typing import Any

from sora_jax import __version__
from sora_jax.studio.endpoints.grants import MOST_RESTRICTIONS
from sora_jax.studio.endpoints.operations import OPERATIONS, Operation
from sora_jax.studio.storage.publish import VARIANTS

Json = dict[str, Any]
TEXT: Json = {"type": "string"}
TIME: Json = {"type": "integer", "description": "seconds since 1970"}
COMMON = (401, 403, 429, 500, 503)
BY_ID: Json = {
    "type": "object",
    "properties": {"id": TEXT},
    "required": ["id"],
    "additionalProperties": False,
}


def _or_null(schema: Json) -> Json:
    return schema | {"type": [schema["type"], "null"]}


def _object(required: Json, optional: Json | None = None) -> Json:
    properties = required | (optional or {})
    return {"type": "object", "properties": properties, "required": list(required)}


FIELDS: dict[str, Json] = {
    "prompt": TEXT,
    "model": TEXT | {"description": "the loaded model's name, or one that begins with sora-2"},
    "seconds": {
        "type": ["string", "number"],
        "description": "duration, met up to half a latent; of an extension what is added",
    },
    "size": TEXT | {"description": "width x height of a format of the model, such as 64x64"},
    "input_reference": {
        "description": "the first frame: a file, or an object with a data URL",
        "anyOf": [
            {"type": "string", "format": "binary"},
            _object({"image_url": TEXT}) | {"additionalProperties": False},
        ],
    },
    "characters": {"type": "array", "items": BY_ID, "maxItems": 2},
    "video": {"anyOf": [{"type": "string", "format": "binary"}, BY_ID]},
    "strength": {"type": "number", "description": "of a remix: near 0 little, 1 everything"},
    "shot": {"type": "integer", "description": "number of the shot to make anew, from 1"},
    "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    "steps": {"type": "integer", "minimum": 1},
    "guidance": {"type": "number", "minimum": 0},
    "negative_prompt": TEXT,
    "name": TEXT,
    "challenge_id": TEXT | {"description": "of the phrase that the video says"},
    "account": TEXT | {"description": "name of a key; of grants also mutuals or everyone"},
    "restrictions": {"type": "array", "items": TEXT, "maxItems": MOST_RESTRICTIONS},
    "file": {"type": "string", "format": "binary"},
}
QUERY: dict[str, Json] = {
    "after": TEXT,
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    "order": {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
    "variant": {"type": "string", "enum": list(VARIANTS), "default": "video"},
    "viewer": TEXT | {"description": "of a signed URL"},
    "expires": TIME,
    "signature": TEXT,
}
ERROR = _object({"code": TEXT, "message": TEXT})
VIDEO = _object(
    {
        "id": TEXT,
        "object": {"type": "string", "enum": ["video"]},
        "created_at": TIME,
        "completed_at": _or_null(TIME),
        "expires_at": _or_null(TIME),
        "status": {"type": "string", "enum": ["queued", "in_progress", "completed", "failed"]},
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "model": TEXT,
        "prompt": TEXT,
        "seconds": TEXT,
        "size": TEXT,
        "remixed_from_video_id": _or_null(TEXT),
        "error": _or_null(ERROR),
        "seed": {"type": "integer"},
    },
    {
        "content_urls": {"type": "object", "description": "signed paths, by variant"},
        "verdict": {"type": "object", "description": "what the oracles read, fact by fact"},
        "notes": {"type": "array", "items": TEXT},
        "account": TEXT | {"description": "who made it, in lists of an owner of characters"},
    },
)


def _list(name: str, **more: Json) -> Json:
    """Returns the schema of a list of objects of the schema `name`. `more` are further fields."""
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    return _object({"object": {"type": "string", "enum": ["list"]}, "data": items, **more})


def _kind(name: str) -> Json:
    return {"type": "string", "enum": [name]}


def _deleted(name: str, key: str = "id") -> Json:
    return _object({key: TEXT, "object": _kind(f"{name}.deleted"), "deleted": {"type": "boolean"}})


SCHEMAS: dict[str, Json] = {
    "Video": VIDEO,
    "VideoList": _list(
        "Video",
        first_id=_or_null(TEXT),
        last_id=_or_null(TEXT),
        has_more={"type": "boolean"},
    ),
    "DeletedVideo": _deleted("video"),
    "Challenge": _object(
        {"id": TEXT, "object": _kind("character.challenge"), "phrase": TEXT, "expires_at": TIME}
    ),
    "Character": _object(
        {
            "id": TEXT,
            "object": _kind("character"),
            "created_at": TIME,
            "name": TEXT,
            "handle": _or_null(TEXT),
            "status": {"type": "string", "enum": ["unverified", "verified", "rejected"]},
            "reason": _or_null(TEXT),
        },
        {"notices": {"type": "array", "items": _object({"created_at": TIME, "message": TEXT})}},
    ),
    "CharacterList": _list("Character"),
    "DeletedCharacter": _deleted("character"),
    "Grant": _object({"account": TEXT, "object": _kind("character.grant"), "created_at": TIME}),
    "GrantList": _list("Grant"),
    "DeletedGrant": _deleted("character.grant", "account"),
    "Restriction": _object({"text": TEXT, "enforced": {"type": "boolean"}}),
    "RestrictionList": _list("Restriction"),
    "Follow": _object({"account": TEXT, "object": _kind("follow"), "created_at": TIME}),
    "FollowList": _list("Follow"),
    "DeletedFollow": _deleted("follow", "account"),
    "ProvenanceCheck": _object(
        {
            "object": _kind("content_provenance_check"),
            "created_at": TIME,
            "results": {"type": "array", "items": {"type": "object"}},
        }
    ),
    "Error": _object(
        {"error": _object({"message": TEXT, "type": TEXT, "param": _or_null(TEXT), "code": TEXT})}
    ),
    "Health": _object(
        {"status": {"type": "string", "enum": ["ready", "loading"]}, "workers": {"type": "integer"}}
    ),
}


def document() -> Json:
    """Returns the document as JSON values."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    health = _content("Health")
    plain = {"200": {"description": "text", "content": {"text/plain": {"schema": TEXT}}}}
    document_ = {
        "200": {
            "description": "JSON",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    }
    paths["/healthz"] = _open("Is a worker ready?", {"200": health, "503": health})
    paths["/metrics"] = _open("Counts, as Prometheus reads them", plain)
    paths["/openapi.json"] = _open("This document", document_)
    return {
        "openapi": "3.1.0",
        "info": {"title": "sora_jax studio", "version": __version__},
        "paths": paths,
        "security": [{"key": []}],
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _open(summary: str, responses: Json) -> Json:
    """Returns the description of an endpoint that needs no key."""
    return {"get": {"summary": summary, "security": [], "responses": responses}}


def _described(operation: Operation) -> Json:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": TEXT}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": QUERY[name]}
        for name in operation.query
    ]
    good: Json = {"description": "a file", "content": {"*/*": {}}}
    if operation.response:
        good = _content(operation.response)
    errors = {str(status): _content("Error") for status in (*COMMON, *operation.errors)}
    described: Json = {
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {"200": good, **dict(sorted(errors.items()))},
    }
    if operation.body is not None:
        properties = {name: FIELDS[name] for name in operation.body}
        schema = {
            "type": "object",
            "properties": properties,
            "required": list(operation.required),
            "additionalProperties": False,
        }
        kinds = ("application/json", "multipart/form-data")
        content = {kind: {"schema": schema} for kind in kinds}
        described["requestBody"] = {"required": True, "content": content}
    if operation.signed:
        described["security"] = [{"key": []}, {}]
    return described


def _content(name: str) -> Json:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"description": name, "content": {"application/json": {"schema": schema}}}
