"""Selects one of the formats that a model was trained on."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat

RATE_SLACK = 0.02  # rates that differ by this share are the same, as in `media.fit_clip`


def select(
    formats: Sequence[ClipFormat],
    height: int = 0,
    width: int = 0,
    fps: float = 0.0,
    seconds: float = 0.0,
    shots: int = 0,
) -> ClipFormat:
    """Returns the first of `formats` with given sides, rate, duration and number of shots.

    Args:
        formats: those that a model was trained on; the first is the default.
        height: in pixels. Default 0: any.
        width: in pixels. Default 0: any.
        fps: frames per second. Default 0: any.
        seconds: duration, to the nearest with whole latents. Default 0: any.
        shots: number of shots. Default 0: any.

    Raises:
        UserError: no format has them, or a value cannot be; the message lists the formats.
    """
    for format in formats:
        if (seconds and format.shots) or shots not in (0, max(1, len(format.shots))):
            continue
        try:
            asked = format.changed(height, width, fps, seconds)
        except ValueError as error:
            raise UserError(str(error)) from None
        if asked == format:
            return format
    known = "; ".join(map(str, formats))
    raise UserError(f"this model makes {known}; ask for one of these, or train on another format")


def same_rate(rate: float, fps: Fraction | int) -> bool:
    """True if a file of `rate` frames per second is shown at `fps` without a change of its rate."""
    return bool(abs(rate - fps) <= RATE_SLACK * fps)


def like(
    formats: Iterable[ClipFormat], sides: tuple[int, int], rate: float, asked: Mapping[str, Any]
) -> ClipFormat | None:
    """Returns the one of `formats` with the sides and the rate of a clip, None if there is none.

    Args:
        formats: those that a model was trained on, the preferred one first.
        sides: height and width of the clip.
        rate: frames per second of the clip.
        asked: arguments of `select`, which count instead of the clip's sides or rate.
    """
    asked = {name: value for name, value in asked.items() if value}

    def fits(format: ClipFormat) -> bool:
        try:
            select([format], **asked)
        except UserError:
            return False
        if not {"height", "width"} & asked.keys() and sides != (format.height, format.width):
            return False
        return "fps" in asked or same_rate(rate, format.fps)

    fitting = sorted(filter(fits, formats), key=lambda one: (bool(one.shots), abs(rate - one.fps)))
    return fitting[0] if fitting else None
