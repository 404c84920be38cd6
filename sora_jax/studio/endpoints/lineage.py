"""The endpoint of one clip with all that the page shows of it: its post, the readings of the
oracles, and its lineage.

The lineage is the tree of clips that were made from each other. A clip that the reader may not see
is in the tree only if a visible clip descends from it, and has no id, prompt or account there.
"""

from typing import Any

import sqlalchemy as sa

from sora_jax.modality import ClipFormat
from sora_jax.studio.consent import permissions
from sora_jax.studio.database import jobs
from sora_jax.studio.database.store import Store
from sora_jax.studio.database.tables import accounts
from sora_jax.studio.database.tables import jobs as job_table
from sora_jax.studio.endpoints import feed, posts, sources, videos
from sora_jax.studio.endpoints.call import Call
from sora_jax.studio.storage import readings

MOST = 200  # largest number of clips of a tree
COLUMNS = (
    job_table.c.id,
    job_table.c.account_id,
    job_table.c.parent_id,
    job_table.c.kind,
    job_table.c.status,
    job_table.c.prompt,
    job_table.c.deleted_at,
    job_table.c.number,
    accounts.c.name.label("account"),
)


def retrieve(call: Call) -> dict[str, Any]:
    """Returns a clip with its post, readings and lineage. The clip must be one of the account, be
    published, or show a character that the account owns.
    """
    video, store = call.path["video_id"], call.studio.store
    post = posts.find(store, call.account, video)
    job = None if post is None else jobs.of_id(store, video)
    if job is None:
        job = sources.seen(call, video)
    mine, clip = job.account_id == call.account, jobs.find_clip(store, video)
    shown = videos.shown(call, job)
    if not mine and post is not None:
        shown["content_urls"] = posts.urls(post.id)
    return {
        "object": "clip",
        "mine": mine,
        "kind": job.kind,
        "video": shown,
        "shots": len(ClipFormat.from_dict(job.request["format"]).shots) or 1,
        "post": None if post is None else feed.shown_post(store, call.account, post),
        "readings": None if clip is None else readings.of_clip(call.studio.media, clip),
        "lineage": tree(store, call.account, video),
    }


def tree(store: Store, account: str, video: str) -> list[dict[str, Any]]:
    """Returns the tree of a clip, parents before children, oldest first.

    Args:
        store: the database.
        account: id of the account that reads.
        video: id of the clip.

    Returns:
        For each clip {"key": its index in the list, "parent": key of the clip that it was made from
        or None, "kind", "id": None for one that the reader may not see, "deleted", ...}.
    """
    with store.engine.connect() as connection:
        rows = _relatives(connection, video)
    published = posts.of_clips(store, account, rows)
    hidden = permissions.hidden(store, account, list(rows.values()))
    seen = {
        name
        for name, row in rows.items()
        if row.deleted_at is None
        and name not in hidden
        and (row.account_id == account or name in published)
    }
    kept = set()
    for name in seen:  # with all ancestors
        while name in rows and name not in kept:
            kept.add(name)
            name = rows[name].parent_id
    ordered = sorted((rows[name] for name in kept), key=lambda row: row.number)
    keys = {row.id: key for key, row in enumerate(ordered)}
    return [_node(row, keys, row.id in seen, account, published) for row in ordered]


def _relatives(connection: sa.Connection, video: str) -> dict[str, jobs.Row]:
    """Returns {id: row} of all descendants of a clip's oldest ancestor, at most MOST."""
    asked = sa.select(*COLUMNS).join(accounts, accounts.c.id == job_table.c.account_id)
    root, steps = video, 0
    while steps < MOST:
        row = connection.execute(asked.where(job_table.c.id == root)).one_or_none()
        if row is None or row.parent_id is None:
            break
        root, steps = row.parent_id, steps + 1
    rows: dict[str, jobs.Row] = {}
    level = connection.execute(asked.where(job_table.c.id == root)).all()
    while level and len(rows) < MOST:
        rows |= {row.id: row for row in level[: MOST - len(rows)]}
        children = asked.where(job_table.c.parent_id.in_([row.id for row in level]))
        level = connection.execute(children.order_by(job_table.c.number).limit(MOST)).all()
    return rows


def _node(
    row: jobs.Row,
    keys: dict[str, int],
    seen: bool,
    account: str,
    published: dict[str, jobs.Row],
) -> dict[str, Any]:
    node = {"key": keys[row.id], "parent": keys.get(row.parent_id), "kind": row.kind}
    if not seen:
        return node | {"id": None, "deleted": row.deleted_at is not None}
    post = published.get(row.id)
    return node | {
        "id": row.id,
        "deleted": False,
        "prompt": row.prompt,
        "title": "" if post is None else post.title,
        "account": row.account,
        "mine": row.account_id == account,
        "status": row.status,
        "published": post is not None,
    }
