"""Loads the readings of the oracles (programs that measure a clip). The worker computes them when
it makes a clip, and stores them beside the video (`pipelines.record`).
"""

import json
from typing import Any

from sora_jax.studio.database.jobs import Row
from sora_jax.studio.storage.media_store import MediaStore


def of_clip(media: MediaStore, clip: Row) -> dict[str, Any]:
    """Returns the readings of a clip: its verdict (whether it shows what its prompt asks, fact by
    fact), and what each oracle measured.

    Args:
        media: the media store.
        clip: row of the clip.

    Returns:
        {"verdict": of `Verdict.to_dict`, "oracles": of `Reading.to_dict`, "seconds": duration}.
        "oracles" is {} if the file of the readings is missing or damaged.
    """
    path = media.path(f"{clip.folder}/video.json")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        report = {}
    oracles = report.get("oracles", {})
    return {"verdict": clip.verdict, "oracles": oracles, "seconds": clip.seconds}
