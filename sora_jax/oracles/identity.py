"""Identity: whose face is seen. The embedding of its head (`heads.py`) is compared with those of
the stills of characters, which are reference pictures.

A face shows its own character if the stills of that character are nearest, among those of the 64
held-out characters of the catalogue (rank 1). No table of an oracle was fitted on a held-out
character. A character's own stills are drawn anew for every take, in a style and a light of their
own. So a model that copies a face from the stills that it is given is no nearer to them.

Limits: those of `heads.py`.
"""

import dataclasses
import functools
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from sora_jax.oracles.base import STRICT, Oracle
from sora_jax.oracles.conditions import corrupt, corrupt_frames, redrawn
from sora_jax.oracles.examples import VIDEO, Example
from sora_jax.oracles.heads import DIMENSIONS, SAME, distance, embed, embed_stills
from sora_jax.worlds.playhouse import cast, references
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.stream import Stream

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

GALLERY = "held_out"  # part of the catalogue of characters with which a face is compared
SEED = 90_000  # first seed of the stills of the gallery


@functools.cache
def gallery() -> np.ndarray:
    """Returns the embeddings of the stills of all held-out characters, [64, DIMENSIONS]."""
    return np.stack([_still(who, SEED + i) for i, who in enumerate(cast.catalogue(GALLERY))])


@functools.lru_cache(maxsize=4096)
def _still(character: cast.Character, seed: int) -> np.ndarray:
    """Returns the embedding [DIMENSIONS] of stills of a character that are drawn by a seed."""
    silent = dataclasses.replace(character, voice=None)
    return embed_stills(references.references(silent, seed).stills)


def actors(take: Take) -> list[cast.Actor]:
    """Returns the actors of a take, from left to right."""
    return sorted(take.scene.cast, key=_x)


def _x(actor: cast.Actor) -> float:
    return actor.x


def distances(take: Take, embeddings: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Returns for each actor of a take, from left to right, (distance of its face to the stills of
    its own character, distances to the stills of all other held-out characters [63 or 64]).

    Args:
        take: the take that the clip should show.
        embeddings: of the faces seen, from left to right, [N, DIMENSIONS] for N actors.
    """
    found = []
    for i, (actor, seen) in enumerate(zip(actors(take), embeddings, strict=True)):
        key = zlib.crc32(f"identity/{take.family}/{take.split}/{take.index}/{i}".encode())
        own = _looks(actor)
        others = np.array([one.key() != own for one in cast.catalogue(GALLERY)])
        mine = float(distance(seen, _still(actor.character, key)))
        found.append((mine, distance(gallery(), seen)[others]))
    return found


def _looks(actor: cast.Actor) -> str:
    return actor.character.key()


def _recast(take: Take, stream: Stream) -> Take:
    """Returns a take whose actors have the looks of other held-out characters."""
    known = {_looks(actor) for actor in take.scene.cast}
    others = [one for one in cast.catalogue(GALLERY) if one.key() not in known]
    changed = []
    for actor in take.scene.cast:
        other = others.pop(stream.integer(len(others)))
        other = dataclasses.replace(
            other, voice=actor.character.voice, height=actor.character.height
        )
        changed.append(dataclasses.replace(actor, character=other))
    scene = dataclasses.replace(take.scene, cast=tuple(changed))
    return dataclasses.replace(take, scene=scene)


@corrupt(VIDEO)
def impostors(clips: list[Example]) -> list[Example]:
    """Corruption: the clips with other held-out characters, of the same heights and voices, who say
    and do the same.
    """
    return redrawn(clips, [_recast(c.take, Stream(23, c.take.index)) for c in clips])


@corrupt_frames
def hues(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` with their colour channels permuted, so that skin, hair
    and clothes have other colours.
    """
    return c.frames[..., [2, 0, 1]]


class IdentityOracle(Oracle):
    """Oracle `identity`: whether every face is nearest to the stills of its own character, among 64
    held-out characters.
    """

    name = "identity"
    media = (VIDEO,)
    tolerance = "every face nearest to its own stills, among those of 64 held-out characters"
    corruptions = (impostors, hues)
    ceiling = STRICT
    stage = "held_out"

    def read(self, reading: "Reading") -> np.ndarray:
        """Returns the embeddings of the faces, from left to right, [N, DIMENSIONS]."""
        found = [embed(reading.frames, face) for face in reading.faces]
        return np.array(found, np.float32).reshape(-1, DIMENSIONS)

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether as many faces are seen as the take has actors, and each is nearest to the
        stills of its own character; None for a take without actors or with an animal.
        """
        cast_of = example.take.scene.cast
        if not cast_of or any(actor.character.kind != "person" for actor in cast_of):
            return None
        embeddings = reading.of(self.name)
        return len(embeddings) == len(cast_of) and all(
            mine < others.min() for mine, others in distances(example.take, embeddings)
        )

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns every clip with the take of the next clip that has as many actors, of whom none
        is in this clip. A clip is left out if there is none.
        """
        shuffled = []
        for i, clip in enumerate(clips):
            own = {_looks(actor) for actor in clip.take.scene.cast}
            for other in clips[i + 1 :] + clips[:i]:
                theirs = {_looks(actor) for actor in other.take.scene.cast}
                if len(theirs) == len(own) and not theirs & own:
                    shuffled.append(dataclasses.replace(clip, take=other.take))
                    break
        return shuffled

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Returns the rows equal error rate, rates of false rejection and acceptance at distance
        SAME, and share of faces that are nearer to the stills of their own character than to those
        of one that differs in two factors of its look.
        """
        mine, others, apart = [], [], []
        for clip, reading in zip(examples, readings, strict=True):
            embeddings = reading.of(self.name)
            if len(embeddings) != len(clip.take.scene.cast):
                continue
            compared = distances(clip.take, embeddings)
            for actor, seen, (own, far) in zip(
                actors(clip.take), embeddings, compared, strict=True
            ):
                mine.append(own)
                others.append(far)
                alike = look_alike(actor.character, clip.take.index)
                apart.append(own < distance(seen, _still(alike, SEED + clip.take.index)))
        if not mine:
            return []
        own, far = np.array(mine), np.concatenate(others)
        rate, at = equal_error(own, far)
        return [
            ("identity: equal error rate (at distance)", f"{rate:.4f} ({at:.1f})", len(own)),
            (
                f"identity: at distance {SAME:g}, own stills rejected; others accepted",
                f"{np.mean(own >= SAME):.4f}; {np.mean(far < SAME):.4f}",
                len(own),
            ),
            (
                "identity: nearer to its own stills than to those of a character that differs in "
                "two factors",
                f"{np.mean(apart):.3f}",
                len(apart),
            ),
        ]


def equal_error(own: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Returns (equal error rate, distance at which it lies): false rejections, own > distance, are
    there as frequent as false acceptances, others <= distance.

    Args:
        own: distances [n] of faces to stills of the same character.
        others: distances [m] of faces to stills of other characters.
    """
    at = np.sort(np.concatenate([own, others]))
    rejected = 1.0 - np.searchsorted(np.sort(own), at, side="right") / len(own)
    accepted = np.searchsorted(np.sort(others), at, side="right") / len(others)
    k = int(np.argmin(np.abs(rejected - accepted)))
    return float(0.5 * (rejected[k] + accepted[k])), float(at[k])


def look_alike(character: cast.Character, seed: int) -> cast.Character:
    """Returns a character that differs from the given one in two random factors of its look, such
    as hair and skin, which `seed` draws. Its height is the same, because stills do not show it.
    """
    stream = Stream(24, seed)
    names = [name for name in cast.FACTORS if name != "height"]
    changed: dict[str, Any] = {}
    for _ in range(2):
        name = names.pop(stream.integer(len(names)))
        options = [one for one in cast.FACTORS[name] if one != getattr(character, name)]
        changed[name] = stream.choice(options)
    return dataclasses.replace(character, **changed)
