"""The endpoints of characters: challenges, create, list, retrieve, delete, and clips that show one.

A character is made from an uploaded clip. Without a challenge its status is `unverified`. With one
the clip is a capture, in which the phrase of the challenge must be said: a verifier reads it, and
the character becomes `verified` or `rejected`. `consent.permissions` decides who may use a
character.
"""

import secrets
from typing import Any

from sora_jax.errors import UserError
from sora_jax.studio.consent import captures, permissions
from sora_jax.studio.database import jobs, likenesses
from sora_jax.studio.endpoints import bodies, videos
from sora_jax.studio.endpoints.call import Call
from sora_jax.studio.problems import Problem, missing

NAME = 80  # letters of a name
MOST_GRANTED = 100  # characters that `granted` lists
BODY = ("name", "video", "challenge_id")
TRIES = 5  # attempts to compare a face with all others while new ones are recorded
Row = jobs.Row


def challenge(call: Call) -> dict[str, Any]:
    """Returns a phrase that the account is asked to say in a capture."""
    bodies.check_names(call.fields, ())
    row = likenesses.issue(call.studio.store, call.account)
    return {
        "id": row.id,
        "object": "character.challenge",
        "phrase": row.phrase,
        "expires_at": int(row.created_at + likenesses.VALID_SECONDS),
    }


def create(call: Call) -> dict[str, Any]:
    """Stores a character from its name and an uploaded clip. With the field `challenge_id` the clip
    is a capture, which is verified.
    """
    bodies.check_names(call.fields, BODY)
    name = bodies.text(call.fields, "name", NAME, required=True) or ""
    number = bodies.text(call.fields, "challenge_id", 200)
    file = bodies.upload(call.fields, "video")
    if file is None:
        raise Problem(
            400, "The parameter 'video' is missing; give a file.", "missing_parameter", "video"
        )
    handle = None if number is None else likenesses.handle_of(name)
    character, studio = f"char_{secrets.token_hex(16)}", call.studio
    row = {
        "id": character,
        "account_id": call.account,
        "name": name,
        "status": "unverified",
        "media": f"characters/{character}/capture.mp4",
    }
    path = studio.media.write(row["media"], file.file)
    try:
        studio.videos.check(path)
        if number is None:
            return _shown(call, likenesses.add(studio.store, row))
        words = likenesses.redeem(studio.store, call.account, number)
        return _shown(call, _enrol(call, row | {"handle": handle}, words))
    except BaseException:
        studio.media.delete(f"characters/{character}")
        raise


def _enrol(call: Call, row: dict[str, Any], words: tuple[str, ...]) -> Row:
    """Verifies a capture, adds its character as verified or rejected, and returns its row.

    Args:
        call: the request.
        row: columns of the character.
        words: the phrase that must be said.

    Raises:
        Problem: status 409 if the handle is taken, 503 if other characters are recorded meanwhile
            again and again.
    """
    studio = call.studio
    path = studio.media.path(row["media"])
    try:
        found = studio.verifier.verify(path, words)
    except UserError as error:
        return _reject(call, row, error.message)
    columns = {
        "status": "verified",
        "fingerprint": found.fingerprint,
        "identity": found.identity,
        "restrictions": [],
    }
    likeness = studio.media.path(captures.likeness_key(row["id"]))
    captures.save(likeness, found)
    studio.media.send(captures.likeness_key(row["id"]))
    compared: set[str] = set()
    for _ in range(TRIES):
        for other in likenesses.of_others(studio.store, call.account):
            compared.add(other.id)
            if studio.verifier.same(found.identity, other.identity):
                told = f"another account tried to record @{other.handle}"
                likenesses.notify(studio.store, other.id, told)
                reason = "another account has recorded this face; its owner is told"
                return _reject(call, row, reason)
        try:
            return likenesses.add_verified(studio.store, row | columns, compared)
        except LookupError:
            continue
    raise Problem(503, "Too many characters are recorded at once; try again.", "busy")


def _reject(call: Call, row: dict[str, Any], reason: str) -> Row:
    call.studio.media.delete(f"characters/{row['id']}")
    kept = {name: value for name, value in row.items() if name != "handle"}
    return likenesses.add(call.studio.store, kept | {"status": "rejected", "reason": reason})


def listed(call: Call) -> dict[str, Any]:
    """Returns the characters of the account."""
    rows = likenesses.of_account(call.studio.store, call.account)
    return {"object": "list", "data": [_shown(call, row) for row in rows]}


def granted(call: Call) -> dict[str, Any]:
    """Returns the characters of other accounts that the account may use now, with their owners."""
    rows = likenesses.granted_to(call.studio.store, call.account, MOST_GRANTED)
    data = [_shown(call, row) | {"account": row.owner} for row in rows]
    return {"object": "list", "data": data}


def retrieve(call: Call) -> dict[str, Any]:
    """Returns a character of the account, or one that is granted to it."""
    row = likenesses.find(call.studio.store, call.path["character_id"])
    if row is not None and row.deleted_at is None:
        if row.account_id == call.account:
            return _shown(call, row)
        if likenesses.granted(call.studio.store, call.account, [row]):
            return _shown(call, row)
    raise missing("character", call.path["character_id"])


def delete(call: Call) -> dict[str, Any]:
    """Deletes a character: nothing can be generated with it any more, unfinished jobs that show it
    fail, and the clips that show it are hidden from everybody except its owner.
    """
    row, store = own(call), call.studio.store
    likenesses.change(store, row.id, deleted_at=store.clock())
    call.studio.media.delete(f"characters/{row.id}")
    return {"id": row.id, "object": "character.deleted", "deleted": True}


def clips(call: Call) -> dict[str, Any]:
    """Returns the videos of all accounts that show a character, newest first, also those that are
    not published or not finished.
    """
    row = own(call, deleted=True)
    limit = int(bodies.number(call.query, "limit", 1, 100, whole=True) or 20)
    after = bodies.text(call.query, "after", 100)
    page = permissions.clips_of(call.studio.store, row.id, after, limit)
    rows, more, names = videos.checked_cursor(page)
    data = [videos.shown(call, job) | {"account": names[job.account_id]} for job in rows]
    return videos.page_of(data, more)


def own(call: Call, deleted: bool = False) -> Row:
    """Returns the character that the path names, which must belong to the account.

    Args:
        call: the request.
        deleted: True accepts a deleted character. Default False.

    Raises:
        Problem: status 404; the account has no such character.
    """
    row = likenesses.find(call.studio.store, call.path["character_id"])
    if row is None or row.account_id != call.account or (row.deleted_at and not deleted):
        raise missing("character", call.path["character_id"])
    return row


def _shown(call: Call, row: Row) -> dict[str, Any]:
    """Returns a character as JSON values; for its owner with the messages of `notices_of`."""
    character = {
        "id": row.id,
        "object": "character",
        "created_at": int(row.created_at),
        "name": row.name,
        "handle": row.handle,
        "status": row.status,
        "reason": row.reason,
    }
    if row.account_id == call.account:
        told = likenesses.notices_of(call.studio.store, row.id)
        character["notices"] = [
            {"created_at": int(one.created_at), "message": one.message} for one in told
        ]
    return character
