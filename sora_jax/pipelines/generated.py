"""A generated clip, with its latents, its provenance and the oracles' readings."""

import base64
import dataclasses
import functools
import html
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax import files
from sora_jax.clip import Clip
from sora_jax.modality import ClipFormat
from sora_jax.oracles.reading import Reading
from sora_jax.pipelines import record
from sora_jax.pipelines.film import Film


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Generated(Clip):
    """A generated clip: frames float32 [F, H, W, 3], samples float32 [S] at 16 kHz.

    Attributes:
        format: the clip's format; of a film (a given video of any length) the format of the
            windows in which its audio was made.
        latents: {"video": [T, h, w, C], "audio": [N, C]}; of a film, only audio.
        cache: the video decoder's cache after the last latent, from which a continuation is
            decoded. Default None: it is computed from the latents when needed.
        provenance: how the clip was made, as JSON values (`Pipeline.provenance`).
        timings: seconds of the parts of the work: {"encode", "sample", "decode"}, or some of them.
        film: the given video for which the audio was made, unless it is an array of the format's
            length. `frames` are then the film's; those of a video file stay uint8. Default None.
    """

    format: ClipFormat
    latents: dict[str, np.ndarray]
    cache: Any = None
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    timings: dict[str, float] = dataclasses.field(default_factory=dict)
    film: Film | None = None

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {self.title!r}, seed {self.provenance.get('seed')})"

    @property
    def seconds(self) -> float:
        """The duration of the video in seconds."""
        return super().seconds if self.film is None else self.film.seconds

    @property
    def suffix(self) -> str:
        """The suffix of the file that `save` writes: ".mp4", or for a film `Film.suffix`."""
        return ".mp4" if self.film is None else self.film.suffix

    @functools.cached_property
    def reading(self) -> Reading:
        """The oracles' reading of the clip."""
        return Reading(self)

    @functools.cached_property
    def verdict(self) -> dict[str, Any]:
        """Whether the clip shows what its prompt asks: {"met": True, False or None, "facts": ...},
        as `record.judge` returns it.
        """
        return record.judge(self, self.reading)

    @property
    def title(self) -> str:
        """The prompt, or the task if there is none."""
        return self.provenance.get("prompt") or self.provenance.get("task", "clip")

    def save(self, path: str | os.PathLike) -> Path:
        """Writes out.mp4 and beside it out.png, out.json and out.latents.npz (`record.write`),
        and returns the path. Existing files are replaced; `experiments.sample` numbers its files.

        The clip of a given video file is that file with the new audio, in a container with
        `suffix`; it has no out.latents.npz.

        Raises:
            UserError: the files cannot be written, or the path does not end in `suffix`.
        """
        record.write(path, self)
        return files.user_path(path)

    def _repr_html_(self) -> str:
        """HTML for notebooks: a player, the contact sheet, and the facts asked and seen."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.png"
            record.draw_sheet(path, self)
            source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        sheet = f'<img style="max-width:100%" src="{source}">'
        facts = html.escape(record.facts_table(self.verdict))
        return f"<div>{self._player()}<br>{sheet}{self._notes()}<pre>{facts}</pre></div>"
