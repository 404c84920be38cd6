"""Looks, the styles and camera moves of families `film` and `occlude`: drawing, captions, judging.

    caption = style "," camera ":" clause

The clause says what the balls do and is not handled here. The last phrase of every table is held
out: only the split `paraphrase` uses it.
"""

import dataclasses

from sora_jax.worlds.playhouse.camera import MOVES
from sora_jax.worlds.playhouse.captions import CaptionError, Picker, Reader
from sora_jax.worlds.playhouse.families.base import Line
from sora_jax.worlds.playhouse.spec import DIRECTIONS, FILM_STYLES
from sora_jax.worlds.playhouse.stream import Stream

STYLE_PHRASES = {
    "flat": ("in flat colours", "flat colours", "in plain colours"),
    "realistic": ("realistic", "lifelike", "as in real life"),
    "cinematic": ("cinematic", "like a film", "as in the cinema"),
    "anime": ("anime", "in anime style", "as an anime"),
}
CAMERA_PHRASES = {
    "static": ("the camera stands still", "still camera", "from a fixed camera"),
    "pan": ("the camera pans to the {d}", "panning to the {d}", "the camera turns to the {d}"),
    "push-in": ("the camera pushes in", "the camera comes closer", "closing in"),
    "follow": ("the camera follows", "the camera goes along", "following the ball"),
    "shake": ("the camera shakes", "a shaking camera", "the view trembles"),
}


@dataclasses.dataclass(frozen=True)
class Look:
    """The style and the camera move of a filmed clip.

    Attributes:
        style: a name in FILM_STYLES.
        camera: camera move, a name in MOVES.
        direction: of a pan, "left" or "right". Default: None, for other moves.
    """

    style: str
    camera: str
    direction: str | None = None


def draw_look(stream: Stream, style: str, camera: str) -> Look:
    """Returns the look of a style and a camera move. A pan gets a direction drawn from `stream`."""
    return Look(style, camera, stream.choice(DIRECTIONS) if camera == "pan" else None)


def pairs(style: str | None = None, moves: tuple[str, ...] = MOVES) -> list[tuple[str, str]]:
    """Returns every pair (style, camera move).

    Args:
        style: the only style. Default: None, all of FILM_STYLES.
        moves: the camera moves. Default: MOVES.
    """
    return [(name, move) for name in FILM_STYLES if style in (None, name) for move in moves]


def words_of(look: Look, pick: Picker) -> str:
    """Returns the part of a caption that states a look, up to the colon and a space.

    `pick` chooses the phrases.
    """
    return (
        f"{pick.phrase(STYLE_PHRASES[look.style])}, "
        f"{pick.phrase(CAMERA_PHRASES[look.camera]).format(d=look.direction)}: "
    )


def judge_look(look: Look, style: str | None, camera: tuple[str | None, str | None]) -> list[Line]:
    """Compares the look of a prompt with a clip. Returns lines for style, camera and its direction.

    Args:
        look: the look of the prompt.
        style: style of the clip; None if it is unknown.
        camera: (move, direction) of the camera in the clip; None where unknown.
    """
    lines = [
        Line.compare(None, "style", look.style, style),
        Line.compare(None, "camera", look.camera, camera[0]),
    ]
    if look.direction is not None:
        lines.append(Line.compare(None, "camera direction", look.direction, camera[1]))
    return lines


_CAMERAS = {
    (camera, d): tuple(p.format(d=d) for p in phrases)
    for camera, phrases in CAMERA_PHRASES.items()
    for d in (DIRECTIONS if camera == "pan" else (None,))
}


def parse_look(text: str) -> tuple[Look, str]:
    """Reads the look at the start of a caption: "in flat colours, the camera stands still:".

    Returns:
        The look, and the caption with spaces in place of the look, so that the columns of later
        errors stay correct.

    Raises:
        CaptionError: the text does not start with a look. The message says the column and what was
            expected there.
    """
    head, colon, rest = text.partition(":")
    reader = Reader(head)
    style = reader.phrase(STYLE_PHRASES, f"a style ({', '.join(FILM_STYLES)})")
    camera, direction = reader.phrase(_CAMERAS, "a camera such as 'the camera stands still'")
    reader.finish("':'")
    if not colon:
        raise CaptionError(len(text) + 1, "':' after style and camera", "end of text")
    return Look(style, camera, direction), " " * (len(head) + 1) + rest


WORDS = tuple(
    sorted(
        {
            word
            for phrases in (*STYLE_PHRASES.values(), *_CAMERAS.values())
            for p in phrases
            for word in p.split()
        }
    )
)
