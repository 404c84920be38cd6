"""Recorded characters in the database: challenges, records, grants, and the jobs that show them.
A character has one of three statuses:

    unverified    stored with a clip that answers no challenge; nothing can be generated with it
    verified      made from a capture (a recording of a challenge's phrase) that passed; its owner
                  may use it, and those whom the owner granted it to
    rejected      made from a capture that did not pass

A handle is the name of a verified character in prompts. Handles that look alike have the same
`skeleton`, and only one of them can be taken. A deleted character keeps its row, so nobody else can
take its handle or record its face, and its owner still finds the clips that show it.
"""

import secrets
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from sora_jax.characters.challenge import VALID_SECONDS, draw_phrase
from sora_jax.characters.records import HANDLE
from sora_jax.studio.database.jobs import Row
from sora_jax.studio.database.store import Store
from sora_jax.studio.database.tables import (
    accounts,
    appearances,
    challenges,
    characters,
    follows,
    grants,
    notices,
)
from sora_jax.studio.problems import Problem, invalid

EVERYONE, MUTUALS = AUDIENCES = ("everyone", "mutuals")
# Letters that look like others: (seen, what replaces it), in the order of replacement.
ALIKE = (("_", ""), ("rn", "m"), ("vv", "w"), ("0", "o"), ("1", "l"), ("i", "l"), ("5", "s"))


def skeleton(handle: str) -> str:
    """Returns a text that is the same for handles that look alike, such as mika and rnlka."""
    for seen, meant in ALIKE:
        handle = handle.replace(seen, meant)
    return handle


def handle_of(name: str) -> str:
    """Returns the handle of a character's name: its letters in lower case, _ for spaces.

    Raises:
        Problem: status 400; the result would not match HANDLE: 2 to 32 letters a to z, digits and
            _, a letter first.
    """
    handle = "_".join(name.removeprefix("@").lower().split())
    if not HANDLE.fullmatch(handle):
        raise invalid(
            f"The name {name!r} makes no handle; give 2 to 32 letters a to z, digits, spaces or "
            "_, a letter first.",
            "name",
        )
    return handle


def issue(store: Store, account: str) -> Row:
    """Makes a challenge for an account and returns its row. Challenges of the account that ended
    long ago are deleted.
    """
    challenge = f"challenge_{secrets.token_hex(16)}"
    phrase = " ".join(draw_phrase(secrets.SystemRandom()))
    old = challenges.c.created_at < store.clock() - 20 * VALID_SECONDS
    row = {"id": challenge, "account_id": account, "phrase": phrase, "created_at": store.clock()}
    with store.engine.begin() as connection:
        connection.execute(sa.delete(challenges).where(old, challenges.c.account_id == account))
        connection.execute(sa.insert(challenges).values(row))
        asked = sa.select(challenges).where(challenges.c.id == challenge)
        return connection.execute(asked).one()


def redeem(store: Store, account: str, challenge: str) -> tuple[str, ...]:
    """Returns the words of a challenge: the phrase that an account has to say in a capture. Closes
    the challenge, so that it cannot be used again.

    Args:
        store: the database.
        account: id of the account.
        challenge: id of the challenge.

    Raises:
        Problem: status 400; it is unknown or used, of another account, or older than VALID_SECONDS.
    """
    own = sa.and_(challenges.c.id == challenge, challenges.c.account_id == account)
    unused = challenges.c.used_at.is_(None)
    used = sa.update(challenges).where(own, unused).values(used_at=store.clock())
    with store.engine.begin() as connection:
        row = connection.execute(used.returning(challenges)).one_or_none()
    if row is None:
        raise invalid(
            "This challenge is unknown or was used already; ask for a new one.",
            "challenge_id",
            "invalid_challenge",
        )
    if (age := row.used_at - row.created_at) > VALID_SECONDS:
        raise invalid(
            f"This challenge is {age:.0f} s old and was valid for {VALID_SECONDS:.0f} s; ask for "
            "a new one.",
            "challenge_id",
            "challenge_expired",
        )
    return tuple(row.phrase.split())


def add(store: Store, character: dict[str, Any]) -> Row:
    """Adds a character that is not verified, given by its columns, and returns its row."""
    with store.engine.begin() as connection:
        return _insert(connection, store, character)


def add_verified(store: Store, character: dict[str, Any], known: Iterable[str]) -> Row:
    """Adds a verified character, and returns its row.

    Args:
        store: the database.
        character: its columns, without `skeleton`.
        known: ids of the characters of other accounts with whose identity it was compared.

    Raises:
        Problem: status 409; the handle, or one that looks like it, is taken.
        LookupError: another account recorded a character meanwhile, with which it must be compared
            too.
    """
    character = character | {"skeleton": skeleton(character["handle"])}
    alike = sa.select(characters.c.id).where(characters.c.skeleton == character["skeleton"])
    with store.exclusive() as connection:
        if connection.execute(alike).first() is not None:
            raise Problem(
                409,
                f"The handle @{character['handle']}, or one that looks like it, is taken; give "
                "another name.",
                "handle_taken",
                "name",
                {"x-should-retry": "false"},
            )
        others = connection.execute(_recorded(character["account_id"])).all()
        if {row.id for row in others} - set(known):
            raise LookupError
        return _insert(connection, store, character)


def of_others(store: Store, account: str) -> Sequence[Row]:
    """Returns the verified characters of all accounts other than `account`, deleted ones too."""
    with store.engine.connect() as connection:
        return connection.execute(_recorded(account)).all()


def everybody(store: Store) -> Sequence[Row]:
    """Returns all verified characters, deleted ones too."""
    return of_others(store, "")


def find(store: Store, character: str) -> Row | None:
    """Returns a character by its id, a deleted one too; None if there is none."""
    with store.engine.connect() as connection:
        asked = sa.select(characters).where(characters.c.id == character)
        return connection.execute(asked).one_or_none()


def of_ids(store: Store, ids: Collection[str]) -> dict[str, Row]:
    """Returns {id: row} of the characters with these ids, deleted ones too."""
    with store.engine.connect() as connection:
        asked = sa.select(characters).where(characters.c.id.in_([*ids]))
        return {row.id: row for row in connection.execute(asked)}


def of_skeletons(store: Store, skeletons: Collection[str]) -> Sequence[Row]:
    """Returns the verified characters whose handles have one of these skeletons."""
    with store.engine.connect() as connection:
        asked = sa.select(characters).where(characters.c.skeleton.in_([*skeletons]))
        return connection.execute(asked).all()


def of_account(store: Store, account: str) -> Sequence[Row]:
    """Returns the characters of an account, newest first, without deleted ones."""
    own = sa.and_(characters.c.account_id == account, characters.c.deleted_at.is_(None))
    order = characters.c.created_at.desc()
    with store.engine.connect() as connection:
        return connection.execute(sa.select(characters).where(own).order_by(order)).all()


def change(store: Store, character: str, **columns: Any) -> None:
    """Changes columns of the character with an id."""
    with store.engine.begin() as connection:
        changed = sa.update(characters).where(characters.c.id == character)
        connection.execute(changed.values(columns))


def notify(store: Store, character: str, message: str) -> None:
    """Stores a message to the owner of a character."""
    row = {"character_id": character, "message": message, "created_at": store.clock()}
    with store.engine.begin() as connection:
        connection.execute(sa.insert(notices).values(row))


def notices_of(store: Store, character: str) -> Sequence[Row]:
    """Returns the messages to the owner of a character, oldest first."""
    asked = sa.select(notices).where(notices.c.character_id == character).order_by("number")
    with store.engine.connect() as connection:
        return connection.execute(asked).all()


def grants_of(store: Store, character: str) -> Sequence[Any]:
    """Returns the grants of a character, oldest first, as rows of `audience` (id of an account or
    one of AUDIENCES), `name` (of the account, else None) and `created_at`.
    """
    named = grants.outerjoin(accounts, accounts.c.id == grants.c.audience)
    asked = sa.select(grants.c.audience, accounts.c.name, grants.c.created_at).select_from(named)
    asked = asked.where(grants.c.character_id == character).order_by(grants.c.created_at)
    with store.engine.connect() as connection:
        return connection.execute(asked).all()


def grant(store: Store, character: str, audience: str) -> None:
    """Grants a character to an audience: an id of an account, or one of AUDIENCES. An existing
    grant stays as it is.
    """
    mine = sa.and_(grants.c.character_id == character, grants.c.audience == audience)
    row = {"character_id": character, "audience": audience, "created_at": store.clock()}
    with store.exclusive() as connection:
        if connection.execute(sa.select(grants).where(mine)).first() is None:
            connection.execute(sa.insert(grants).values(row))


def revoke(store: Store, character: str, audience: str) -> bool:
    """Takes the grant of a character to an audience back. Returns False if there was none."""
    mine = sa.and_(grants.c.character_id == character, grants.c.audience == audience)
    with store.engine.begin() as connection:
        return bool(connection.execute(sa.delete(grants).where(mine)).rowcount)


def granted(store: Store, account: str, rows: Iterable[Row]) -> set[str]:
    """Returns the ids of those characters among `rows` that an account may use now: its own and
    those granted to it, without deleted or unverified ones.
    """
    alive = [row for row in rows if row.status == "verified" and row.deleted_at is None]
    own = {row.id for row in alive if row.account_id == account}
    ids = [row.id for row in alive if row.id not in own]
    if not ids:
        return own
    asked = sa.select(grants.c.character_id).where(grants.c.character_id.in_(ids), _reach(account))
    with store.engine.connect() as connection:
        return own | set(connection.execute(asked).scalars())


def granted_to(store: Store, account: str, most: int) -> Sequence[Any]:
    """Returns up to `most` characters of other accounts that an account may use now, as rows of
    their columns and `owner`, the owner's name. Those granted to the account by name come first;
    each part is in the order of handles.
    """
    by_name = sa.func.max(sa.case((grants.c.audience == account, 1), else_=0))
    joined = characters.join(grants, grants.c.character_id == characters.c.id)
    joined = joined.join(accounts, accounts.c.id == characters.c.account_id)
    asked = sa.select(characters, accounts.c.name.label("owner")).select_from(joined)
    alive = (characters.c.status == "verified", characters.c.deleted_at.is_(None))
    asked = asked.where(*alive, characters.c.account_id != account, _reach(account))
    asked = asked.group_by(characters.c.id, accounts.c.name)
    asked = asked.order_by(by_name.desc(), characters.c.handle).limit(most)
    with store.engine.connect() as connection:
        return connection.execute(asked).all()


def _reach(account: str) -> sa.ColumnElement[bool]:
    """Returns the SQL condition that a row of `grants` admits an account: by name, as one of
    everyone, or as a mutual of the character's owner.
    """
    there, back = follows.alias(), follows.alias()
    mutual = sa.exists(
        sa.select(1)
        .select_from(characters)
        .join(there, there.c.followed_id == characters.c.account_id)
        .join(back, back.c.account_id == characters.c.account_id)
        .where(
            characters.c.id == grants.c.character_id,
            there.c.account_id == account,
            back.c.followed_id == account,
        )
    )
    return sa.or_(
        grants.c.audience.in_([account, EVERYONE]),
        sa.and_(grants.c.audience == MUTUALS, mutual),
    )


def shown_by(store: Store, jobs: Collection[str]) -> dict[str, list[Row]]:
    """Returns the characters that jobs show, {id of the job: rows of characters}, without jobs that
    show none.
    """
    joined = appearances.join(characters, characters.c.id == appearances.c.character_id)
    asked = sa.select(appearances.c.job_id, characters).select_from(joined)
    shown: dict[str, list[Row]] = {}
    with store.engine.connect() as connection:
        for row in connection.execute(asked.where(appearances.c.job_id.in_([*jobs]))):
            shown.setdefault(row.job_id, []).append(row)
    return shown


def _recorded(account: str) -> sa.Select[Any]:
    verified = sa.and_(characters.c.status == "verified", characters.c.account_id != account)
    return sa.select(characters).where(verified)


def _insert(connection: sa.Connection, store: Store, character: dict[str, Any]) -> Row:
    row = character | {"created_at": store.clock()}
    connection.execute(sa.insert(characters).values(row))
    asked = sa.select(characters).where(characters.c.id == character["id"])
    return connection.execute(asked).one()
