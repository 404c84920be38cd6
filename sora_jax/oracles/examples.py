"""Examples: clips with the takes that they show, for judging oracles and models.

`STAGES` makes the clips that an oracle is judged on. `shuffled`, `disordered`, `exchanged_sounds`,
`blank` and `empty` make examples that a measurement must score low.
"""

import dataclasses
from collections.abc import Callable, Hashable

import numpy as np

from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.registry import Registry
from sora_jax.worlds.playhouse import render, sound, voice
from sora_jax.worlds.playhouse.draw import Take, draw
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.phyworld import TASKS
from sora_jax.worlds.playhouse.spec import FILM_STYLES, Narration
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.takes import render_batch

VIDEO, AUDIO = "video", "audio"
RUNG_OUT = 0.25  # seconds after an impact before a narrator speaks
BETWEEN_WORDS = 0.12  # seconds of silence at least


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example(Clip):
    """A clip and the take that it shows, or was asked to show.

    Attributes:
        reference: the take's own render, where a measurement compares with it.
    """

    take: Take
    format: ClipFormat
    reference: Clip | None = None

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers for corruptions: the same ones at every call."""
        return np.random.default_rng([17, self.take.index])


def example(take: Take, frames: np.ndarray, samples: np.ndarray, form: ClipFormat) -> Example:
    """An Example of frames [F, H, W, 3] and samples [S] in the format `form`."""
    return Example(frames, samples, form.fps, take=take, format=form)


def ground_truth(split: str, indices, form: ClipFormat, batch: int = 16) -> list[Example]:
    """Rendered takes of a split: the ones that models are trained and scored on, whatever the
    format.
    """
    return render_takes([draw(split, i) for i in indices], form, batch)


def render_takes(takes: list[Take], form: ClipFormat, batch: int = 16) -> list[Example]:
    """Picture and sound of takes, in batches of one size so that the renderer is compiled once."""
    clips = []
    for first in range(0, len(takes), batch):
        part = takes[first : first + batch]
        full = part + [part[-1]] * (batch - len(part))
        made = render_batch(full, form)
        clips += [
            example(*clip, form)
            for clip in zip(part, np.asarray(made["frames"]), np.asarray(made["samples"]))
        ]
    return clips


def room(clips: list[Example]) -> list[Example]:
    """The rooms themselves."""
    return clips


def narrated(clips: list[Example]) -> list[Example]:
    """The clips with words said over them by voices that the words oracle was not trained on, none
    during an impact.
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
            struck = [
                contact.time
                for contact in c.take.trajectory.contacts
                if time - RUNG_OUT < contact.time < end + 0.03
            ]
            if struck:
                time = max(struck) + RUNG_OUT + 0.001  # past it, also after rounding
            else:
                words.append((time, word))
                time = end + BETWEEN_WORDS + stream.uniform(0.0, 0.1)
        whole = tuple(
            (start, word)
            for start, word in words
            if start + voice.duration(word, speaker) < c.format.seconds - 0.05
        )
        takes.append(
            dataclasses.replace(
                c.take, scene=dataclasses.replace(c.take.scene, narration=Narration(speaker, whole))
            )
        )
    samples = np.asarray(
        sound.synthesise(sound.sound_inputs(takes, clips[0].format), clips[0].format)
    )
    return [
        dataclasses.replace(c, take=take, samples=own)
        for c, take, own in zip(clips, takes, samples)
    ]


def phyworld(clips: list[Example]) -> list[Example]:
    """As many clips of PhyWorld's balls, one task after the other."""
    families = [f"phyworld_{task}_30k" for task in TASKS]
    return render_takes(
        [draw("val", i, family=families[i % len(families)]) for i in range(len(clips))],
        FORMATS["phyworld"],
    )


@dataclasses.dataclass(frozen=True)
class Staged:
    """Makes as many clips of a family, of the same indices, split and format as the rooms; of `val`
    where the family has no such split.

    Attributes:
        name: of the family and of the stage.
        styles: drawn in turns; () leaves the style to the family.
    """

    name: str
    styles: tuple[str, ...] = ()

    def __call__(self, clips: list[Example]) -> list[Example]:
        splits = FAMILIES[self.name].splits
        split = clips[0].take.split if clips[0].take.split in splits else "val"
        takes = []
        for i, clip in enumerate(clips):
            style = {"style": self.styles[i % len(self.styles)]} if self.styles else {}
            takes.append(draw(split, clip.take.index, family=self.name, **style))
        return render_takes(takes, clips[0].format, min(16, len(takes)))


# (rooms) -> as many examples of the stage. Films have as many of each style.
STAGES: Registry[Callable[[list[Example]], list[Example]]] = Registry(
    "stage",
    None,
    [room, narrated, Staged("film", FILM_STYLES), Staged("occlude"), Staged("court"), phyworld],
)


def empty_rooms(clips: list[Example]) -> np.ndarray:
    """Pictures without balls, and of films without posts, [B, F, H, W, 3]."""
    scenes = [
        dataclasses.replace(
            c.take.scene, shapes=tuple(s for s in c.take.scene.shapes if s.paint != "post")
        )
        for c in clips
    ]
    inputs = render.render_inputs(
        [dataclasses.replace(c.take, scene=scene) for c, scene in zip(clips, scenes)],
        clips[0].format,
    )
    inputs["radius"][:] = 0.0
    return np.asarray(render.render(inputs, clips[0].format))


def quiet(c: Example) -> np.ndarray:
    """The ambience alone."""
    bare = dataclasses.replace(
        c.take, scene=dataclasses.replace(c.take.scene, narration=None, rolling=False)
    )
    inputs = sound.sound_inputs([bare], c.format)
    inputs["coarse"][:] = 0.0
    inputs["click"][:] = 0.0
    return np.asarray(sound.synthesise(inputs, c.format))[0]


def empty(clips: list[Example]) -> list[Example]:
    """The room without balls, the ambience without impacts."""
    return [
        dataclasses.replace(c, frames=room, samples=quiet(c))
        for c, room in zip(clips, empty_rooms(clips))
    ]


def facts_key(take: Take) -> Hashable:
    """All that a take's caption says."""
    return take.facts.key()


def shuffled(clips: list[Example], asked: Callable[[Take], Hashable] = facts_key) -> list[Example]:
    """Clip i with the take of another clip: the next one in which what is asked, asked(take), is
    something else.

    Raises UserError where there is none.
    """
    out = []
    for i, c in enumerate(clips):
        ring = (clips[(i + k) % len(clips)].take for k in range(1, len(clips)))
        take = next((take for take in ring if asked(take) != asked(c.take)), None)
        if take is None:
            raise UserError(
                f"{len(clips)} clips are too few to shuffle: all are asked the same as number {i}; "
                "give more"
            )
        out.append(dataclasses.replace(c, take=take))
    return out


def exchanged_sounds(clips: list[Example]) -> list[Example]:
    """Every picture with the sound of the next clip."""
    following = clips[1:] + clips[:1]
    return [dataclasses.replace(c, samples=o.samples) for c, o in zip(clips, following)]


def blank(clips: list[Example]) -> list[Example]:
    """One colour in all of a clip: that of its mean."""
    return [
        dataclasses.replace(c, frames=np.broadcast_to(c.frames.mean((0, 1, 2)), c.frames.shape))
        for c in clips
    ]


def disordered(clips: list[Example]) -> list[Example]:
    """The frames of every clip in another order."""
    return [
        dataclasses.replace(c, frames=c.frames[c.rng.permutation(c.format.frames)]) for c in clips
    ]
