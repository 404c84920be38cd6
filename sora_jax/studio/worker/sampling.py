"""Prepares a job for sampling: checks its consent, and builds its request and the statement that
its files will be signed with.

The consent is determined again from the job itself. What the API process found when it accepted
the job is not used.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.pipelines.generate import Pipeline
from sora_jax.pipelines.likeness import Likeness
from sora_jax.pipelines.request import Request
from sora_jax.provenance.authority import Authority
from sora_jax.provenance.manifest import Statement
from sora_jax.studio.consent import captures, permissions, screening
from sora_jax.studio.database import accounts, jobs, likenesses
from sora_jax.studio.database.store import Store
from sora_jax.studio.storage.media_store import MediaStore

ACTIONS = {"create": "created", "remix": "remixed", "edit": "edited", "extend": "extended"}


class Refused(Exception):
    """A job that cannot be done.

    Attributes:
        code: name of the reason, for programs, such as "source_deleted".
        message: one line for the user.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code, self.message = code, message


@dataclasses.dataclass(frozen=True)
class Admitted:
    """The characters of a job whose consent was checked.

    Attributes:
        likenesses: {handle in the prompt: references of the character}.
        known: {fingerprint of the references: id of the character}.
        consent: an entry of the manifest for each character that the clip shows: {"character",
            "id", "grant", "checked_at"}.
    """

    likenesses: Mapping[str, Likeness]
    known: Mapping[str, str]
    consent: Sequence[Mapping[str, Any]]


def admit(
    store: Store, media: MediaStore, authority: Authority, job: jobs.Row, size: int
) -> Admitted:
    """Checks whether the characters of a job may be shown now, and records which ones it shows.

    Args:
        store: the database.
        media: the media store.
        authority: the authority whose marks are searched in uploaded files.
        job: row of the job.
        size: side in pixels of the stills that the model reads.

    Raises:
        Problem: status 403; a character may not be shown.
        Refused: the key of the job was deleted.
        UserError: a file cannot be read.
    """
    if not accounts.active(store, job.account_id):
        raise Refused("key_deleted", "The key of this video was deleted.")
    asked, found = job.request, []
    source = asked.get("source", {})
    start = [one for one in (job.parent_id, source.get("clip")) if one is not None]
    for key in (asked.get("first_frame"), source.get("upload")):
        if key is not None:
            found += screening.characters_in(store, authority, media.path(key))
    given = asked.get("characters", [])
    characters, every = permissions.shown(store, job.prompt, given, found, start)
    permissions.check(store, job.account_id, every, job.prompt)
    if every:
        jobs.show(store, job.id, every)
    rows = likenesses.of_ids(store, every)
    likes, known = {}, {}
    for one in characters:
        row = rows[one]
        path = media.path(captures.likeness_key(one))
        stills, samples = captures.load(path, row.fingerprint)
        like = Likeness(scaled(stills, size), samples)
        likes[row.handle], known[like.fingerprint] = like, one
    now = int(time.time())
    entries = [
        {
            "character": f"@{row.handle}",
            "id": row.id,
            "grant": "owner" if row.account_id == job.account_id else "granted",
            "checked_at": now,
        }
        for row in rows.values()
    ]
    return Admitted(likes, known, entries)


def scaled(stills: np.ndarray, size: int) -> np.ndarray:
    """Returns stills, uint8 [4, H, W, 3], resized to [4, size, size, 3]."""
    if stills.shape[1:3] == (size, size):
        return stills
    smaller = (
        Image.fromarray(one).resize((size, size), Image.Resampling.BILINEAR) for one in stills
    )
    return np.stack([np.asarray(one) for one in smaller])


def statement(
    job: jobs.Row, media: MediaStore, store: Store, consents: Sequence[Mapping[str, Any]]
) -> Statement:
    """Returns what the manifests of a job's files say. `consents` is `Admitted.consent`.

    Raises:
        Refused: the source of the job was deleted.
    """
    source = job.request.get("source")
    parents = [] if source is None else [source_path(source, media, store)]
    details = {"model": job.model, "seed": job.request["seed"], "generated_at": int(time.time())}
    return Statement(job.id, ACTIONS[job.kind], parents, consents, None, details)


def build_request(
    job: jobs.Row,
    pipeline: Pipeline,
    media: MediaStore,
    store: Store,
    characters: Mapping[str, Likeness] | None = None,
) -> Request:
    """Returns the request of a job, with its files read.

    Args:
        job: row of the job.
        pipeline: the pipeline, in the format of the job.
        media: the media store.
        store: the database.
        characters: {handle in the prompt: likeness of the character}. Default: none.

    Raises:
        UserError: a file cannot be read.
        Refused: the source of the job was deleted.
    """
    asked = job.request
    guidance = asked["guidance"]
    scales = Guidance() if guidance is None else Guidance(text=guidance)
    fields: dict[str, Any] = {
        "prompt": job.prompt,
        "negative_prompt": asked["negative_prompt"],
        "seed": asked["seed"],
        "sampler": SamplerConfig(steps=asked["steps"], guidance=scales),
    }
    if characters:
        fields["characters"] = dict(characters)
    if "first_frame" in asked:
        fields["first_frame"] = str(media.path(asked["first_frame"]))
    if "source" in asked:
        source = str(source_path(asked["source"], media, store))
        if job.kind == "extend":
            fields |= {"continued": source, "seconds": asked["added"]}
        elif asked["shot"] is not None:
            fields |= {"edited": source, "edit_shot": asked["shot"]}
        else:
            strength = asked["strength"]
            fields |= {"remixed": source} | ({} if strength is None else {"strength": strength})
    return pipeline.read_request(fields)[0]


def source_path(source: Mapping[str, str], media: MediaStore, store: Store) -> Path:
    """Returns the path of the video that a job starts from. Raises Refused if it was deleted.

    `source` is {"clip": id} or {"upload": key in the media store}.
    """
    if "upload" in source:
        return media.path(source["upload"])
    clip = jobs.find_clip(store, source["clip"])
    if clip is None:
        raise Refused("source_deleted", "The video that this one starts from was deleted.")
    media.fetch(clip.folder)  # the latents stand beside the video
    return media.path(f"{clip.folder}/video.mp4")
