"""`read_clip`: what the oracles read in one clip, as JSON values."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sora_jax.clip import Clip
from sora_jax.config import known_keywords
from sora_jax.errors import expect
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import AUDIO, VIDEO
from sora_jax.oracles.reading import Reading
from sora_jax.worlds.playhouse.families import FAMILIES

# Oracles whose readings are in the summary (`Reading.to_dict`), under keys of their own
OF_BALLS = ("tracker", "facts", "onsets_video", "onsets_audio", "sync", "material")
SUMMARIZED = (*OF_BALLS, "cuts", "ambience", "lips", "speakers", "shots", "state")
DIGITS = 6  # significant, of the numbers of a reading


@known_keywords
def read_clip(clip: Clip, oracles: Sequence[str] | None = None) -> dict[str, Any]:
    """Returns what the oracles read in one clip, as JSON values.

    Args:
        clip: the clip to read.
        oracles: names of oracles, such as ["words", "camera"]: the result has their readings
            alone, {name: reading}. Default None: the result is the summary of balls, impacts, cuts
            and audio (`Reading.to_dict`), and by name every other oracle, also those that a user
            registers. If the kind of the clip is known (`Clip.family`), oracles that are calibrated
            on other kinds are left out: of a talk no balls are read. If it is not, every oracle is
            read, which takes seconds: outcome, permanence and camera search through views.

    Returns:
        A dict. The reading of an oracle is None, or empty, where it finds nothing, and None of a
        clip that has too few frames, or no audio, for it.

    Raises:
        UserError: `clip` is no Clip, such as the path of a file, or its arrays are invalid
            (`Reading`), or an oracle is unknown.
    """
    kept = getattr(clip, "reading", None)  # a generated clip keeps its reading
    reading = kept if isinstance(kept, Reading) else Reading(clip)
    if oracles is not None:
        expect(oracles, (list, tuple), "oracles", 'give a list of names, as ["words"]')
        return {name: _json(_read(ORACLES[name], reading)) for name in oracles}
    result = reading.to_dict(has_balls(clip.family))
    for name, oracle in ORACLES.items():
        if name not in SUMMARIZED and _applies(oracle, clip.family):
            result[name] = _json(_read(oracle, reading))
    return result


def has_balls(family: str | None) -> bool:
    """Returns whether the clips of a family show balls alone, which trackers can read.

    True for None, an unknown kind of clips.
    """
    return family is None or bool(FAMILIES[family].max_balls and not FAMILIES[family].max_cast)


def _applies(oracle: Oracle, family: str | None) -> bool:
    """Returns whether an oracle is calibrated on clips like those of a family, or is the user's."""
    if family is None or not ORACLES.home(oracle.name).startswith("sora_jax."):
        return True
    kind = FAMILIES[family]
    stages: dict[str, bool] = {
        "room": has_balls(family),
        "narrated": True,
        "scenes": True,
        "film": bool(kind.styles and not kind.max_cast),
        "held_out": bool(kind.max_cast),
    }
    return stages.get(oracle.stage, family.startswith(oracle.stage))


def _read(oracle: Oracle, reading: Reading) -> Any:
    """Returns the reading of an oracle; None if the clip lacks what it needs."""
    if VIDEO in oracle.media and (reading.video_fault or reading.fps < oracle.min_fps):
        return None
    if AUDIO in oracle.media and reading.samples is None:
        return None
    return reading.of(oracle.name)


def _json(value: Any) -> Any:
    """Returns a reading of any type as JSON values; numbers that are not finite become None."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if hasattr(value, "to_dict"):
        return _json(value.to_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        return _json(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return str(value)
