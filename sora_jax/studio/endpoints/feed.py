"""The feed: published clips (live posts) in an order that the reader chooses.

    newest     by the time of publication, the newest first
    remixed    by the number of clips that were made from the clip
    followed   those of accounts that the reader follows, the newest first
    like       by the similarity of the prompt to that of a given clip

The similarity of two prompts is the cosine of their counts of words, each weighted by
log((1 + N) / n) for a word in n of all N prompts. The feed holds the MOST newest posts.
"""

import collections
import math
import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from sora_jax.studio.database.jobs import Row
from sora_jax.studio.database.store import Store
from sora_jax.studio.database.tables import follows
from sora_jax.studio.database.tables import jobs as job_table
from sora_jax.studio.database.tables import posts as post_table
from sora_jax.studio.endpoints import bodies, posts
from sora_jax.studio.endpoints.call import Call
from sora_jax.studio.problems import invalid, missing

ORDERS = ("newest", "remixed", "followed", "like")
MOST = 1000  # posts that are ordered
WORD = re.compile(r"[\w@]+")


def listed(call: Call) -> dict[str, Any]:
    """Returns a page of the feed. Its parameters are `order`, `limit` (24 by default), `start`
    (number of posts before the page, 0) and for the order "like" the id of a clip, `like`.
    """
    store = call.studio.store
    order = call.query.get("order", "newest")
    if order not in ORDERS:
        raise invalid(f"There is no order {order[:40]!r}; give {', '.join(ORDERS)}.", "order")
    limit = int(bodies.number(call.query, "limit", 1, 100, whole=True) or 24)
    start = int(bodies.number(call.query, "start", 0, MOST, whole=True) or 0)
    newest = posts.live().order_by(post_table.c.created_at.desc(), post_table.c.id)
    rows = posts.read(store, call.account, newest.limit(MOST))
    followed = _followed(store, call.account)
    remixes = remix_counts(store, [row.clip_id for row in rows])
    if order == "followed":
        rows = [row for row in rows if row.account_id in followed]
    elif order == "remixed":
        rows = sorted(rows, key=lambda row: -remixes[row.clip_id])
    elif order == "like":
        rows = _alike(call, rows)
    data = [shown(row, call.account, followed, remixes) for row in rows[start : start + limit]]
    return {"object": "list", "data": data, "has_more": start + limit < len(rows)}


def shown(
    row: Row, account: str, followed: set[str], remixes: collections.Counter[str]
) -> dict[str, Any]:
    """Returns a post as JSON values.

    Args:
        row: a row of the query `posts.live`.
        account: id of the account that reads.
        followed: ids of the accounts that it follows.
        remixes: number of clips made from each clip, by its id.
    """
    return {
        "id": row.id,
        "object": "post",
        "video": row.clip_id,
        "title": row.title,
        "account": row.account,
        "mine": row.account_id == account,
        "followed": row.account_id in followed,
        "kind": row.kind,
        "prompt": row.prompt,
        "seconds": row.seconds,
        "size": row.size,
        "remixes": remixes[row.clip_id],
        "created_at": int(row.created_at),
        "content_urls": posts.urls(row.id),
    }


def shown_post(store: Store, account: str, row: Row) -> dict[str, Any]:
    """Returns one post, a row of the query `posts.live`, as JSON values for a reader's account."""
    return shown(row, account, _followed(store, account), remix_counts(store, [row.clip_id]))


def remix_counts(store: Store, videos: Sequence[str]) -> collections.Counter[str]:
    """Returns the number of finished clips that were made from each of `videos`, by its id."""
    asked = (
        sa.select(job_table.c.parent_id, sa.func.count())
        .where(
            job_table.c.parent_id.in_(videos),
            job_table.c.status == "completed",
            job_table.c.deleted_at.is_(None),
        )
        .group_by(job_table.c.parent_id)
    )
    with store.engine.connect() as connection:
        found = connection.execute(asked).all()
    return collections.Counter({video: count for video, count in found})


def _followed(store: Store, account: str) -> set[str]:
    asked = sa.select(follows.c.followed_id).where(follows.c.account_id == account)
    with store.engine.connect() as connection:
        return set(connection.execute(asked).scalars())


def _alike(call: Call, rows: Sequence[Row]) -> list[Row]:
    """Returns the posts by similarity to the clip `like` of the query, without that clip."""
    video = bodies.text(call.query, "like", 100, required=True) or ""
    job = posts.find_job(call.studio.store, call.account, video)
    if job is None:
        raise missing("video", video)
    others = [row for row in rows if row.clip_id != video]
    scores = similarities(job.prompt, [row.prompt for row in others])
    ordered = sorted(range(len(others)), key=lambda i: -scores[i])
    return [others[i] for i in ordered]


def similarities(text: str, others: Sequence[str]) -> list[float]:
    """Returns the similarity of a text to each of `others`, in [0, 1], as the module defines it."""
    counts = [collections.Counter(WORD.findall(one.lower())) for one in (text, *others)]
    frequency = collections.Counter(word for one in counts for word in one)
    weighted = [
        {word: n * math.log((1 + len(counts)) / frequency[word]) for word, n in one.items()}
        for one in counts
    ]
    norms = [math.hypot(*one.values()) or 1.0 for one in weighted]
    mine = weighted[0]
    return [
        sum(mine.get(word, 0.0) * value for word, value in one.items()) / (norms[0] * norm)
        for one, norm in zip(weighted[1:], norms[1:], strict=True)
    ]
