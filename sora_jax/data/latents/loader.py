"""Reads a set of latents for training, in batches.

The order of the clips and the choice of captions are pure functions of the seed, so the number of
a batch is a position that a checkpoint can restore.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np
from absl import logging

from sora_jax.data.latents.record import open_set, unpack
from sora_jax.data.prompts import encode_prompts
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.models.text_encoder import PromptEncoder


class _Example(grain.transforms.RandomMap):
    """A transform from a packed record to arrays with one caption, drawn uniformly."""

    def random_map(self, element: bytes, rng: np.random.Generator) -> dict:
        fields = unpack(element)
        captions = fields["captions"] or [""]
        fields["caption"] = captions[int(rng.integers(len(captions)))]
        return fields


def stacked(references: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Returns the references of B clips of a set as arrays [B, R, ...] by name, those that
    `models.reference_encoder` reads; {} for clips without.
    """
    if not references:
        return {}
    latents = {
        name: np.stack([one[name] for one in references]).astype(np.float32)
        for name in ("stills", "voices")
    }
    there = {
        name: np.array([one[name] for one in references], bool) for name in ("present", "heard")
    }
    return {**latents, **there}


@dataclasses.dataclass(frozen=True)
class _Batch:
    """A function from a list of examples to the model's batch, float32."""

    text_tokenizer: PromptEncoder
    times: Mapping[str, np.ndarray]

    def __call__(self, examples: Sequence[dict]) -> dict[str, Any]:
        names = [e["references"]["names"] if "references" in e else () for e in examples]
        words = encode_prompts(self.text_tokenizer, [e["caption"] for e in examples], names)
        return {
            "video": np.stack([e["video"] for e in examples]).astype(np.float32),
            "audio": np.stack([e["audio"] for e in examples]).astype(np.float32),
            "tokens": words["tokens"],
            "text_mask": words["mask"],
            "text_shots": words["shots"],
            "text_slots": words["slots"],
            "references": stacked([e["references"] for e in examples if "references" in e]),
            "has_audio": np.array([e["has_audio"] for e in examples], bool),
            "times": dict(self.times),
        }


def batches(
    path: str | os.PathLike,
    text_tokenizer: PromptEncoder,
    batch_size: int,
    seed: int,
    shuffle: bool = True,
    repeat: int | None = None,
    fingerprints: Mapping[str, str] | None = None,
    format: ClipFormat | None = None,
    rows: Sequence[int] | None = None,
    skip_damaged: bool = False,
) -> grain.MapDataset:
    """Returns the batches of a set of latents by number, as dictionaries of NumPy arrays.

    A batch holds "video" float32 [B,T,H,W,C], "audio" float32 [B,N,C], "tokens" int32 [B,L],
    "text_mask" bool [B,L], "text_shots" and "text_slots" int8 [B,L] (`data.prompts`),
    "references", arrays by name or {} (`stacked`), "has_audio" bool [B], and "times", the result of
    `ClipFormat.latent_times` in float32.

    Args:
      path: the folder of the set.
      text_tokenizer: list of B captions -> (tokens int32 [B,L], mask bool [B,L]).
      batch_size: clips per batch, of all processes together.
      seed: the seed of the order and of the captions.
      shuffle: True, the default, draws a new order for every pass. False keeps the order of the
        set.
      repeat: number of passes. Default: None, endless. A batch may span two passes, and only full
        batches are returned.
      fingerprints: expected fingerprints of the tokenizers. Default: not checked.
      format: expected clip format. Default: not checked.
      rows: indices of the rows of each batch to read and return, in order. Default: None, all.
        Each of several processes that train together reads only its own rows
        (`processes.rows_here`).
      skip_damaged: replaces a damaged clip by the next one (`open_set`).

    Raises:
      UserError: the set cannot be used (`open_set`), or holds fewer clips than a batch and `repeat`
        is not None.
    """
    records, description = open_set(path, fingerprints, format, skip_damaged)
    if description["count"] < batch_size and repeat is not None:
        raise UserError(
            f"the latents in {path} hold {description['count']} clips, fewer than a batch of "
            f"{batch_size}; take a smaller batch"
        )
    if description["count"] < batch_size:
        logging.warning(
            "the latents in %s hold %d clips, fewer than a batch of %d: batches repeat clips",
            path,
            description["count"],
            batch_size,
        )
    records = records.seed(seed)
    if shuffle:
        records = records.shuffle()
    records, size = records.repeat(repeat).random_map(_Example()), batch_size
    if rows is not None:
        all_rows, size = records, len(rows)
        records = grain.MapDataset.range(len(all_rows) // batch_size * size)
        records = records.map(lambda i: all_rows[int(i) // size * batch_size + rows[int(i) % size]])
    times = {
        name: np.asarray(t, np.float32)
        for name, t in ClipFormat.from_dict(description["format"]).latent_times().items()
    }
    batch_fn: Any = _Batch(text_tokenizer, times)  # Grain declares elements that may be None
    return records.batch(size, drop_remainder=True, batch_fn=batch_fn)


def make_loader(
    path: str | os.PathLike,
    text_tokenizer: PromptEncoder,
    batch_size: int,
    seed: int,
    **options: Any,
) -> grain.DatasetIterator:
    """Returns an iterator of `batches`, with the same arguments.

    get_state() and set_state() are exact: the batches after set_state are bitwise those that
    followed get_state. The state counts batches, independently of `rows`.
    """
    read = batches(path, text_tokenizer, batch_size, seed, **options)
    # One thread reads ahead: a batch takes a few ms, and the CPU cores are needed for training.
    return iter(read.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))
