"""Prompts as features of T5, kept on disk: a caption is encoded once, and read in every epoch.

    features.f16   the features of all captions, one after the other, float16 [rows, D]
    index.json     the encoder's fingerprint, and where each caption's rows are

The features of a prompt are those of its pieces and of the end mark. They are rounded to float16
everywhere, so a model is sampled with what it was trained on.
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
    """Features of texts in a folder.

    Args:
        folder: the folder; it is made if it does not exist.
        fingerprint: of the encoder. Features of another are dropped.
        width: features of a piece, D.
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
        """Returns the features of a text that is in the store, float16."""
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
        """Encodes texts that are not in the store. An interrupted call keeps what it had written.

        Args:
            texts: the texts.
            encode: texts -> features of each, [rows, D].
            on_progress: called with (texts done, texts to do).
        """
        missing = [text for text in dict.fromkeys(texts) if text not in self]
        with (self.folder / "features.f16").open("ab") as file:
            file.truncate(2 * self._rows * self._width)  # what no index names
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
        length: pieces of a padded prompt, with the end mark.
        folder: where features are kept. Default: None, they are computed each time.
    """

    words: tuple[str, ...] = ()  # no vocabulary of its own: every word is known

    def __init__(self, t5: T5, length: int, folder: str | os.PathLike | None = None):
        self.t5, self.length = t5, length
        width = t5.config.d_model
        self.store = None if folder is None else FeatureStore(folder, t5.fingerprint, width)

    @property
    def identity(self) -> dict[str, str]:
        """Says in a model's card which encoder it reads."""
        return {"kind": "t5", "name": self.t5.name, "fingerprint": self.t5.fingerprint}

    def split(self, text: str) -> list[str]:
        """Returns the pieces of a text."""
        return [text[start:end] for start, end in itertools.pairwise(self.t5.pieces(text)[1])]

    def offsets(self, text: str) -> list[int]:
        """Returns the place of each piece of a text in characters, without the end mark, which
        belongs to no place.
        """
        return self.t5.pieces(text)[1][:-1][: self.length - 1]

    def unknown(self, text: str) -> list[str]:
        """Returns no word: T5 reads any."""
        return []

    def features(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Returns the features of texts, float16 [n, D] each. A longer text is cut, and keeps its
        end mark.
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
        """Encodes texts into the store, with a line of progress on stderr."""
        if self.store is None:
            return

        def tell(done: int, count: int) -> None:
            end = "\n" if done == count else "\r"
            print(f"text encoded: {done} of {count} captions", end=end, file=sys.stderr)

        self.store.add(texts, self.features, tell)

    def __call__(
        self, texts: Sequence[str]
    ) -> tuple[Float[np.ndarray, "B L D"], Bool[np.ndarray, "B L"]]:
        """Converts B texts to features float32 [B, L, D] and a mask bool [B, L], True at pieces; L
        is `length`. An empty text has an all-False mask and is unconditional.
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
