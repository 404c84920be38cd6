"""Likenesses: the pictures and the voice by which a model shows a character. They are read, checked
against a request and its model, and encoded.
"""

import dataclasses
import json
import os
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sora_jax import files, media
from sora_jax.characters.gate import shows
from sora_jax.characters.records import fingerprint
from sora_jax.clip import as_floats
from sora_jax.data.prompts import NAME
from sora_jax.errors import UserError, expect
from sora_jax.modality import SAMPLE_RATE
from sora_jax.models.reference_encoder import VIEWS
from sora_jax.mp4 import to_uint8
from sora_jax.oracles.heads import SIZE
from sora_jax.pipelines import codec
from sora_jax.worlds.playhouse.cast import Character
from sora_jax.worlds.playhouse.references import VIEWS as NAMES
from sora_jax.worlds.playhouse.references import VOICE_SECONDS, References

if TYPE_CHECKING:
    from sora_jax.pipelines.generate import Pipeline
    from sora_jax.pipelines.request import Request

SAMPLES = round(VOICE_SECONDS * SAMPLE_RATE)


@dataclasses.dataclass(frozen=True, eq=False)
class Likeness:
    """What a character looks and sounds like.

    Attributes:
        stills: four pictures of the head: front, turned to the left and to the right, eyes closed;
            [4, H, W, 3], uint8 or floats in [0, 1].
        samples: 1.5 s of its voice (VOICE_SECONDS), floats [S] in [-1, 1] at 16 kHz; longer ones
            are cut and shorter ones end in silence. Default None: it has no voice.
        character: the character of Playhouse's cast that is shown. Default None: somebody else, for
            whom consent must be recorded (`sora_jax.characters`).
    """

    stills: np.ndarray
    samples: np.ndarray | None = None
    character: Character | None = None

    @classmethod
    def of(cls, references: References) -> "Likeness":
        """Returns the likeness of a character of Playhouse's cast from its references."""
        return cls(references.stills, references.samples, references.character)

    @classmethod
    def read(cls, folder: str | os.PathLike, size: int = 64) -> "Likeness":
        """Reads the likeness in a folder: front.png, left.png, right.png, blink.png, and voice.wav
        if there is a voice.

        character.json, as `experiments.cast` writes it, may name a character of Playhouse's cast.
        It is ignored unless face and voice are that character's (`characters.gate.shows`).

        Args:
            folder: the folder.
            size: side of the stills in pixels. Default 64.

        Raises:
            UserError: a picture is missing, or a file cannot be read.
        """
        path = files.user_path(folder)
        if missing := [f"{name}.png" for name in NAMES if not (path / f"{name}.png").is_file()]:
            raise UserError(
                f"{folder} has no {', '.join(missing)}; give a folder with "
                f"{', '.join(f'{name}.png' for name in NAMES)} and perhaps voice.wav",
                field="characters",
            )
        stills = np.stack([media.read_image(path / f"{name}.png", size)[0] for name in NAMES])
        voice, samples = path / "voice.wav", None
        if voice.is_file():
            samples = media.fit_sound(*media.read_audio(voice), SAMPLES)[0]
        return cls(stills, samples, _of_cast(path, samples))

    def save(self, folder: str | os.PathLike) -> None:
        """Writes the files that `read` reads into a folder, which is created if it does not exist.

        Raises:
            UserError: a file cannot be written.
        """
        path = files.user_path(folder)
        path.mkdir(parents=True, exist_ok=True)
        for name, still in zip(NAMES, to_uint8(self.stills), strict=True):
            with files.replacing(path / f"{name}.png") as partial:
                Image.fromarray(still).save(partial, "png")
        if self.samples is None:
            return
        integers = np.round(32767 * np.clip(self.samples, -1, 1)).astype("<i2")
        with files.replacing(path / "voice.wav") as partial, wave.open(str(partial), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(integers.tobytes())

    @property
    def fingerprint(self) -> str:
        """The first 12 hex digits of the sha256 of stills and samples."""
        return fingerprint(as_floats(self.stills, "stills"), self.samples)


def _of_cast(folder: Path, samples: np.ndarray | None) -> Character | None:
    """Returns the character of Playhouse's cast that character.json in a folder names, if
    front.png and the voice `samples` are that character's; else None.
    """
    try:
        fields = json.loads((folder / "character.json").read_text(encoding="utf-8"))
        named = Character.from_dict({f.name: fields[f.name] for f in dataclasses.fields(Character)})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    front = as_floats(media.read_image(folder / f"{NAMES[0]}.png", SIZE)[0], "front.png")
    return named if shows(named, front[None], samples) else None


def check_characters(request: "Request", slots: int, size: int) -> None:
    """Validates the characters of a request against a model.

    Args:
        request: the request.
        slots: the largest number of characters that the model shows: `references` of its
            configuration, 0 for a model that learned none.
        size: side in pixels of the stills that the model reads.

    Raises:
        UserError: the model learned no references, there are too many characters, the prompt and
            the characters have different names, or stills or samples have another shape.
    """
    expect(request.characters, Mapping, "characters", 'give {"mika": Likeness(...)}')
    given, asked = list(request.characters), NAME.findall(request.prompt or "")
    if given and not slots:
        raise UserError(
            "this model learned no references of characters; leave characters out, or give "
            "weights trained with config.model.references",
            field="characters",
        )
    if len(given) > slots:
        raise UserError(
            f"{len(given)} characters, and the model shows at most {slots}; leave out "
            f"{', '.join(given[slots:])}",
            field="characters",
        )
    if lost := [name for name in given if name not in asked]:
        raise UserError(
            f"the prompt does not name @{lost[0]}; name each character that is given",
            field="characters",
        )
    if slots and (lost := [name for name in asked if name not in given]):
        raise UserError(
            f'no reference shows who @{lost[0]} is; give characters={{"{lost[0]}": Likeness(...)}}',
            field="characters",
        )
    for name, one in request.characters.items():
        expect(one, Likeness, "characters", "give a Likeness, such as Likeness.read(FOLDER)")
        if np.shape(one.stills) != (VIEWS, size, size, 3):
            raise UserError(
                f"the stills of @{name} have the shape {np.shape(one.stills)}; give "
                f"{(VIEWS, size, size, 3)}",
                field="characters",
            )
        as_floats(one.stills, f"stills of @{name}")
        if one.samples is not None and np.ndim(one.samples) != 1:
            raise UserError(
                f"the voice of @{name} has the shape {np.shape(one.samples)}; give samples [S]",
                field="characters",
            )


def reference_latents(pipeline: "Pipeline", requests: Sequence["Request"]) -> dict[str, Any]:
    """Returns the encoded references of the characters of B requests, for
    `models.reference_encoder`; {} if no request has a character.

    With R slots, one for each character in the order of `Request.characters`: "present" and
    "heard", bool [B, R], True for a slot with a character and for one with a voice; "stills"
    [B, R, 4, h, w, C] and "voices" [B, R, N, C], latents, zeros in empty slots.
    """
    if not any(request.characters for request in requests):
        return {}
    slots = pipeline.model.config.references
    silence = np.zeros(SAMPLES, np.float32)
    made: dict[str, np.ndarray] = {
        name: np.zeros((len(requests), slots), bool) for name in ("present", "heard")
    }
    for i, request in enumerate(requests):
        for slot, one in enumerate(request.characters.values()):
            stills, voice = as_floats(one.stills, "stills"), silence.copy()
            if one.samples is not None:
                heard = np.asarray(one.samples, np.float32)[:SAMPLES]
                voice[: len(heard)] = heard
            latents = {
                "stills": np.stack(
                    [codec.encode(pipeline.video_tokenizer, still[None])[0] for still in stills]
                ),
                "voices": codec.encode(pipeline.audio_tokenizer, voice),
            }
            for name, x in latents.items():
                empty = np.zeros((len(requests), slots, *x.shape), np.float32)
                made.setdefault(name, empty)[i, slot] = x
            made["present"][i, slot], made["heard"][i, slot] = True, one.samples is not None
    return made
