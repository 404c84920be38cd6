"""Examples: clips together with the takes that they show, for judging oracles and models.

A take is the ground truth of a clip: a drawn scene with its trajectory and captions. A family is a
kind of scenes, such as `room` (balls in a room). A stage is a set of clips that oracles are
calibrated on, named after its family; `STAGES` makes them. `shuffled`, `disordered`,
`exchanged_audio`, `blank` and `empty` make examples on which a measurement must score low.
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
IMPACT_TO_WORD = 0.25  # seconds, at least, from an impact to the next word of a narrator
BETWEEN_WORDS = 0.12  # seconds of silence, at least, between two words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example(Clip):
    """A clip and the take (scene, trajectory and captions) that it shows or was prompted to show.

    Attributes:
        take: the scene, its trajectory and its captions.
        format: frame count, frame rate and size of the clip.
        reference: the unchanged render of the take, for metrics that compare with it, such as
            PSNR. Default: None.
    """

    take: Take
    format: ClipFormat
    reference: Clip | None = None

    @property
    def rng(self) -> np.random.Generator:
        """A new random generator for corruptions, seeded by the take's index, so that each call
        draws the same numbers.
        """
        return np.random.default_rng([17, self.take.index])


def example(
    take: Take, frames: np.ndarray, samples: np.ndarray | None, format: ClipFormat
) -> Example:
    """Returns the `Example` of a take, with the given frames [F, H, W, 3] in [0, 1] and samples
    [S] (None: no audio), which are in `format`.
    """
    return Example(frames, samples, format.fps, family=take.family, take=take, format=format)


def ground_truth(
    split: str, indices: Iterable[int], format: ClipFormat, batch: int = 16
) -> list[Example]:
    """Returns renders of family `room` (balls in a room), with their takes.

    The format changes the renders, not the takes, so they are those of the data sets.

    Args:
        split: split of the data set: "train" or "val".
        indices: of the takes in the split.
        format: format of the clips.
        batch: clips rendered at a time. Default 16.
    """
    return render_takes([draw(split, i) for i in indices], format, batch)


def render_takes(takes: list[Take], format: ClipFormat, batch: int = 16) -> list[Example]:
    """Returns an example of each take: its rendered video and audio with the take.

    All batches have `batch` takes (the last is padded), so the renderer compiles once.

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
    """Returns the clips unchanged: the stage "room", whose clips are those given."""
    return clips


def narrated(clips: list[Example]) -> list[Example]:
    """Returns the clips with a narrator's words in the audio: the stage "narrated".

    The takes state these words. The voices are not among those that the words oracle is fitted on.
    No word coincides with an impact: it starts at least IMPACT_TO_WORD seconds after one.
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
    """Returns as many clips of the PhyWorld tasks (uniform motion, collision, parabola, in turns)
    as are given: the stage "phyworld".
    """
    families = [f"phyworld_{task}_30k" for task in TASKS]
    return render_takes(
        [draw("val", i, family=families[i % len(families)]) for i in range(len(clips))],
        FORMATS["phyworld"],
    )


@dataclasses.dataclass(frozen=True)
class Staged:
    """A stage: a function of clips that renders as many clips of a family of scenes.

    Their takes have the indices of the given clips' takes. If the family lacks the split of the
    given clips, that of the new ones is `val`.

    Attributes:
        name: name of the family and of the stage.
        styles: rendering styles, used in turns. Default: (), the family draws the style.
        format: key in FORMATS. Default: "", the format of the given clips.
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
    """A stage: a function of clips that renders as many clips, of several stages in turns.

    Attributes:
        name: name of the stage.
        parts: the stages, of which one may stand several times.
    """

    name: str
    parts: tuple[Staged, ...]

    def __call__(self, clips: list[Example]) -> list[Example]:
        """Returns as many clips as are given; clip i is of `parts[i % len(parts)]`."""
        n = len(self.parts)
        turns = [part(clips[k::n]) if clips[k::n] else [] for k, part in enumerate(self.parts)]
        return [turns[i % n][i // n] for i in range(len(clips))]


FILM, OCCLUDE, COURT = Staged("film", FILM_STYLES), Staged("occlude"), Staged("court")
TALK, STORY = Staged("talk", FILM_STYLES, "S"), Staged("story", FILM_STYLES, "story3")
# talks of held-out characters, which no table of an oracle was fitted on
HELD_OUT = Alternating("held_out", (Staged("talk", FILM_STYLES, "S", "identity"),))
# half of them stories of several shots, half clips of one shot
SCENES = Alternating("scenes", (STORY, TALK, STORY, FILM))
# Each stage is a function of clips of rooms that returns as many examples.
STAGES: Registry[Callable[[list[Example]], list[Example]]] = Registry(
    "stage", None, [room, narrated, FILM, OCCLUDE, COURT, phyworld, TALK, STORY, SCENES, HELD_OUT]
)


def head_centres(clip: Example) -> np.ndarray:
    """Returns the true centres of the heads in every frame of a clip, [N, F, 2], for N actors in
    the order of the scene: x from the left and y from the top, as shares of the frame's width.
    """
    times, size = clip.format.frame_times(), clip.format.size
    seen, rows = views(clip.take.scene, times), []
    for actor in clip.take.scene.cast:
        pose = acting.pose(actor, times)
        rows.append((project(seen, pose["ground"] + pose["head"], size) + 0.5) / size)
    return np.array(rows).reshape(-1, len(times), 2)


def empty_rooms(clips: list[Example]) -> np.ndarray:
    """Returns renders of the clips' scenes without balls and actors, [B, F, H, W, 3]. Films are
    also without the posts that show the camera's motion.
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
    """Returns the audio of a clip's take without impacts, words and rolling, samples [S]: the
    ambient noise alone.
    """
    scene = dataclasses.replace(c.take.scene, narration=None, rolling=False, cast=())
    bare = dataclasses.replace(c.take, scene=scene)
    inputs = sound.sound_inputs([bare], c.format)
    inputs["coarse"][:] = 0.0
    inputs["click"][:] = 0.0
    return np.asarray(sound.synthesise(inputs, c.format))[0]


def empty(clips: list[Example]) -> list[Example]:
    """Returns the clips with nothing to read: the video shows the scene without balls and actors,
    and the audio is the ambient noise without impacts and words.
    """
    return [
        dataclasses.replace(c, frames=room, samples=quiet(c))
        for c, room in zip(clips, empty_rooms(clips), strict=True)
    ]


def facts_key(take: Take) -> Hashable:
    """Returns a hashable key of a take's facts: equal for two takes whose captions state the same
    facts.
    """
    facts: Any = take.facts  # every family's facts have `key`
    return facts.key()


def shuffled(clips: list[Example], key: Callable[[Take], Hashable] = facts_key) -> list[Example]:
    """Returns every clip with the take of the next clip that differs from it.

    Args:
        clips: clips to shuffle.
        key: function of a take that returns what must differ between the old and the new take.
            Default: facts_key, the facts of the caption.

    Raises:
        UserError: all other clips have the same key as one of them.
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
