"""Examples: clips together with the takes that they show, for judging oracles and models.

A take is a drawn scene with its trajectory and captions. `STAGES` makes the clips that an
oracle is calibrated on. `shuffled`, `disordered`, `exchanged_audio`, `blank` and `empty` make
examples on which a measurement must score low.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np

from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.registry import Registry
from sora_jax.worlds.playhouse import acting, render, sound, voice
from sora_jax.worlds.playhouse.camera import project, views
from sora_jax.worlds.playhouse.draw import Take, draw
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.phyworld import TASKS
from sora_jax.worlds.playhouse.spec import FILM_STYLES, Narration
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.takes import render_batch

VIDEO, AUDIO = "video", "audio"
IMPACT_TO_WORD = 0.25  # least seconds from an impact to the next word of a narrator
BETWEEN_WORDS = 0.12  # least seconds of silence between two words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example(Clip):
    """A clip and the take (scene, trajectory and captions) that it shows or was prompted to show.

    Attributes:
        take: the scene, its trajectory and its captions.
        format: frame count, frame rate and size of the clip.
        reference: a render of the take, for metrics that compare with it. Default: None.
    """

    take: Take
    format: ClipFormat
    reference: Clip | None = None

    @property
    def rng(self) -> np.random.Generator:
        """A new random generator for corruptions, always with the same seed: the take's index."""
        return np.random.default_rng([17, self.take.index])


def example(
    take: Take, frames: np.ndarray, samples: np.ndarray | None, format: ClipFormat
) -> Example:
    """Returns the `Example` of a take, from frames [F, H, W, 3] and samples [S] or None in a
    format.
    """
    return Example(frames, samples, format.fps, family=take.family, take=take, format=format)


def ground_truth(
    split: str, indices: Iterable[int], format: ClipFormat, batch: int = 16
) -> list[Example]:
    """Returns renders of takes of a split of family `room`, with their takes.

    For every format, the takes are those that models train on and are scored on.

    Args:
        split: "train", "val" or another split.
        indices: of the takes in the split.
        format: format of the clips.
        batch: clips rendered at a time. Default 16.
    """
    return render_takes([draw(split, i) for i in indices], format, batch)


def render_takes(takes: list[Take], format: ClipFormat, batch: int = 16) -> list[Example]:
    """Returns takes with their rendered video and audio.

    All batches have `batch` takes, so the renderer compiles once.

    Args:
        takes: the takes.
        format: format of the clips.
        batch: takes rendered at a time. Default 16.
    """
    clips = []
    for first in range(0, len(takes), batch):
        group = takes[first : first + batch]
        full = group + [group[-1]] * (batch - len(group))
        rendered = render_batch(full, format)
        frames, samples = (
            np.asarray(rendered[name])[: len(group)] for name in ("frames", "samples")
        )
        clips += [example(*clip, format) for clip in zip(group, frames, samples, strict=True)]
    return clips


def room(clips: list[Example]) -> list[Example]:
    """Returns the clips, which are of family `room`, unchanged: the calibration stage "room"."""
    return clips


def narrated(clips: list[Example]) -> list[Example]:
    """Adds spoken words to the audio of the clips.

    The voices are not among those that the words oracle is trained on, and no word coincides with
    an impact.
    """
    takes = []
    for c in clips:
        stream, speaker, words, time = (
            Stream(21, c.take.index),
            c.take.index % len(voice.HELD_OUT_VOICES),
            [],
            0.1,
        )
        speaker = voice.HELD_OUT_VOICES[speaker]
        while time < c.format.seconds:
            word = stream.choice(list(voice.WORDS))
            end = time + voice.duration(word, speaker)
            overlapping = [
                contact.time
                for contact in c.take.trajectory.contacts
                if time - IMPACT_TO_WORD < contact.time < end + 0.03
            ]
            if overlapping:
                # 1 ms more, so that rounding cannot place the word inside IMPACT_TO_WORD again
                time = max(overlapping) + IMPACT_TO_WORD + 0.001
            else:
                words.append((time, word))
                time = end + BETWEEN_WORDS + stream.uniform(0.0, 0.1)
        complete = tuple(
            (start, word)
            for start, word in words
            if start + voice.duration(word, speaker) < c.format.seconds - 0.05
        )
        takes.append(
            dataclasses.replace(
                c.take,
                scene=dataclasses.replace(c.take.scene, narration=Narration(speaker, complete)),
            )
        )
    samples = np.asarray(
        sound.synthesise(sound.sound_inputs(takes, clips[0].format), clips[0].format)
    )
    return [
        dataclasses.replace(c, take=take, samples=audio)
        for c, take, audio in zip(clips, takes, samples, strict=True)
    ]


def phyworld(clips: list[Example]) -> list[Example]:
    """Returns as many clips of the PhyWorld families as are given, cycling through the tasks."""
    families = [f"phyworld_{task}_30k" for task in TASKS]
    return render_takes(
        [draw("val", i, family=families[i % len(families)]) for i in range(len(clips))],
        FORMATS["phyworld"],
    )


@dataclasses.dataclass(frozen=True)
class Staged:
    """A function of clips that renders as many clips of a family of scenes, for calibration.

    They have the indices and split of the given clips. If the family lacks that split, it uses
    `val`.

    Attributes:
        name: name of the family and of the stage.
        styles: styles to cycle through; () leaves the style to the family.
        format: name of the format. Default: "", the format of the given clips.
        split: split of the family. Default: "", the split of the given clips.
    """

    name: str
    styles: tuple[str, ...] = ()
    format: str = ""
    split: str = ""

    def __call__(self, clips: list[Example]) -> list[Example]:
        """Returns as many clips of the family as are given."""
        splits = FAMILIES[self.name].splits
        split = self.split or (clips[0].take.split if clips[0].take.split in splits else "val")
        takes = []
        for i, clip in enumerate(clips):
            style: dict[str, Any] = (
                {"style": self.styles[i % len(self.styles)]} if self.styles else {}
            )
            takes.append(draw(split, clip.take.index, family=self.name, **style))
        own = FORMATS[self.format] if self.format else clips[0].format
        return render_takes(takes, own, min(16, len(takes)))


@dataclasses.dataclass(frozen=True)
class Alternating:
    """A function of clips that renders as many clips of several stages in turns, for calibration.

    Attributes:
        name: name of the stage.
        parts: the stages.
    """

    name: str
    parts: tuple[Staged, ...]

    def __call__(self, clips: list[Example]) -> list[Example]:
        """Returns as many clips; clip i is of stage i modulo their number."""
        n = len(self.parts)
        turns = [part(clips[k::n]) if clips[k::n] else [] for k, part in enumerate(self.parts)]
        return [turns[i % n][i // n] for i in range(len(clips))]


FILM, OCCLUDE, COURT = Staged("film", FILM_STYLES), Staged("occlude"), Staged("court")
TALK, STORY = Staged("talk", FILM_STYLES, "S"), Staged("story", FILM_STYLES, "story3")
# talks of held-out characters
HELD_OUT = Alternating("held_out", (Staged("talk", FILM_STYLES, "S", "identity"),))
# half of them stories of several shots, half clips of one shot
SCENES = Alternating("scenes", (STORY, TALK, STORY, FILM))
# Each maps clips of rooms to as many examples of its stage.
STAGES: Registry[Callable[[list[Example]], list[Example]]] = Registry(
    "stage", None, [room, narrated, FILM, OCCLUDE, COURT, phyworld, TALK, STORY, SCENES, HELD_OUT]
)


def head_centres(clip: Example) -> np.ndarray:
    """Returns the true centres of the heads in every frame of a clip, [N, F, 2]: x and y in widths
    of the frame, for N actors in the order of the scene.
    """
    times, size = clip.format.frame_times(), clip.format.size
    seen, rows = views(clip.take.scene, times), []
    for actor in clip.take.scene.cast:
        pose = acting.pose(actor, times)
        rows.append((project(seen, pose["ground"] + pose["head"], size) + 0.5) / size)
    return np.array(rows).reshape(-1, len(times), 2)


def empty_rooms(clips: list[Example]) -> np.ndarray:
    """Returns renders of the clips without balls and actors, and of films without posts,
    [B, F, H, W, 3].
    """
    scenes = [
        dataclasses.replace(
            c.take.scene,
            shapes=tuple(s for s in c.take.scene.shapes if s.paint != "post"),
            cast=(),
        )
        for c in clips
    ]
    inputs: dict[str, Any] = render.render_inputs(
        [dataclasses.replace(c.take, scene=scene) for c, scene in zip(clips, scenes, strict=True)],
        clips[0].format,
    )
    inputs["radius"][:] = 0.0
    return np.asarray(render.render(inputs, clips[0].format))


def quiet(c: Example) -> np.ndarray:
    """Returns the ambient noise of a clip without its impacts and words, samples [S]."""
    scene = dataclasses.replace(c.take.scene, narration=None, rolling=False, cast=())
    bare = dataclasses.replace(c.take, scene=scene)
    inputs = sound.sound_inputs([bare], c.format)
    inputs["coarse"][:] = 0.0
    inputs["click"][:] = 0.0
    return np.asarray(sound.synthesise(inputs, c.format))[0]


def empty(clips: list[Example]) -> list[Example]:
    """Returns the clips with the room without balls and actors as video, and the ambient noise
    without impacts and words as audio.
    """
    return [
        dataclasses.replace(c, frames=room, samples=quiet(c))
        for c, room in zip(clips, empty_rooms(clips), strict=True)
    ]


def facts_key(take: Take) -> Hashable:
    """Returns a hashable key of all facts in a take's caption."""
    facts: Any = take.facts  # every family's facts have `key`
    return facts.key()


def shuffled(clips: list[Example], key: Callable[[Take], Hashable] = facts_key) -> list[Example]:
    """Returns every clip with the take of another clip.

    Args:
        clips: clips to shuffle.
        key: function of a take that returns its key. Clip i gets the take of the next clip whose
            key differs. Default: facts_key, all facts.

    Raises:
        UserError: all other clips have the same key.
    """
    out = []
    for i, c in enumerate(clips):
        others = (clips[(i + k) % len(clips)].take for k in range(1, len(clips)))
        take = next((take for take in others if key(take) != key(c.take)), None)
        if take is None:
            raise UserError(
                f"{len(clips)} clips are too few to shuffle: all have the facts of number {i}; "
                "give more"
            )
        out.append(dataclasses.replace(c, take=take))
    return out


def exchanged_audio(clips: list[Example]) -> list[Example]:
    """Returns every clip with the audio of the next clip."""
    following = clips[1:] + clips[:1]
    return [
        dataclasses.replace(c, samples=o.samples) for c, o in zip(clips, following, strict=True)
    ]


def blank(clips: list[Example]) -> list[Example]:
    """Returns the clips with every frame filled with the mean colour of the clip."""
    return [
        dataclasses.replace(c, frames=np.broadcast_to(c.frames.mean((0, 1, 2)), c.frames.shape))
        for c in clips
    ]


def disordered(clips: list[Example]) -> list[Example]:
    """Returns the clips with their frames permuted at random."""
    return [
        dataclasses.replace(c, frames=c.frames[c.rng.permutation(c.format.frames)]) for c in clips
    ]
