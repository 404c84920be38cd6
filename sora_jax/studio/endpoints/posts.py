"""Posts: clips that their account published. Every account of the server may see and remix them.

A post is live until it is taken back, its clip is deleted or expires, or its account's key is
deleted. A live post is hidden from a reader while `permissions.hidden` hides its clip.
"""

import secrets
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from starlette.responses import Response

from sora_jax.studio.consent import permissions
from sora_jax.studio.database import jobs
from sora_jax.studio.database.store import Store
from sora_jax.studio.database.tables import accounts, clips, posts
from sora_jax.studio.database.tables import jobs as job_table
from sora_jax.studio.endpoints import bodies
from sora_jax.studio.endpoints.call import Call
from sora_jax.studio.problems import conflict, missing
from sora_jax.studio.storage import content

TITLE = 120  # letters of a title
COLUMNS = (
    posts.c.id,
    posts.c.clip_id,
    posts.c.account_id,
    posts.c.title,
    posts.c.created_at,
    accounts.c.name.label("account"),
    job_table.c.kind,
    job_table.c.prompt,
    job_table.c.seconds,
    job_table.c.size,
    job_table.c.request,
)


def live() -> sa.Select[*tuple[Any, ...]]:
    """Returns the query of all live posts, with COLUMNS."""
    return (
        sa.select(*COLUMNS)
        .select_from(posts)
        .join(clips, clips.c.id == posts.c.clip_id)
        .join(job_table, job_table.c.id == posts.c.clip_id)
        .join(accounts, accounts.c.id == posts.c.account_id)
        .where(
            posts.c.deleted_at.is_(None),
            clips.c.deleted_at.is_(None),
            job_table.c.deleted_at.is_(None),
            accounts.c.deleted_at.is_(None),
        )
    )


def read(store: Store, viewer: str, asked: sa.Select[*tuple[Any, ...]]) -> list[jobs.Row]:
    """Returns the posts of a query made from `live` that an account may see.

    Args:
        store: the database.
        viewer: id of the account.
        asked: the query, `live()` with further conditions.
    """
    with store.engine.connect() as connection:
        rows = connection.execute(asked).all()
        made = job_table.c.id.in_([row.clip_id for row in rows])
        of_jobs = connection.execute(sa.select(job_table).where(made)).all()
    hidden = permissions.hidden(store, viewer, of_jobs)
    return [row for row in rows if row.clip_id not in hidden]


def of_clips(store: Store, viewer: str, videos: Collection[str]) -> dict[str, jobs.Row]:
    """Returns {id of the clip: row of its post} for those of `videos` that are published and that
    the account `viewer` may see.
    """
    rows = read(store, viewer, live().where(posts.c.clip_id.in_([*videos])))
    return {row.clip_id: row for row in rows}


def find(store: Store, viewer: str, video: str) -> jobs.Row | None:
    """Returns the post of a clip, given by its id; None if it has none that the account `viewer`
    may see.
    """
    return of_clips(store, viewer, [video]).get(video)


def find_job(store: Store, account: str, video: str) -> jobs.Row | None:
    """Returns the job of a clip, given by its id, if the clip is of the account, or published and
    the account may see it; else None.
    """
    own = jobs.find(store, account, video)
    if own is not None or find(store, account, video) is None:
        return own
    return jobs.of_id(store, video)


def publish(call: Call) -> dict[str, Any]:
    """Publishes a finished clip of the account. If it is published already, its title changes."""
    bodies.check_names(call.fields, ("video", "title"))
    video = bodies.text(call.fields, "video", 100, required=True) or ""
    title = bodies.text(call.fields, "title", TITLE) or ""
    store = call.studio.store
    job = jobs.find(store, call.account, video)
    if job is None:
        raise missing("video", video)
    if job.status != "completed" or jobs.find_clip(store, video) is None:
        raise conflict("Only a finished clip can be published.", "video_not_ready")
    known = find(store, call.account, video)
    post = f"post_{secrets.token_hex(12)}" if known is None else known.id
    with store.engine.begin() as connection:
        if known is None:
            row = {"id": post, "account_id": call.account, "clip_id": video, "title": title}
            connection.execute(sa.insert(posts).values(created_at=store.clock(), **row))
        else:
            connection.execute(sa.update(posts).where(posts.c.id == post).values(title=title))
    return {"id": post, "object": "post", "video": video, "title": title}


def unpublish(call: Call) -> dict[str, Any]:
    """Takes back a post of the account."""
    post, store = call.path["post_id"], call.studio.store
    own = sa.and_(
        posts.c.id == post, posts.c.account_id == call.account, posts.c.deleted_at.is_(None)
    )
    with store.engine.begin() as connection:
        update = sa.update(posts).where(own).values(deleted_at=store.clock())
        if not connection.execute(update).rowcount:
            raise missing("post", post)
    return {"id": post, "object": "post.deleted", "deleted": True}


def download(call: Call) -> Response:
    """Returns a file of a published clip, as long as its post is live."""
    post, store = call.path["post_id"], call.studio.store
    variant = content.check_variant(call.query.get("variant", "video"))
    row = next(iter(read(store, call.account, live().where(posts.c.id == post))), None)
    job = None if row is None else jobs.of_id(store, row.clip_id)
    if job is None:
        raise missing("post", post)
    return content.response(call.studio.media, job, jobs.find_clip(store, job.id), variant)


def urls(post: str) -> dict[str, str]:
    """Returns the paths of the files of a post, by variant."""
    return {name: f"/api/posts/{post}/content?variant={name}" for name in content.VARIANTS}
