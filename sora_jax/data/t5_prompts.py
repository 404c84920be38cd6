"""Prompts as features of the text encoder T5, kept on disk.

A caption of a data set is encoded once and read from disk in every epoch. A folder holds

    features.f16   the features of all captions, one caption after the other, float16 [rows, D]
    index.json     the fingerprint of the encoder, and first row and number of rows of each caption

T5 splits a text into pieces (parts of words). A prompt has one row of features for each piece and
one for the end mark. Features are rounded to float16 in training and in sampling, so a model gets
the same features in both.
"""

import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.models.t5 import T5

TOGETHER = 32  # captions encoded at once
CHUNK = 1024  # captions between two writes of the index


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class FeatureStore:
    """A store of the features of texts in a folder. `text in store` tells if it has a text.

    Args:
        folder: the folder; it is made if it does not exist.
        fingerprint: fingerprint of the encoder. Features of another encoder in the folder are
            dropped.
        width: D, the number of features of a piece.
    """

    def __init__(self, folder: str | os.PathLike, fingerprint: str, width: int):
        self.folder, self._width = Path(folder), width
        self._head = {"encoder": fingerprint, "width": width}
        self._texts: dict[str, tuple[int, int]] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            index = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            index = {}
        if {name: index.get(name) for name in self._head} == self._head:
            self._texts = {key: (at, count) for key, (at, count) in index["texts"].items()}
        self._rows = max((at + count for at, count in self._texts.values()), default=0)

    def __contains__(self, text: str) -> bool:
        return _key(text) in self._texts

    def read(self, text: str) -> Float[np.ndarray, "rows D"]:
        """Returns the features of a text that is in the store, float16 [rows, D].

        Raises:
            KeyError: the text is not in the store.
            UserError: the file of the features is too short.
        """
        start, count = self._texts[_key(text)]
        path = self.folder / "features.f16"
        size = count * self._width
        found = np.fromfile(path, "<f2", size, offset=2 * start * self._width)
        if found.size < size:
            raise UserError(f"{path} is cut short; delete its folder, and it is made anew")
        return found.reshape(count, self._width)

    def add(
        self,
        texts: Iterable[str],
        encode: Callable[[Sequence[str]], Sequence[np.ndarray]],
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Encodes and stores the texts that are not in the store.

        An interrupted call keeps all complete groups of CHUNK texts.

        Args:
            texts: the texts.
            encode: list of texts -> features of each text, [rows, D].
            on_progress: called with (number of texts done, number of texts to encode). Default:
                None.
        """
        missing = [text for text in dict.fromkeys(texts) if text not in self]
        with (self.folder / "features.f16").open("ab") as file:
            file.truncate(2 * self._rows * self._width)  # removes rows that are not in the index
            for first in range(0, len(missing), CHUNK):
                chunk = missing[first : first + CHUNK]
                for i in range(0, len(chunk), TOGETHER):
                    batch = chunk[i : i + TOGETHER]
                    for text, x in zip(batch, encode(batch), strict=True):
                        file.write(np.ascontiguousarray(x, "<f2").tobytes())
                        self._texts[_key(text)] = (self._rows, len(x))
                        self._rows += len(x)
                    if on_progress is not None:
                        on_progress(first + i + len(batch), len(missing))
                file.flush()
                content = json.dumps({**self._head, "texts": self._texts})
                files.write(self.folder / "index.json", content)


class T5Prompts:
    """Prompts as features of T5, a `models.text_encoder.PromptEncoder`.

    Args:
        t5: the encoder.
        length: number of pieces of a padded prompt, with the end mark.
        folder: folder of the `FeatureStore`. Default: None, features are computed each time.

    Attributes:
        words: (), because T5 reads any text.
        store: the `FeatureStore`; None without a folder.
    """

    words: tuple[str, ...] = ()  # no vocabulary of its own: every word is known

    def __init__(self, t5: T5, length: int, folder: str | os.PathLike | None = None):
        self.t5, self.length = t5, length
        width = t5.config.d_model
        self.store = None if folder is None else FeatureStore(folder, t5.fingerprint, width)

    @property
    def identity(self) -> dict[str, str]:
        """The entry of a model's card that identifies the encoder: kind, name and fingerprint."""
        return {"kind": "t5", "name": self.t5.name, "fingerprint": self.t5.fingerprint}

    def split(self, text: str) -> list[str]:
        """Returns the pieces of a text, as strings."""
        return [text[start:end] for start, end in itertools.pairwise(self.t5.pieces(text)[1])]

    def offsets(self, text: str) -> list[int]:
        """Returns the number of characters before each piece of a text, without the end mark."""
        return self.t5.pieces(text)[1][:-1][: self.length - 1]

    def unknown(self, text: str) -> list[str]:
        """Returns the words that the encoder does not know: [], because T5 reads any."""
        return []

    def features(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Returns the features of each text, float16 [n, D], with n pieces and n <= `length`.

        A longer text is cut, and keeps its end mark.

        Raises:
            UserError: some features exceed the range of float16.
        """
        rows = [self.t5.pieces(text)[0] for text in texts]
        rows = [
            row if len(row) <= self.length else [*row[: self.length - 1], row[-1]] for row in rows
        ]
        found = [x.astype(np.float16) for x in self.t5(rows, self.length)]
        if not all(np.isfinite(x).all() for x in found):
            raise UserError(f"{self.t5.name} gives features that float16 cannot hold; use another")
        return found

    def keep(self, texts: Iterable[str]) -> None:
        """Encodes texts into the store, with a line of progress on stderr; without a store it does
        nothing.
        """
        if self.store is None:
            return

        def tell(done: int, count: int) -> None:
            end = "\n" if done == count else "\r"
            print(f"text encoded: {done} of {count} captions", end=end, file=sys.stderr)

        self.store.add(texts, self.features, tell)

    def __call__(
        self, texts: Sequence[str]
    ) -> tuple[Float[np.ndarray, "B L D"], Bool[np.ndarray, "B L"]]:
        """Converts B texts to features float32 [B, L, D] and a mask bool [B, L], False at padding.

        L is `length`. The mask of an empty text, a prompt of the unconditional model, is False
        everywhere.
        """
        width = self.t5.config.d_model
        out = np.zeros((len(texts), self.length, width), np.float32)
        mask = np.zeros((len(texts), self.length), bool)
        store, wanted = self.store, [text for text in dict.fromkeys(texts) if text.strip()]
        kept = {text: store.read(text) for text in wanted if store is not None and text in store}
        missing = [text for text in wanted if text not in kept]
        if missing:
            kept |= dict(zip(missing, self.features(missing), strict=True))
        for i, text in enumerate(texts):
            if text in kept:
                x = kept[text][: self.length]
                out[i, : len(x)], mask[i, : len(x)] = x, True
        return out, mask
