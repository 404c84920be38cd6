"""A clip that a pipeline made: with its latents, what made it, and what the oracles read in it."""

import base64
import dataclasses
import functools
import html
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax import media
from sora_jax.clip import Clip
from sora_jax.contact_sheet import contact_sheet
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.oracles.reading import Reading
from sora_jax.pipelines import record


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Generated(Clip):
    """A clip that a pipeline made: frames float32 [F, H, W, 3], samples float32 [S] at 16 kHz.

    Attributes:
        latents: {"video": [T, h, w, C], "audio": [N, C]}.
        cache: the video decoder's state after the last latent, or None.
        provenance: what made the clip, as JSON values.
        timings: seconds of each part of the work.
    """

    format: ClipFormat
    latents: dict[str, np.ndarray]
    cache: Any = None
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    timings: dict[str, float] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {self.title!r}, seed {self.provenance.get('seed')})"

    @functools.cached_property
    def reading(self) -> Reading:
        """What the oracles read in the clip."""
        return Reading(self)

    @functools.cached_property
    def verdict(self) -> dict[str, Any]:
        """Whether the clip shows what its prompt asks, as `record.judge` says it."""
        return record.judge(self, self.reading)

    @property
    def title(self) -> str:
        """The prompt, or what was done without one."""
        return self.provenance.get("prompt") or self.provenance.get("task", "clip")

    def save(self, path: str | os.PathLike) -> Path:
        """Writes out.mp4 and beside it out.png, out.json and out.latents.npz (`record.write`), in
        place of older ones; returns the path.

        Raises UserError where they cannot be written.
        """
        record.write(path, self)
        return Path(path)

    def _repr_html_(self) -> str:
        """For notebooks: a player, the contact sheet, and the facts that were asked and seen."""
        with tempfile.TemporaryDirectory() as folder:
            video, sheet = Path(folder) / "clip.mp4", Path(folder) / "clip.png"
            try:
                media.write_mp4(video, self)
                player = (
                    '<video controls loop width="320" src="data:video/mp4;base64,'
                    f'{_base64(video)}"></video>'
                )
            except UserError as error:
                player = f"<p>no player: {html.escape(str(error))}</p>"
            contact_sheet(sheet, self, self.title, self.reading.seen, self.reading.heard)
            picture = f'<img style="max-width:100%" src="data:image/png;base64,{_base64(sheet)}">'
        notes = "".join(f"<p>note: {html.escape(note)}</p>" for note in self.notes)
        facts = html.escape(record.facts_table(self.verdict))
        return f"<div>{player}<br>{picture}{notes}<pre>{facts}</pre></div>"


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
