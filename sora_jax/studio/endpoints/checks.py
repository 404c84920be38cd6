"""The endpoint that checks the provenance of a file: its manifest, and its invisible marks.

The answer has the shape of OpenAI's `content_provenance_checks`; unlike that, the endpoint takes
video too. A result of type `c2pa` describes the signed manifest, one of type `sora_jax_mark` the
invisible marks.
"""

import os
import secrets
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from sora_jax.errors import UserError
from sora_jax.provenance.check import Report
from sora_jax.provenance.manifest import Parent
from sora_jax.studio.database.tables import clips
from sora_jax.studio.endpoints import bodies
from sora_jax.studio.endpoints.call import Call
from sora_jax.studio.problems import Problem, invalid

HEAD = 12  # bytes that tell the type of a file


def check(call: Call) -> dict[str, Any]:
    """Returns who signed an uploaded file, whether it was changed since, which marks it carries,
    and which job made it.
    """
    bodies.check_names(call.fields, ("file",))
    file = bodies.upload(call.fields, "file")
    if file is None:
        raise Problem(
            400, "The parameter 'file' is missing; give a file.", "missing_parameter", "file"
        )
    suffix = kind_of(file.file)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{secrets.token_hex(4)}{suffix}"
        path.write_bytes(file.file.read())
        try:
            report = call.studio.verifier.check(path)
        except UserError:
            raise Problem(
                422, "The file cannot be decoded; give another one.", "unreadable", "file"
            ) from None
    with call.studio.store.engine.connect() as connection:
        now = int(call.studio.store.now(connection))
    results = [_manifest(report), _mark(call, report)]
    return {"object": "content_provenance_check", "created_at": now, "results": results}


def kind_of(file: BinaryIO) -> str:
    """Returns the suffix of a file's type, which its first bytes show, such as ".mp4".

    Raises:
        Problem: status 400 for a type in which manifests are not supported.
    """
    head = file.read(HEAD)
    file.seek(0, os.SEEK_SET)
    if head[4:8] == b"ftyp":
        return ".m4a" if head[8:11] == b"M4A" else ".mp4"
    if head[:4] == b"RIFF" and head[8:12] in (b"WAVE", b"WEBP"):
        return ".wav" if head[8:12] == b"WAVE" else ".webp"
    for start, suffix in ((b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg")):
        if head.startswith(start):
            return suffix
    raise invalid("The file is no mp4, m4a, wav, PNG, JPEG or WebP file.", "file")


def _manifest(report: Report) -> dict[str, Any]:
    found = report.manifest
    if found is None:
        return {"type": "c2pa", "outcome": "not_detected", "validation_state": "not_present"}
    return {
        "type": "c2pa",
        "outcome": "detected",
        "issuer": found.signer,
        "model": found.details.get("model"),
        "generated_at": found.details.get("generated_at"),
        "validation_state": found.state,
        "problems": list(found.problems),
        "video_id": found.job or None,
        "action": found.action or None,
        "parents": [_parent(one) for one in found.parents],
        "consent": [dict(one) for one in found.consent],
    }


def _mark(call: Call, report: Report) -> dict[str, Any]:
    """Returns the result on the marks: their payloads, the job whose clip has the payload, and
    whether marks and manifest contradict each other.
    """
    media = [name for name in ("picture", "sound") if getattr(report, name) is not None]
    found = [getattr(report, name) for name in media]
    if not found:
        return {"type": "sora_jax_mark", "outcome": "not_detected"}
    payloads = sorted({mark.payload for mark in found})
    with call.studio.store.engine.connect() as connection:
        asked = sa.select(clips.c.id).where(clips.c.payload.in_(payloads))
        jobs = sorted(connection.execute(asked).scalars())
    return {
        "type": "sora_jax_mark",
        "outcome": "detected",
        "media": media,
        "payloads": [f"{one:08x}" for one in payloads],
        "video_id": jobs[0] if len(jobs) == 1 else None,
        "contradicts_manifest": len(report.payloads) > 1,
    }


def _parent(one: Parent) -> dict[str, Any]:
    parents = [_parent(other) for other in one.parents]
    return {"title": one.title, "video_id": one.job or None, "parents": parents}
