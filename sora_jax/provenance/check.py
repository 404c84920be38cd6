"""Checking: what a file says of itself, and which marks it carries."""

import dataclasses
import os

import numpy as np

from sora_jax.errors import UserError
from sora_jax.media import read_audio
from sora_jax.media.video import read_window, stated_length
from sora_jax.provenance import manifest, picture_mark, sound_mark
from sora_jax.provenance.authority import Authority
from sora_jax.provenance.code import Detection
from sora_jax.provenance.manifest import Manifest, Parent

LONGEST = 20.0  # seconds of a file in which marks are searched
MOMENTS = 32  # frames of it that are read


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found in a file.

    Attributes:
        manifest: the C2PA manifest; None without one.
        picture: the mark of its frames; None without one.
        sound: the mark of its sound; None without one.
    """

    manifest: Manifest | None
    picture: Detection | None
    sound: Detection | None

    @property
    def payloads(self) -> set[int]:
        """The different payloads of marks and manifest; more than one contradict each other."""
        stated = self.manifest.payload if self.manifest else None
        found = {mark.payload for mark in (self.picture, self.sound) if mark}
        return found if stated is None else found | {stated}

    @property
    def status(self) -> int:
        """0: whole, signed below the authority's anchors, and marks agree with the manifest. 1:
        changed, signed by somebody else, contradictory, or a mark without a manifest. 2: neither
        manifest nor mark.
        """
        if self.manifest is None and not self.payloads:
            return 2
        trusted = self.manifest is not None and self.manifest.state == "trusted"
        return 0 if trusted and len(self.payloads) <= 1 else 1

    def lines(self) -> list[str]:
        """The report as text, a line for each fact."""
        lines = ["manifest: none"] if self.manifest is None else _manifest_lines(self.manifest)
        for name, found in (("picture", self.picture), ("sound", self.sound)):
            said = "none"
            if found is not None:
                score = f"score {found.score:.1f}, threshold {found.threshold:.1f}"
                said = f"{found.payload:08x} ({score}; {found.place})"
            lines.append(f"{name} mark: {said}")
        if len(self.payloads) > 1:
            lines.append("marks and manifest contradict each other")
        if self.status == 2:
            lines.append("nothing is known of this file: it has neither manifest nor mark")
        return lines


def check(path: str | os.PathLike, authority: Authority | None = None) -> Report:
    """Returns the manifest and the marks of a file. Marks are searched in its first LONGEST.

    Args:
        path: the file: mp4, m4a, wav, png, webp or jpg.
        authority: whose anchors are trusted, and whose marks are searched. Default None: no signer
            is trusted, and no mark is searched.
    Raises:
        UserError: the file is missing, of another type, or cannot be decoded.
    """
    found = manifest.read(path, authority.anchors if authority else "")
    try:
        marks = _marks(path, authority.mark_key) if authority else (None, None)
    except UserError as error:
        if found is None or not found.job:
            raise
        changed = dataclasses.replace(found, problems=(*found.problems, str(error)))
        return Report(changed, None, None)
    return Report(found, *marks)


def _marks(path: str | os.PathLike, key: bytes) -> tuple[Detection | None, Detection | None]:
    """The marks of picture and sound."""
    kind = manifest.media_type(path)
    if kind.startswith("image/"):
        return None, None
    if kind.startswith("audio/"):
        return None, _sound(*read_audio(path), key)
    seconds = min(stated_length(path) or LONGEST, LONGEST)
    moments = (np.arange(MOMENTS) + 0.5) * seconds / MOMENTS
    media = read_window(path, 0.0, seconds, None, moments)
    picture = picture_mark.detect(media.frames, key)
    return picture, _sound(media.samples, media.sample_rate, key)


def _sound(samples: np.ndarray | None, rate: int, key: bytes) -> Detection | None:
    if samples is None or rate < sound_mark.LEAST_RATE:
        return None
    return sound_mark.detect(samples[: int(LONGEST * rate)].mean(1), key, rate)


def _manifest_lines(found: Manifest) -> list[str]:
    meaning = {
        "trusted": "whole, by a trusted signer",
        "valid": "whole, by a signer that this authority does not know",
        "invalid": "CHANGED after it was signed",
    }[found.state]
    lines = [f"manifest: {meaning}", f"signed by: {found.signer}"]
    lines += [f"problem: {problem}" for problem in found.problems]
    lines.append(f"job: {found.job or 'none named'}, {found.action or 'no action named'}")
    if found.payload is not None:
        lines.append(f"bound to mark: {found.payload:08x}")
    lines += [f"consent: {dict(entry)}" for entry in found.consent]
    return lines + [line for parent in found.parents for line in _parent_lines(parent, 0)]


def _parent_lines(parent: Parent, depth: int) -> list[str]:
    job = f"job {parent.job}" if parent.job else "no manifest of ours"
    own = f"{'  ' * depth}parent: {parent.title} ({job})"
    return [own] + [line for p in parent.parents for line in _parent_lines(p, depth + 1)]
