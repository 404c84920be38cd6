"""Reads a set of latents for training, in batches.

The order of the clips and the choice among the captions of a clip are pure functions of the seed.
So the number of a batch is a position that a checkpoint can restore.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np

from sora_jax.compat import tell_once
from sora_jax.data.latents.record import open_set, unpack
from sora_jax.data.prompts import encode_prompts
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.models.text_encoder import PromptEncoder


class _Example(grain.transforms.RandomMap):
    """A transform from a packed record to its fields (`record.unpack`), with "caption", one of its
    captions drawn uniformly; "" if it has none.
    """

    def random_map(self, element: bytes, rng: np.random.Generator) -> dict:
        fields = unpack(element)
        captions = fields["captions"] or [""]
        fields["caption"] = captions[int(rng.integers(len(captions)))]
        return fields


def stacked(references: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Returns the references of B clips as arrays by name, for `models.reference_encoder`.

    They are "stills" float32 [B,R,V,h,w,C] and "voices" float32 [B,R,n,C], latents, and "present"
    and "heard" bool [B,R]. Without references the result is {}.

    Args:
        references: for each clip the same arrays without the axis B.
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
    """A function from a list of B examples to the batch that the model reads (`batches`).

    Attributes:
        text_tokenizer: list of B captions -> (tokens, mask).
        times: times of the latents by name, the "times" of every batch.
    """

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

    A batch holds the latents "video" float32 [B,T,H,W,C] and "audio" float32 [B,N,C]; the prompts
    "tokens" int32 [B,L] or float32 [B,L,Df], "text_mask" bool [B,L], "text_shots" and "text_slots"
    int8 [B,L] (`data.prompts`); "references", arrays by name or {} (`stacked`); "has_audio" bool
    [B]; and "times", the result of `ClipFormat.latent_times` in float32.

    Args:
      path: the folder of the set.
      text_tokenizer: list of B captions -> (tokens, mask bool [B,L]), with token ids int32 [B,L] or
        features float32 [B,L,Df].
      batch_size: clips per batch, of all processes together.
      seed: the seed of the order and of the choice of captions.
      shuffle: True, the default, draws a new order for every pass. False keeps the order of the
        set.
      repeat: number of passes over the set. Default: None, endless. A batch may span two passes,
        and only full batches are returned.
      fingerprints: {tokenizer: expected fingerprint} (`open_set`). Default: not checked.
      format: expected clip format. Default: not checked.
      rows: indices of the rows of each batch to read and return, in order. Default: None, all.
        Each of several processes that train together reads only its own rows
        (`processes.rows_here`).
      skip_damaged: True to read the next clip in place of a damaged one. Default False: a damaged
        clip raises UserError.

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
        tell_once(
            f"the latents in {path} hold {description['count']} clips, fewer than a batch of "
            f"{batch_size}, so batches repeat clips; set config.train.batch_size to at most "
            f"{description['count']}, or make more clips (config.data.clips)"
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
    """Returns an iterator over the result of `batches`, with the same arguments.

    Its get_state() and set_state() are exact: the batches after set_state(state) are bitwise those
    that followed get_state(). The state counts batches and does not depend on `rows`.
    """
    read = batches(path, text_tokenizer, batch_size, seed, **options)
    # One thread reads ahead: a batch takes a few ms, and the CPU cores are needed for training.
    return iter(read.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))
