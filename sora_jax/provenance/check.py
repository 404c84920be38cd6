"""Checks a file: what its signed manifest states, and which invisible marks it carries."""

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

LONGEST = 20.0  # seconds from the start of a file in which marks are searched
MOMENTS = 32  # frames that are read from these seconds, evenly spread


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found in a file.

    Attributes:
        manifest: the C2PA manifest; None if the file has none.
        picture: the invisible mark in its frames; None if none was found.
        sound: the invisible mark in its audio; None if none was found.
        searched: whether marks were searched. Default False.
    """

    manifest: Manifest | None
    picture: Detection | None
    sound: Detection | None
    searched: bool = False

    @property
    def payloads(self) -> set[int]:
        """The payloads (32-bit numbers) of marks and manifest. They contradict each other if there
        is more than one.
        """
        stated = self.manifest.payload if self.manifest else None
        found = {mark.payload for mark in (self.picture, self.sound) if mark}
        return found if stated is None else found | {stated}

    @property
    def status(self) -> int:
        """The exit status for a command: 0 if the file is unchanged, signed below one of the
        authority's anchors, and its marks agree with the manifest; 1 if it was changed, is signed
        by somebody else, is contradictory, or has a mark without a manifest; 2 if it has neither.
        """
        if self.manifest is None and not self.payloads:
            return 2
        trusted = self.manifest is not None and self.manifest.state == "trusted"
        return 0 if trusted and len(self.payloads) <= 1 else 1

    def lines(self) -> list[str]:
        """The report as text, a line for each fact."""
        lines = ["manifest: none"] if self.manifest is None else _manifest_lines(self.manifest)
        for name, found in (("picture", self.picture), ("sound", self.sound)):
            said = "none" if self.searched else "not searched"
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
    """Returns the manifest and the marks of a file. Marks are searched in its first LONGEST
    seconds.

    Args:
        path: the file: mp4, m4a, wav, png, webp or jpg.
        authority: the authority whose anchors are trusted and whose marks are searched. Default
            None: no signer is trusted, and no mark is searched.

    Raises:
        UserError: the file is missing, of another type, or cannot be decoded. If it has a manifest
            of this library, the last is a problem of the manifest instead.
    """
    found = manifest.read(path, authority.anchors if authority else "")
    try:
        marks = _marks(path, authority.mark_key) if authority else (None, None)
    except UserError as error:
        if found is None or not found.job:
            raise
        changed = dataclasses.replace(found, problems=(*found.problems, str(error)))
        return Report(changed, None, None)
    return Report(found, *marks, searched=authority is not None)


def _marks(path: str | os.PathLike, key: bytes) -> tuple[Detection | None, Detection | None]:
    """Returns the marks of picture and sound under a key. Stills have none."""
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
