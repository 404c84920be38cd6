"""Decides whether an account may generate clips that show characters, and who may see such clips.
No other module decides this.

The decision is made when a request is accepted, when a worker begins to sample, at every heartbeat
of that worker, and when a clip is shown. Each time it reads grants and restrictions anew from the
database.

A job shows the characters that it is given, those whose handles or ids its prompt names, those of
the clip that it starts from, and those that `screening` finds in an uploaded file.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from sora_jax.characters.gate import Gate
from sora_jax.characters.records import Character
from sora_jax.data.prompts import NAME
from sora_jax.errors import UserError
from sora_jax.studio.consent.captures import identity_of
from sora_jax.studio.database import likenesses
from sora_jax.studio.database.jobs import Row
from sora_jax.studio.database.store import Store
from sora_jax.studio.database.tables import accounts, appearances, jobs
from sora_jax.studio.problems import Problem, invalid

ID = re.compile(r"char_[0-9a-f]{32}")
MOST_HANDLES = 64  # different handles in a prompt


@dataclasses.dataclass(frozen=True)
class Shown:
    """A recorded character in the form that a gate takes (`characters.gate.Shown`)."""

    fingerprint: str
    character: None = None


class StoredRecords:
    """The recorded characters of the database, in the form that the gate of one account takes
    (`characters.gate.Recorded`).
    """

    def __init__(self, store: Store, account: str, characters: Mapping[str, str]):
        """Makes the records.

        Args:
            store: the database.
            account: id of the account that asks.
            characters: {fingerprint of the references: id of the character}.
        """
        self.store, self.account, self.characters = store, account, dict(characters)

    def of_references(self, references: str) -> Character | None:
        """Returns the character whose references have this fingerprint; None if there is none. It
        is granted to the account, or to nobody.
        """
        row = likenesses.find(self.store, self.characters.get(references, ""))
        if row is None or row.status != "verified":
            return None
        granted = likenesses.granted(self.store, self.account, [row])
        return Character(
            row.handle,
            row.account_id,
            references,
            identity_of(row.identity),
            "accounts",
            (self.account,) if granted else (),
            tuple(row.restrictions or ()),
            row.deleted_at is not None,
        )


def gate(store: Store, account: str, characters: Mapping[str, str]) -> Gate:
    """Returns the gate of an account, which reads the database at every check.

    Args:
        store: the database.
        account: id of the account that generates.
        characters: {fingerprint of the references: id of the character}.
    """
    return Gate(account, StoredRecords(store, account, characters))


def named(store: Store, prompt: str) -> tuple[list[str], list[str]]:
    """Returns the ids of the characters that a prompt names by their handles, in the order of the
    text, and the ids of those that it names in other ways: by a handle that looks alike, or by id.

    Raises:
        Problem: status 400; a name has letters beyond ASCII, which may look like others, or there
            are more than MOST_HANDLES names.
    """
    handles = list(dict.fromkeys(NAME.findall(prompt)))
    if strange := [one for one in handles if not one.isascii()]:
        raise invalid(
            f"The name @{strange[0][:40]} has letters that look like others; give a to z, digits "
            "and _.",
            "prompt",
        )
    if len(handles) > MOST_HANDLES:
        raise invalid(f"The prompt names more than {MOST_HANDLES} characters.", "prompt")
    skeletons = {likenesses.skeleton(one.lower()) for one in handles}
    found = {row.handle: row.id for row in likenesses.of_skeletons(store, skeletons)}
    exact = [found.pop(one) for one in handles if one in found]
    ids = list(dict.fromkeys(ID.findall(prompt)))
    return exact, [*found.values(), *likenesses.of_ids(store, ids)]


def shown(
    store: Store,
    prompt: str,
    given: Sequence[str],
    found: Collection[str] = (),
    start: Sequence[str] = (),
) -> tuple[list[str], list[str]]:
    """Returns the ids of the characters whose references a request needs, and the ids of all
    characters that its clip shows.

    Args:
        store: the database.
        prompt: text of the request.
        given: ids of the characters that the request gives. Unknown ids are kept: `check` refuses
            them.
        found: ids of the characters that an uploaded file shows. Default: none.
        start: ids of the videos from which the request starts. Default: none.

    Raises:
        Problem: status 400; the names in the prompt are refused by `named`.
    """
    by_handle, otherwise = named(store, prompt)
    characters = list(dict.fromkeys([*given, *by_handle]))
    before = likenesses.shown_by(store, start).values()
    inherited = [one.id for rows in before for one in rows]
    return characters, list(dict.fromkeys([*characters, *otherwise, *inherited, *found]))


def check(store: Store, account: str, characters: Collection[str], prompt: str) -> None:
    """Checks that an account may now generate a clip that shows these characters.

    Args:
        store: the database.
        account: id of the account that generates.
        characters: ids of the characters.
        prompt: the text, which must keep their restrictions.

    Raises:
        Problem: status 403, with the code `character_not_verified` or
            `character_permission_denied`.
    """
    if not characters:
        return
    rows = likenesses.of_ids(store, characters)
    for one in characters:
        if one not in rows or rows[one].status != "verified":
            raise Problem(
                403,
                f"The character {one[:80]!r} is not verified, so nothing can be generated with it.",
                "character_not_verified",
                "characters",
            )
    likes = {row.handle: Shown(row.fingerprint) for row in rows.values()}
    known = {row.fingerprint: row.id for row in rows.values()}
    try:
        gate(store, account, known).check(prompt, likes)
    except UserError as error:
        message = f"{error.message[0].upper()}{error.message[1:]}."
        raise Problem(403, message, "character_permission_denied", "characters") from None


def withdrawn(store: Store, at_work: Sequence[Row]) -> set[str]:
    """Returns the ids of those jobs among `at_work` that show a character which their account may
    not use any more.
    """
    shown = likenesses.shown_by(store, [job.id for job in at_work])
    return {job.id for job in at_work if _missing(store, job, shown.get(job.id, ()))}


def hidden(store: Store, viewer: str, rows: Sequence[Row]) -> set[str]:
    """Returns the ids of those jobs among `rows` that an account may not see. These show a
    character that the maker of the clip may not show any more, and that the viewer does not own.

    Args:
        store: the database.
        viewer: id of the account that wants to see them; "" for nobody.
        rows: rows of the table `jobs`.
    """
    shown = likenesses.shown_by(store, [job.id for job in rows])
    return {
        job.id
        for job in rows
        if any(one.account_id != viewer for one in _missing(store, job, shown.get(job.id, ())))
    }


def _missing(store: Store, job: Row, shown: Sequence[Row]) -> list[Row]:
    """Returns those of the characters `shown` that the account of a job may not use now."""
    if not shown:
        return []
    granted = likenesses.granted(store, job.account_id, shown)
    return [one for one in shown if one.id not in granted]


def owns_shown(store: Store, account: str, job: str) -> bool:
    """Returns whether an account owns a character that a job shows."""
    shown = likenesses.shown_by(store, [job]).get(job, ())
    return any(one.account_id == account for one in shown)


def clips_of(
    store: Store, character: str, after: str | None, limit: int
) -> tuple[Sequence[Row], bool, dict[str, str]] | None:
    """Returns a page of the jobs that show a character, newest first.

    Args:
        store: the database.
        character: id of the character.
        after: id of the last job of the page before. None: the start.
        limit: most jobs of the page.

    Returns:
        The rows, whether more follow, and {id: name} of their accounts; None if `after` is no job
        that shows the character.
    """
    joined = jobs.join(appearances, appearances.c.job_id == jobs.c.id)
    own = appearances.c.character_id == character
    asked = sa.select(jobs).select_from(joined).where(own, jobs.c.deleted_at.is_(None))
    with store.engine.connect() as connection:
        if after is not None:
            cursor = sa.select(jobs.c.number).select_from(joined).where(own, jobs.c.id == after)
            number = connection.execute(cursor).scalar_one_or_none()
            if number is None:
                return None
            asked = asked.where(jobs.c.number < number)
        rows = connection.execute(asked.order_by(jobs.c.number.desc()).limit(limit + 1)).all()
        ids = {row.account_id for row in rows}
        names = sa.select(accounts.c.id, accounts.c.name).where(accounts.c.id.in_(ids))
        return rows[:limit], len(rows) > limit, {i: name for i, name in connection.execute(names)}
