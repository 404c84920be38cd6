"""Fits the embedding of heads (`heads.py`) on renders of random characters that are not held out.

The renders are talks (clips in which characters speak), in all styles, and stills (the reference
pictures of a character).
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from sora_jax.modality import FORMATS
from sora_jax.oracles import faces, heads
from sora_jax.oracles.examples import head_centres, render_takes
from sora_jax.worlds.playhouse import acting, cast, references
from sora_jax.worlds.playhouse.draw import Take, draw
from sora_jax.worlds.playhouse.families.talk import MIDDLE
from sora_jax.worlds.playhouse.spec import FILM_STYLES
from sora_jax.worlds.playhouse.stream import Stream

FIRST = 61_000  # index of the first take in the split `train`
FOUND = 0.08  # widths of the frame: largest distance of a found face from the true head
JITTER = 0.02  # metres: deviation of the errors added to the centres of stills, which are known
# frames [LOOKS, SIZE, SIZE, 3], face as found, shift from it to the true centre [2], character
Row = tuple[np.ndarray, faces.Face, np.ndarray, cast.Character]


def stranger(stream: Stream, like: cast.Character | None = None) -> cast.Character:
    """Returns a random person that is not held out, with the voice of the character `like`
    (default None: no voice).
    """
    tables = cast.FACTORS.items()
    while True:
        drawn = {name: stream.choice(options) for name, options in tables}
        one = cast.Character(**drawn, voice=like.voice if like else None)
        if not one.held_out:
            return one


def recast(take: Take, stream: Stream) -> Take:
    """Returns a talk whose actors are random persons (`stranger`) with the same voices. The view of
    a close-up is moved to the height of the new head.
    """
    actors = tuple(
        dataclasses.replace(actor, character=stranger(stream, actor.character))
        for actor in take.scene.cast
    )
    (x, y, top, width), *_ = take.scene.view
    if take.facts.shot == "close-up":
        top = acting.head_height(actors[0].character) + MIDDLE["close-up"] * width
    scene = dataclasses.replace(take.scene, cast=actors, view=((x, y, top, width),))
    return dataclasses.replace(take, scene=scene)


def training_heads(num_clips: int, num_stills: int) -> Iterator[Row]:
    """Yields (frames, face as found, shift from it to the true centre of the head [2] in metres,
    character) of every head that is found in talks, and of the characters shown as stills.

    Args:
        num_clips: number of talks.
        num_stills: number of characters shown as stills.
    """
    stream, rng = Stream(25), np.random.default_rng(0)
    for first in range(FIRST, FIRST + num_clips, 16):
        numbers = range(first, min(first + 16, FIRST + num_clips))
        takes = [draw("train", i, family="talk", style=FILM_STYLES[i % 4]) for i in numbers]
        for clip in render_takes([recast(take, stream) for take in takes], FORMATS["S"]):
            found = faces.find_faces(clip.frames)
            for actor, (x, y) in zip(clip.take.scene.cast, head_centres(clip).mean(1), strict=True):
                near = [face for face in found if np.hypot(face.x - x, face.y - y) < FOUND]
                for face in near[:1]:
                    shift = face.shown * np.array([x - face.x, y - face.y])
                    yield heads.looks(clip.frames), face, shift, actor.character
    for i in range(num_stills):
        character, shift = stranger(stream), rng.normal(scale=JITTER, size=2)
        stills = references.references(character, FIRST + i).stills
        yield stills[:1], heads.moved(heads.STILL, -shift), shift, character


def degraded(frames: np.ndarray, i: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the frames of head i, which are unchanged, blurred or noisy, in turns with i."""
    if i % 3 == 1:
        return ndimage.gaussian_filter(frames, (0, 1, 1, 0))
    noise = rng.normal(scale=rng.uniform(5, 15) / 255, size=frames.shape) if i % 3 == 2 else 0.0
    return np.clip(frames + noise, 0.0, 1.0).astype(np.float32)


def fit(num_clips: int, num_stills: int) -> heads.Table:
    """Returns the table of the embedding, fitted on talks and on characters shown as stills.

    Args:
        num_clips: number of talks.
        num_stills: number of characters shown as stills.
    """
    rng = np.random.default_rng(1)
    frames, found, shifts, characters = zip(*training_heads(num_clips, num_stills), strict=True)
    frames = [degraded(one, i, rng) for i, one in enumerate(frames)]
    return heads.fit(frames, found, np.array(shifts), np.array([c.features() for c in characters]))
