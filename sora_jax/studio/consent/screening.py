"""Finds the recorded characters that uploaded files show.

There are four kinds of evidence: the manifest of a file that this server published; its invisible
mark; frames that equal those of a clip of this server which shows a recorded character; and faces
of recorded characters. Frames are compared by their signatures, GRID x GRID mean colours, which
survive encoding and scaling but no crop. Faces are compared with the tolerance of the oracle
`identity`. Only faces that the oracles find can be recognised, those of the world's characters.
"""

import dataclasses
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from PIL import Image

from sora_jax.clip import as_floats
from sora_jax.errors import UserError
from sora_jax.media.video import read_window, stated_length
from sora_jax.oracles import heads
from sora_jax.oracles.faces import SIZE, find_faces
from sora_jax.provenance import manifest, picture_mark, sound_mark
from sora_jax.provenance.authority import Authority
from sora_jax.provenance.manifest import Parent
from sora_jax.studio.database import likenesses
from sora_jax.studio.database.jobs import Row
from sora_jax.studio.database.store import Store
from sora_jax.studio.database.tables import appearances, clips

LONGEST = 20.0  # seconds of a video that are read
MOMENTS = 24  # frames that are read from these seconds, evenly spread
PARTS = 6  # parts of a video, in each of which faces are searched
GRID = 8  # rows and columns of a signature
ALIKE = 4.0  # frames are equal if their signatures differ by less on average, in levels of 255
FLAT = 4.0  # standard deviation of a signature below which a frame shows nothing


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The evidence in a file of who is shown in it.

    Attributes:
        jobs: ids of the jobs that its manifest names, with those of its parents. Default: none.
        payloads: 32-bit numbers in its invisible marks and its manifest. Default: none.
        faces: embeddings of the faces found (`heads.embed`). Default: none.
        frames: signatures of its frames, as `signatures` returns them. Default: none.
    """

    jobs: frozenset[str] = frozenset()
    payloads: frozenset[int] = frozenset()
    faces: tuple[tuple[float, ...], ...] = ()
    frames: bytes = b""


def characters_in(
    store: Store, authority: Authority, path: Path, recorded: Sequence[Row] | None = None
) -> list[str]:
    """Returns the ids of the recorded characters that a file shows, as far as there is evidence.

    Args:
        store: the database.
        authority: the authority whose marks are searched.
        path: a picture, or an mp4 file.
        recorded: rows of the verified characters. Default None: all of the database. If there are
            none, the file is not opened.

    Raises:
        UserError: the file cannot be read.
    """
    recorded = likenesses.everybody(store) if recorded is None else recorded
    return match(store, evidence(os.fspath(path), authority), recorded) if recorded else []


def match(store: Store, found: Evidence, recorded: Sequence[Row]) -> list[str]:
    """Returns the ids of the characters to which the evidence points, sorted. Faces are compared
    with those of the characters in `recorded`.
    """
    ids = set(_shown(store, found.jobs, found.payloads))
    ids |= _of_frames(store, found.frames)
    for row in recorded:
        face = np.array(row.identity["face"])
        if any(heads.distance(face, np.array(one)) < heads.SAME for one in found.faces):
            ids.add(row.id)
    return sorted(ids)


def _shown(store: Store, jobs: Collection[str], payloads: Collection[int]) -> list[str]:
    marked = sa.select(clips.c.id).where(clips.c.payload.in_([*payloads]))
    which = sa.or_(appearances.c.job_id.in_([*jobs]), appearances.c.job_id.in_(marked))
    asked = sa.select(appearances.c.character_id).where(which).distinct()
    with store.engine.connect() as connection:
        return list(connection.execute(asked).scalars())


def _of_frames(store: Store, frames: bytes) -> set[str]:
    """Returns the ids of the characters in those clips of this server that have a frame equal to
    one of `frames`, packed signatures.
    """
    if not frames:
        return set()
    seen, ids = _unpacked(frames), set()
    joined = appearances.join(clips, clips.c.id == appearances.c.job_id)
    asked = sa.select(appearances.c.character_id, clips.c.signatures).select_from(joined)
    with store.engine.connect() as connection:
        for row in connection.execute(asked.where(clips.c.signatures.is_not(None))):
            if row.character_id in ids:
                continue
            own = _unpacked(row.signatures)
            if any(np.abs(own - one).mean(1).min(initial=np.inf) < ALIKE for one in seen):
                ids.add(row.character_id)
    return ids


def signatures(frames: np.ndarray) -> bytes:
    """Returns the packed signatures of frames, uint8 [F, H, W, 3]: for each the mean RGB of GRID x
    GRID cells, 3 GRID^2 bytes. Frames that show nothing (FLAT) are left out.
    """
    small = [
        np.asarray(Image.fromarray(one).resize((GRID, GRID), Image.Resampling.BOX))
        for one in frames
    ]
    return b"".join(one.tobytes() for one in small if one.std() >= FLAT)


def _unpacked(packed: bytes) -> np.ndarray:
    """Returns packed signatures as float32 [F, 3 GRID^2]."""
    return np.frombuffer(packed, np.uint8).reshape(-1, 3 * GRID**2).astype(np.float32)


def evidence(path: str, authority: Authority) -> Evidence:
    """Returns the evidence of who is shown in a file, a picture or an mp4 file.

    Raises:
        UserError: the file cannot be read.
    """
    found = manifest.read(path)
    jobs = set() if found is None else {found.job, *_jobs(found.parents)}
    payloads = set() if found is None or found.payload is None else {found.payload}
    if manifest.media_type(path).startswith("image/"):
        frames, samples, rate = _picture(path)[None], None, 0
        groups = [frames]
    else:
        seconds = min(stated_length(path) or LONGEST, LONGEST)
        moments = (np.arange(MOMENTS) + 0.5) * seconds / MOMENTS
        read = read_window(path, 0.0, seconds, None, moments)
        frames, samples, rate = read.frames, read.samples, read.sample_rate
        groups = np.array_split(frames, PARTS)
    marks = [picture_mark.detect(frames, authority.mark_key)]
    if samples is not None and rate >= sound_mark.LEAST_RATE:
        marks.append(sound_mark.detect(samples.mean(1), authority.mark_key, rate))
    payloads |= {mark.payload for mark in marks if mark is not None}
    faces = [face for group in groups if len(group) for face in _faces(group)]
    return Evidence(frozenset(jobs - {""}), frozenset(payloads), tuple(faces), signatures(frames))


def _picture(path: str) -> np.ndarray:
    """Returns a picture, uint8 [H, W, 3]. Raises UserError if it cannot be decoded."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def _jobs(parents: Sequence[Parent]) -> list[str]:
    return [job for one in parents for job in (one.job, *_jobs(one.parents))]


def _faces(frames: np.ndarray) -> list[tuple[float, ...]]:
    """Returns the embeddings of the faces in the middle square of frames [F, H, W, 3]."""
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = as_floats(frames[:, top : top + side, left : left + side], "frames")
    if side < SIZE // 2:
        return []
    found = find_faces(square)
    return [tuple(float(part) for part in heads.embed(square, face)) for face in found]
