"""Storyboards: the facts of a story (a clip with cuts), shot by shot, as values.

A storyboard has a style, an ambience, a cast, a ball and shots. A shot has a place, a framing
(`frame`), a camera move, a duration, a time before it (`later`) and acts in order. Speech is an
act. All shots show one world, so an act changes what later shots show. `storyboard_text.py` writes
storyboards as text and `storyboard_reader.py` reads them.

    style, ambience   those of the whole clip
    cast              one or two handles (names such as "@mika"), the actors 0 and 1
    place             one of PLACES; each has a lamp, a door and a score board
    frame             "wide" shows all of a place, "two-shot" the cast, "close-up" one actor
    later             seconds of the world between the end of the previous shot and this one

A shot has 1 + k n frames, where k is the number of frames per latent (one time step of the video
latents) and n >= 1 the time steps after the first (`frames_of`).
"""

import dataclasses
from fractions import Fraction
from typing import Any

from sora_jax.errors import UserError
from sora_jax.modality import FRAMES_PER_LATENT, ClipFormat, nearest_frames

PLACES = ("room a", "room b", "room c", "room d", "room e")
FRAMES = ("wide", "two-shot", "close-up")
MOVES = ("static", "pan left", "pan right", "push in", "pull out")
# Kinds of acts; `playing.py` defines what each does. IDLE waits, GO leaves for another place, LAMP
# and DOOR switch or move that of the place, HAT puts a hat on.
IDLE, LOOK, WALK, GO, THROW = "idle", "look", "walk", "go", "throw"
LAMP, DOOR, HAT, SAY = "lamp", "door", "hat", "say"
# Allowed values of `Act.to`, by kind. That of a throw is the handle of the catcher.
TARGETS = {
    IDLE: ("",),
    LOOK: ("left", "right"),
    WALK: ("left", "right"),
    GO: PLACES,
    LAMP: ("on", "off"),
    DOOR: ("open", "closed"),
    HAT: ("on",),
    SAY: ("",),
}
OUTCOMES = ("caught", "missed")  # of a throw; "" in an intent, a prompt without outcomes
MAX_WORDS = 4  # words of one speech
SECONDS = 2.0  # default duration of a shot


@dataclasses.dataclass(frozen=True)
class Act:
    """An act of one actor of a storyboard, such as a throw or a speech.

    Attributes:
        who: handle of the actor, such as "@mika".
        kind: a key of TARGETS, or THROW.
        to: one of TARGETS[kind], or of a throw the handle of the catcher. Default: "".
        outcome: of a throw, one of OUTCOMES. Default: "", not stated.
        words: of a speech, up to MAX_WORDS names in `voice.WORDS`. Default: ().
    """

    who: str
    kind: str
    to: str = ""
    outcome: str = ""
    words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Shot:
    """One shot of a storyboard.

    Attributes:
        place: one of PLACES.
        frame: the framing, one of FRAMES. Default: "wide".
        subject: handle of the actor in a close-up. Default: "", for other framings.
        move: the camera move, one of MOVES. Default: "static".
        seconds: duration. Default: SECONDS.
        later: seconds of the world that are skipped before the shot. Default: 0.
        acts: the acts, in order. Default: ().
    """

    place: str
    frame: str = "wide"
    subject: str = ""
    move: str = "static"
    seconds: float = SECONDS
    later: float = 0.0
    acts: tuple[Act, ...] = ()


@dataclasses.dataclass(frozen=True)
class Storyboard:
    """The facts of a story, shot by shot.

    Attributes:
        style: a name in FILM_STYLES.
        ambience: a name in SOUNDSCAPES.
        cast: one or two handles.
        shots: the shots in order.
        ball: colour of the ball, a name in COLOURS. Default: "", a story without a ball.
    """

    style: str
    ambience: str
    cast: tuple[str, ...]
    shots: tuple[Shot, ...]
    ball: str = ""

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "Storyboard":
        """Returns the storyboard of `fields`, the result of `to_dict`."""
        shots = tuple(
            Shot(**shot | {"acts": tuple(_act(act) for act in shot["acts"])})
            for shot in fields["shots"]
        )
        return cls(**fields | {"cast": tuple(fields["cast"]), "shots": shots})

    def key(self) -> str:
        """Returns the storyboard as one string, with the indices of the actors in place of their
        handles.
        """
        text = repr(dataclasses.replace(self, cast=()))
        for i, handle in enumerate(self.cast):
            text = text.replace(f"'{handle}'", str(i))
        return text

    def intended(self) -> "Storyboard":
        """Returns the storyboard without the outcomes of its throws, as for an intent."""
        return dataclasses.replace(
            self,
            shots=tuple(
                dataclasses.replace(
                    shot, acts=tuple(dataclasses.replace(act, outcome="") for act in shot.acts)
                )
                for shot in self.shots
            ),
        )


def _act(fields: dict) -> Act:
    values: dict[str, Any] = {**fields, "words": tuple(fields["words"])}
    return Act(**values)


def frames_of(
    seconds: float, fps: int | Fraction, frames_per_latent: int = FRAMES_PER_LATENT
) -> int:
    """Returns the number of frames of a shot: the number 1 + k n, n >= 1, nearest to its duration.

    Args:
        seconds: the duration.
        fps: frames per second.
        frames_per_latent: k. Default: FRAMES_PER_LATENT.

    Raises:
        UserError: the nearest such number differs from the duration by more than k / 2 frames.
    """
    k = frames_per_latent
    wanted = seconds * float(fps)
    frames = max(1 + k, nearest_frames(seconds, fps, k))
    if abs(frames - wanted) > k / 2:
        raise UserError(
            f"a shot of {seconds:g} s has {wanted:g} frames at {fps} fps; the nearest that has "
            f"whole latents has {frames}, so give {frames / float(fps):g} s"
        )
    return frames


def format_of(board: Storyboard, format: ClipFormat) -> ClipFormat:
    """Returns `format` with the shots of a storyboard in place of its own, and so their frames.

    Raises:
        UserError: the frames of a shot differ from its duration by more than half a latent
            (`frames_of`).
    """
    k, shots = format.frames_per_latent, []
    for number, shot in enumerate(board.shots, 1):
        try:
            shots.append(frames_of(shot.seconds, format.fps, k))
        except UserError as error:
            raise UserError(f"shot {number}: {error}", field="prompt") from None
    return dataclasses.replace(format, frames=sum(shots), shots=tuple(shots))


def check_format(board: Storyboard, format: ClipFormat) -> None:
    """Checks that the shots of a storyboard are those of a clip format.

    The duration of a shot may differ by half a latent, `format.frames_per_latent` / 2 frames.

    Raises:
        UserError: a shot has another duration, or the number of shots differs.
    """
    shots = format.shots or (format.frames,)
    if len(shots) != len(board.shots):
        raise UserError(
            f"the storyboard has {len(board.shots)} shots and the format {len(shots)}; choose a "
            "format with as many",
            field="format",
        )
    for number, (frames, shot) in enumerate(zip(shots, board.shots, strict=True), 1):
        wanted = shot.seconds * float(format.fps)
        if abs(frames - wanted) > format.frames_per_latent / 2:
            raise UserError(
                f"shot {number}: {shot.seconds:g} s are {wanted:g} frames at {format.fps} fps, "
                f"and the format has {frames}; give {frames / float(format.fps):.3g} s",
                field="prompt",
            )
