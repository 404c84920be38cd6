"""Serves the files of finished clips, and signs URLs with which they can be loaded without a key.

A URL holds the id of the account for which it was made, the time at which it expires, and a
signature: the HMAC-SHA256, under a secret of the database, of these two, the clip and the variant
(video, thumbnail ...). It expires when the clip's files are deleted, and stops working earlier if
the account may not see the clip any more.
"""

import hashlib
import hmac
from collections.abc import Mapping

import sqlalchemy as sa
from starlette.responses import FileResponse

from sora_jax.studio.database import jobs, likenesses, tables
from sora_jax.studio.database.store import Store
from sora_jax.studio.problems import Problem, conflict, invalid
from sora_jax.studio.storage.media_store import MediaStore
from sora_jax.studio.storage.publish import VARIANTS

STALE_SECONDS = 86_400.0  # age at which files that belong to no clip are deleted


class Signer:
    """Signs and checks URLs."""

    def __init__(self, store: Store):
        """Takes the secret of signed URLs from the database."""
        self._secret = store.secret("urls")

    def url(self, video: str, variant: str, expires: int, viewer: str) -> str:
        """Returns the path and query of a signed URL.

        Args:
            video: id of the video.
            variant: a key of VARIANTS.
            expires: when the URL expires, in seconds since 1970.
            viewer: id of the account for which it is made.
        """
        signature = self._signature(video, variant, expires, viewer)
        query = f"variant={variant}&viewer={viewer}&expires={expires}&signature={signature}"
        return f"/v1/videos/{video}/content?{query}"

    def check(self, video: str, query: Mapping[str, str], now: float) -> None:
        """Raises Problem if a URL was not signed here, or has expired.

        Args:
            video: id of the video in its path.
            query: parameters of its query, as `url` wrote them, at least "signature".
            now: the time in seconds since 1970.
        """
        expires, signature = query.get("expires", ""), query["signature"]
        good = expires.isascii() and expires.isdigit() and len(expires) < 12
        variant, viewer = query.get("variant", "video"), query.get("viewer", "")
        right = self._signature(video, variant, int(expires), viewer) if good else ""
        if not good or not hmac.compare_digest(right.encode(), signature.encode()):
            raise Problem(403, "The URL is not signed by this server.", "invalid_signature")
        if now >= int(expires):
            raise Problem(403, "The URL has ended; retrieve the video again.", "url_expired")

    def _signature(self, video: str, variant: str, expires: int, viewer: str) -> str:
        message = f"{video}|{variant}|{expires}|{viewer}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


def check_variant(variant: str) -> str:
    """Returns `variant`. Raises Problem if it is not a key of VARIANTS."""
    if variant not in VARIANTS:
        raise invalid(
            f"There is no variant {variant[:40]!r}; give {', '.join(VARIANTS)}.", "variant"
        )
    return variant


def response(media: MediaStore, job: jobs.Row, clip: jobs.Row | None, variant: str) -> FileResponse:
    """Returns the file of a clip; a client may ask for a range of it.

    Args:
        media: the media store.
        job: row of the job.
        clip: row of its clip, or None.
        variant: a key of VARIANTS.

    Raises:
        Problem: status 409 if the job is not completed, 404 if its files were deleted.
    """
    if job.status != "completed":
        raise conflict(
            f"The video is {job.status.replace('_', ' ')}, not completed; it has no content.",
            "video_not_ready",
        )
    name, kind = VARIANTS[variant]
    path = None if clip is None else media.path(f"{clip.folder}/{name}")
    if path is None or not path.is_file():
        raise Problem(404, "The content of this video has expired.", "video_expired", "video_id")
    return FileResponse(
        path,
        media_type=kind,
        filename=f"{job.id}{path.suffix}",
        headers={"cache-control": "private", "x-content-type-options": "nosniff"},
    )


def sweep(store: Store, media: MediaStore) -> None:
    """Deletes the files of clips that have expired, and files older than STALE_SECONDS that belong
    to no clip, unfinished job or character.

    The latter are left by processes that were killed while they wrote, and by uploads to jobs that
    have ended.
    """
    for clip in jobs.expired(store):
        media.delete(f"clips/{clip.id}")
    for key in media.old("clips", STALE_SECONDS):
        clip = jobs.find_clip(store, key.split("/")[1])
        if clip is None or clip.folder != key:
            media.delete(key)
    with store.engine.connect() as connection:
        asked = sa.select(tables.jobs.c.id).where(tables.jobs.c.status.in_(jobs.UNFINISHED))
        unfinished = set(connection.execute(asked).scalars())
    for key in media.old("uploads", STALE_SECONDS):
        if key.split("/")[1] not in unfinished:
            media.delete(key)
    for key in media.old("characters", STALE_SECONDS):
        name = key.split("/")[1]
        row = likenesses.find(store, name)
        if row is None or row.status == "rejected" or row.deleted_at is not None:
            media.delete(f"characters/{name}")
