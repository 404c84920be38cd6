"""The endpoints of characters: create and retrieve.

An uploaded clip becomes a character with the status `unverified`. `consent` decides whether it may
be used.
"""

import secrets
from typing import Any

import sqlalchemy as sa

from sora_jax.studio import bodies
from sora_jax.studio.call import Call
from sora_jax.studio.problems import Problem, missing
from sora_jax.studio.tables import characters

NAME = 80  # characters of a name


def create(call: Call) -> dict[str, Any]:
    """Stores a character: a name and a clip of it."""
    bodies.check_names(call.fields, ("name", "video"))
    name = bodies.text(call.fields, "name", NAME, required=True)
    file = bodies.upload(call.fields, "video")
    if file is None:
        raise Problem(
            400, "The parameter 'video' is missing; give a file.", "missing_parameter", "video"
        )
    character, studio = f"char_{secrets.token_hex(16)}", call.studio
    key = f"characters/{character}/capture.mp4"
    path = studio.media.write(key, file.file)
    try:
        studio.videos.check(path)
    except Problem:
        studio.media.delete(f"characters/{character}")
        raise
    row = {
        "id": character,
        "account_id": call.account,
        "name": name,
        "status": "unverified",
        "media": key,
        "created_at": studio.store.clock(),
    }
    with studio.store.engine.begin() as connection:
        connection.execute(sa.insert(characters).values(row))
        asked = sa.select(characters).where(characters.c.id == character)
        return _shown(connection.execute(asked).one())


def retrieve(call: Call) -> dict[str, Any]:
    """Returns a character of the account."""
    character = call.path["character_id"]
    asked = sa.select(characters).where(
        characters.c.id == character,
        characters.c.account_id == call.account,
        characters.c.deleted_at.is_(None),
    )
    with call.studio.store.engine.connect() as connection:
        row = connection.execute(asked).one_or_none()
    if row is None:
        raise missing("character", character)
    return _shown(row)


def _shown(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "character",
        "created_at": int(row.created_at),
        "name": row.name,
        "status": row.status,
    }
