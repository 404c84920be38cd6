"""The jobs table: accepted requests, who works on them, and how they ended.

    queued -> in_progress -> completed | failed
    queued | in_progress -> cancelled

A worker claims jobs by one conditional UPDATE (on PostgreSQL over rows that FOR UPDATE SKIP LOCKED
gives it), so no job has two owners. A claim holds for the seconds of its lease, which the heartbeat
of the worker renews. A job whose lease has lapsed goes back to the queue; it fails after several
lost workers. Every later change by a worker is a conditional UPDATE too: it changes nothing if the
worker does not own the job any more.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from sora_jax.studio.database.store import Store
from sora_jax.studio.database.tables import accounts, appearances, clips, jobs
from sora_jax.studio.database.wake import announce

Row = sa.Row[Any]
UNFINISHED = ("queued", "in_progress")
LOST = {
    "code": "worker_lost",
    "message": "The workers of this job died again and again; it is not tried any more.",
}


def new_id(kind: str = "video") -> str:
    """Returns an id that nobody can guess, such as video_0f3c..."""
    return f"{kind}_{secrets.token_hex(16)}"


def accept(
    store: Store, job: Mapping[str, Any], most: int, shown: Iterable[str] = ()
) -> Row | None:
    """Adds a job to the queue and returns its row. Returns None if the account has `most`
    unfinished jobs, or its key was deleted.

    Args:
        store: the database.
        job: its columns of the table `jobs`: id, account_id, kind, model, prompt, seconds, size,
            request, batch_key and perhaps parent_id.
        most: largest number of unfinished jobs of an account, with this one.
        shown: ids of the characters that the job shows. Default: none.
    """
    account = job["account_id"]
    count = (
        sa.select(sa.func.count())
        .select_from(jobs)
        .where(jobs.c.account_id == account, jobs.c.status.in_(UNFINISHED))
    )
    active = sa.select(accounts.c.id).where(
        accounts.c.id == account, accounts.c.deleted_at.is_(None)
    )
    row = {"status": "queued", "progress": 0, "attempts": 0, "created_at": store.clock(), **job}
    with store.engine.begin() as connection:
        # The requests of an account are counted one after another: PostgreSQL locks its row here,
        # and SQLite the database by the insertion.
        connection.execute(active.with_for_update())
        connection.execute(sa.insert(jobs).values(row))
        known = connection.execute(active).first()
        if known is None or connection.execute(count).scalar_one() > most:
            connection.rollback()
            return None
        _show(connection, job["id"], shown)
        announce(store, connection)
        return connection.execute(sa.select(jobs).where(jobs.c.id == job["id"])).one()


def show(store: Store, job: str, characters: Iterable[str]) -> None:
    """Records, by their ids, further characters that a job shows."""
    with store.exclusive() as connection:
        _show(connection, job, characters)


def _show(connection: sa.Connection, job: str, characters: Iterable[str]) -> None:
    own = sa.select(appearances.c.character_id).where(appearances.c.job_id == job)
    known = set(connection.execute(own).scalars())
    if new := [one for one in dict.fromkeys(characters) if one not in known]:
        rows = [{"job_id": job, "character_id": one} for one in new]
        connection.execute(sa.insert(appearances), rows)


def cancel(store: Store, job: str) -> bool:
    """Cancels an unfinished job. Returns False if it has ended."""
    with store.engine.begin() as connection:
        unfinished = sa.and_(jobs.c.id == job, jobs.c.status.in_(UNFINISHED))
        return bool(
            connection.execute(sa.update(jobs).where(unfinished).values(_cancelled(store))).rowcount
        )


def of_id(store: Store, job: str) -> Row | None:
    """Returns the job with an id, of any account; None if there is none, or it was deleted."""
    asked = sa.select(jobs).where(jobs.c.id == job, jobs.c.deleted_at.is_(None))
    with store.engine.connect() as connection:
        return connection.execute(asked).one_or_none()


def find(store: Store, account: str, job: str) -> Row | None:
    """Returns the job with an id, if it is of this account and was not deleted; else None."""
    asked = sa.select(jobs).where(
        jobs.c.id == job, jobs.c.account_id == account, jobs.c.deleted_at.is_(None)
    )
    with store.engine.connect() as connection:
        return connection.execute(asked).one_or_none()


def find_clip(store: Store, job: str) -> Row | None:
    """Returns the row of `clips` of a finished job; None if there is none, or its files are
    deleted.
    """
    asked = sa.select(clips).where(clips.c.id == job, clips.c.deleted_at.is_(None))
    with store.engine.connect() as connection:
        return connection.execute(asked).one_or_none()


def page(
    store: Store, account: str, after: str | None, limit: int, ascending: bool
) -> tuple[Sequence[Row], bool] | None:
    """Returns a page of the jobs of an account, in order of acceptance.

    Args:
        store: the database.
        account: id of the account.
        after: id of the last job of the page before; it may be deleted since. None: the start.
        limit: most jobs of the page.
        ascending: True for the oldest first.

    Returns:
        The rows, and whether more follow; None if `after` is no job of the account.
    """
    own = jobs.c.account_id == account
    order = jobs.c.number.asc() if ascending else jobs.c.number.desc()
    asked = sa.select(jobs).where(own, jobs.c.deleted_at.is_(None))
    with store.engine.connect() as connection:
        if after is not None:
            cursor = sa.select(jobs.c.number).where(own, jobs.c.id == after)
            number = connection.execute(cursor).scalar_one_or_none()
            if number is None:
                return None
            asked = asked.where(jobs.c.number > number if ascending else jobs.c.number < number)
        rows = connection.execute(asked.order_by(order).limit(limit + 1)).all()
    return rows[:limit], len(rows) > limit


def waiting(store: Store) -> bool:
    """Returns whether any job is queued, or has a lapsed lease. It only reads, so that idle workers
    lock no other process out of the database.
    """
    queued = jobs.c.status == "queued"
    asked = sa.select(jobs.c.number).where(sa.or_(queued, _lapsed(store))).limit(1)
    with store.engine.connect() as connection:
        return connection.execute(asked).first() is not None


def claim(store: Store, worker: str, most: int, lease: float) -> Sequence[Row]:
    """Claims the oldest job of the queue, with others that can be generated together with it.

    Args:
        store: the database.
        worker: id of the worker.
        most: most jobs to claim.
        lease: seconds that the claim holds without a heartbeat.

    Returns:
        The rows, oldest first; empty if the queue is empty.
    """
    first = (
        sa.select(jobs.c.batch_key)
        .where(jobs.c.status == "queued")
        .order_by(jobs.c.number)
        .limit(1)
    ).scalar_subquery()
    chosen = (
        sa.select(jobs.c.number)
        .where(jobs.c.status == "queued", jobs.c.batch_key == first)
        .order_by(jobs.c.number)
        .limit(most)
    )
    if store.is_postgres:
        chosen = chosen.with_for_update(skip_locked=True)
    ours = {
        "status": "in_progress",
        "owner": worker,
        "lease_until": store.clock() + lease,
        "started_at": store.clock(),
        "attempts": jobs.c.attempts + 1,
        "progress": 0,
    }
    numbers = sa.select(chosen.cte("chosen").c.number)  # a CTE is evaluated once, with its limit
    update = (
        sa.update(jobs)
        .where(jobs.c.number.in_(numbers), jobs.c.status == "queued")
        .values(ours)
        .returning(jobs)
    )
    with store.engine.begin() as connection:
        return sorted(connection.execute(update).all(), key=_number)


def _number(row: Row) -> int:
    return row.number


def take_back(store: Store, attempts: int) -> int:
    """Puts jobs with lapsed leases back into the queue, and returns their number. A job that was
    claimed `attempts` times fails instead.
    """
    lapsed = _lapsed(store)
    dead = {"status": "failed", "error": LOST, "completed_at": store.clock(), "owner": None}
    with store.engine.begin() as connection:
        connection.execute(sa.update(jobs).where(lapsed, jobs.c.attempts >= attempts).values(dead))
        back = {"status": "queued", "owner": None, "progress": 0}
        return connection.execute(sa.update(jobs).where(lapsed).values(back)).rowcount


def heartbeat(
    store: Store, worker: str, names: Iterable[str], progress: int, lease: float
) -> set[str]:
    """Renews the leases of jobs, records their progress, and returns the ids of those that the
    worker still owns.

    Args:
        store: the database.
        worker: id of the worker.
        names: ids of the jobs.
        progress: per cent of the work that is done.
        lease: seconds that the claims hold from now on.
    """
    update = (
        sa.update(jobs)
        .where(_owned(worker), jobs.c.id.in_([*names]))
        .values(lease_until=store.clock() + lease, progress=progress)
        .returning(jobs.c.id)
    )
    with store.engine.begin() as connection:
        return set(connection.execute(update).scalars())


def release(store: Store, worker: str) -> None:
    """Puts the jobs of a worker that stops back into the queue. They do not lose an attempt."""
    back = {
        "status": "queued",
        "owner": None,
        "progress": 0,
        "attempts": jobs.c.attempts - 1,
    }
    with store.engine.begin() as connection:
        connection.execute(sa.update(jobs).where(_owned(worker)).values(back))


def complete(
    store: Store, worker: str, job: Row, clip: Mapping[str, Any], keep_seconds: float
) -> bool:
    """Completes a job with its clip. Returns False if the worker does not own the job any more.

    `clip` holds columns of the table `clips`, as `storage.publish.publish` returns them. Its files
    are deleted after `keep_seconds`.
    """
    done = {"status": "completed", "progress": 100, "owner": None, "completed_at": store.clock()}
    with store.engine.begin() as connection:
        update = sa.update(jobs).where(_owned(worker), jobs.c.id == job.id).values(done)
        if not connection.execute(update).rowcount:
            return False
        now = store.now(connection)
        times = {"created_at": now, "expires_at": now + keep_seconds}
        row = {"id": job.id, "account_id": job.account_id, **clip, **times}
        connection.execute(sa.insert(clips).values(row))
    return True


def fail(store: Store, worker: str, job: str, code: str, message: str) -> bool:
    """Fails a job, with an error (`code` for programs, `message`) that its user sees. Returns False
    if the worker does not own the job any more.
    """
    error = {"code": code, "message": message}
    bad = {"status": "failed", "error": error, "owner": None, "completed_at": store.clock()}
    with store.engine.begin() as connection:
        update = sa.update(jobs).where(_owned(worker), jobs.c.id == job).values(bad)
        return bool(connection.execute(update).rowcount)


def delete(store: Store, job: str) -> None:
    """Marks a job and its clip as deleted; an unfinished job is cancelled. The caller deletes the
    files.
    """
    with store.engine.begin() as connection:
        unfinished = sa.and_(jobs.c.id == job, jobs.c.status.in_(UNFINISHED))
        connection.execute(sa.update(jobs).where(unfinished).values(_cancelled(store)))
        gone = {"deleted_at": store.clock()}
        connection.execute(sa.update(jobs).where(jobs.c.id == job).values(gone))
        connection.execute(sa.update(clips).where(clips.c.id == job).values(gone))


def cancel_all(store: Store, connection: sa.Connection, account: str) -> None:
    """Cancels the unfinished jobs of an account, within the transaction of a connection."""
    unfinished = sa.and_(jobs.c.account_id == account, jobs.c.status.in_(UNFINISHED))
    connection.execute(sa.update(jobs).where(unfinished).values(_cancelled(store)))


def expired(store: Store) -> Sequence[Row]:
    """Marks the clips that have expired as deleted, and returns their rows."""
    with store.engine.begin() as connection:
        ended = sa.and_(clips.c.expires_at < store.clock(), clips.c.deleted_at.is_(None))
        update = sa.update(clips).where(ended).values(deleted_at=store.clock()).returning(clips)
        return connection.execute(update).all()


def counts(store: Store) -> dict[str, int]:
    """Returns {status: number of jobs}, without statuses that no job has."""
    asked = sa.select(jobs.c.status, sa.func.count()).group_by(jobs.c.status)
    with store.engine.connect() as connection:
        return {status: count for status, count in connection.execute(asked).all()}


def _lapsed(store: Store) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.status == "in_progress", jobs.c.lease_until < store.clock())


def _owned(worker: str) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.owner == worker, jobs.c.status == "in_progress")


def _cancelled(store: Store) -> dict[str, Any]:
    return {"status": "cancelled", "owner": None, "completed_at": store.clock()}
