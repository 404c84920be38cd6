"""What the oracles read in a clip. The worker reads it when it makes the clip, and stores it beside
the video (`pipelines.record`).
"""

import json
from typing import Any

from sora_jax.studio.database.jobs import Row
from sora_jax.studio.storage.media_store import MediaStore


def of_clip(media: MediaStore, clip: Row) -> dict[str, Any]:
    """Returns the readings of a clip: its verdict, fact by fact, and what each oracle read.

    Args:
        media: the media store.
        clip: row of the clip.

    Returns:
        {"verdict": `Verdict.to_dict`, "oracles": `Reading.to_dict`, "seconds": duration}. oracles
        is {} if the file is gone.
    """
    path = media.path(f"{clip.folder}/video.json")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        report = {}
    oracles = report.get("oracles", {})
    return {"verdict": clip.verdict, "oracles": oracles, "seconds": clip.seconds}
