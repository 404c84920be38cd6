"""Captures (videos in which a character says a phrase): a verifier reads them in a child process,
and the references (stills and voice) of the character are taken from them and kept.

Generated clips are refused as captures. They are recognised by an invisible mark of this server, by
a manifest of one of its jobs, or by a manifest of another program that says so.
"""

import dataclasses
import importlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sora_jax import files
from sora_jax.characters.capture import FORMAT
from sora_jax.characters.extract import references_of
from sora_jax.characters.records import fingerprint
from sora_jax.characters.verifier import Identity, Verifier
from sora_jax.clip import as_floats
from sora_jax.errors import UserError
from sora_jax.media import read_video
from sora_jax.media.fit import fit_clip
from sora_jax.media.worker import Worker
from sora_jax.oracles.reading import Reading
from sora_jax.provenance.authority import Authority
from sora_jax.provenance.check import Report, check
from sora_jax.provenance.manifest import GENERATED
from sora_jax.studio.consent.screening import Evidence, evidence

Result = TypeVar("Result")

SECONDS = 300  # time limit for reading one file; generous, as the machine may be busy
LONGEST = 12.0  # seconds of a capture that are read


@dataclasses.dataclass(frozen=True)
class Likeness:
    """What a capture shows.

    Attributes:
        identity: face and voice as numbers, the fields of `verifier.Identity` as JSON values.
        stills: uint8 [4, H, W, 3], in the order front, left, right, blink.
        samples: its voice, float32 [S] in [-1, 1] at 16 kHz.
    """

    identity: dict[str, Any]
    stills: np.ndarray
    samples: np.ndarray

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the references, as `pipelines.likeness` computes it."""
        return fingerprint(as_floats(self.stills, "stills"), self.samples)


class CaptureVerifier:
    """Reads uploaded files in a child process, one at a time: it verifies captures, and looks for
    manifests, marks and faces.
    """

    def __init__(self, authority: Authority, name: str):
        """Makes a verifier.

        Args:
            authority: the authority whose marks are searched.
            name: MODULE:CLASS of the `characters.verifier.Verifier`.

        Raises:
            UserError: there is no such class.
        """
        # The child process decodes files of strangers, so it never has the key that signs.
        self.authority = dataclasses.replace(authority, key=b"", chain="")
        self.name = name
        self._same = load_verifier(name).same
        self._worker, self._lock = Worker(SECONDS), threading.Lock()

    def close(self) -> None:
        """Ends the child process."""
        self._worker.close()

    def verify(self, path: Path, words: tuple[str, ...]) -> Likeness:
        """Returns what a capture shows.

        Args:
            path: the file.
            words: the phrase that must be said in it.

        Raises:
            UserError: the capture is refused, with the reason, or cannot be read.
        """
        return self._call(read_capture, os.fspath(path), words, self.name, self.authority)

    def check(self, path: Path) -> Report:
        """Returns the manifest and the marks of a file. Raises UserError if it cannot be read."""
        return self._call(check, os.fspath(path), self.authority)

    def screen(self, path: Path) -> Evidence:
        """Returns the evidence of who is shown in a file. Raises UserError if it cannot be read."""
        return self._call(evidence, os.fspath(path), self.authority)

    def _call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        with self._lock:
            try:
                return self._worker.call(function, *arguments)
            except RuntimeError:
                raise UserError("the file cannot be read; give another one") from None

    def same(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
        """Returns whether two identities, as JSON values, are the same person."""
        return self._same(identity_of(a), identity_of(b))


def load_verifier(name: str) -> Verifier:
    """Returns an instance of the verifier class MODULE:CLASS.

    Raises:
        UserError: there is no such class, or it cannot be made without arguments.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(
            f"verifier={name}: {error}; give MODULE:CLASS of a Verifier", field="verifier"
        ) from None


def identity_of(values: Mapping[str, Any]) -> Identity:
    """Returns the identity whose fields are given as JSON values."""
    return Identity(tuple(values["face"]), values["pitch"], values["tract"])


def read_capture(path: str, words: tuple[str, ...], name: str, authority: Authority) -> Likeness:
    """Does the work of `CaptureVerifier.verify` in the child process.

    Args:
        path: the file.
        words: the phrase that must be said in it.
        name: MODULE:CLASS of the verifier.
        authority: the authority whose marks are searched.
    """
    refuse_generated(path, authority)
    media = read_video(path, 0.0, LONGEST)
    rate = media.frame_rate or float(FORMAT.fps)
    count = max(5, round(media.seconds * FORMAT.fps))
    format = dataclasses.replace(FORMAT, frames=count - (count - 1) % 4)
    if rate < float(FORMAT.fps) - 1:
        raise UserError(
            f"the capture is refused: it has {rate:.3g} frames/s; record at least "
            f"{float(FORMAT.fps):g}",
            code="capture",
        )
    clip = fit_clip(media, format)
    stills, samples = references_of(Reading(clip))
    identity = load_verifier(name).verify(clip, words, as_floats(stills, "stills"), samples)
    values = {**dataclasses.asdict(identity), "face": [float(part) for part in identity.face]}
    return Likeness(values, stills, samples)


def refuse_generated(path: str, authority: Authority) -> None:
    """Raises UserError for a file whose mark or manifest shows that it was generated."""
    report = check(path, authority)
    named = report.manifest is not None and bool(report.manifest.job)
    if report.payloads or named or GENERATED.encode() in Path(path).read_bytes():
        raise UserError(
            "the capture is refused: it carries the mark or the manifest of a generated clip; "
            "record one by a camera",
            code="capture",
        )


def likeness_key(character: str) -> str:
    """Returns the key of a character's references in the media store."""
    return f"characters/{character}/references.npz"


def save(path: Path, likeness: Likeness) -> None:
    """Writes the references of a character, atomically."""
    with files.replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, stills=likeness.stills, samples=likeness.samples)


def load(path: Path, expected: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the stills and the voice of a character.

    Args:
        path: the file that `save` wrote.
        expected: the fingerprint that the references must have.

    Raises:
        UserError: the file is missing or damaged, or has another fingerprint.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as arrays:
            stills, samples = arrays["stills"], arrays["samples"]
        found = fingerprint(as_floats(stills, "stills"), samples)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the references of a character cannot be read: {error}") from None
    if found != expected:
        raise UserError("the references of a character are not those that it was recorded with")
    return stills, samples
