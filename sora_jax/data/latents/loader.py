"""How a set of latents is read for training: a Grain iterator of batches.

Order and captions are a pure function of the seed, and get_state and set_state move the iterator.
"""

import dataclasses
from collections.abc import Sequence

import grain
import numpy as np

from sora_jax.data.latents.record import open_set, unpack
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat


class _Example(grain.transforms.RandomMap):
    """A record as arrays, with one of its captions, each as likely."""

    def random_map(self, element: bytes, rng: np.random.Generator) -> dict:
        fields = unpack(element)
        captions = fields["captions"] or [""]
        fields["caption"] = captions[int(rng.integers(len(captions)))]
        return fields


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Examples -> the model's batch, f32."""

    text_tokenizer: object

    def __call__(self, examples: list[dict]) -> dict[str, np.ndarray]:
        tokens, mask = self.text_tokenizer([e["caption"] for e in examples])
        return {
            "video": np.stack([e["video"] for e in examples]).astype(np.float32),
            "audio": np.stack([e["audio"] for e in examples]).astype(np.float32),
            "tokens": np.asarray(tokens),
            "text_mask": np.asarray(mask),
            "has_audio": np.array([e["has_audio"] for e in examples], bool),
        }


def make_loader(
    path,
    text_tokenizer,
    batch_size: int,
    seed: int,
    shuffle: bool = True,
    repeat: int | None = None,
    fingerprints: dict[str, str] | None = None,
    format: ClipFormat | None = None,
    rows: Sequence[int] | None = None,
    skip_damaged: bool = False,
) -> grain.DatasetIterator:
    """Batches of a set for training: {"video","audio","tokens","text_mask","has_audio"}, NumPy,
    float32.

    Args:
      text_tokenizer: list of B captions -> (tokens int32 [B,L], mask bool [B,L]).
      shuffle: an order of its own for every pass, from the seed; False keeps the set's.
      repeat: passes; None never ends. Passes run into each other, and only full batches are given.
      fingerprints, format: refuse a set made with others.
      rows: of each batch, those to read and give, in order; None: all. Processes that train
        together share a batch out so (`processes.rows_here`), and read no clip that is not theirs.
      skip_damaged: as of `open_set`.

    The iterator's get_state() and set_state() move it exactly: the batches after set_state are
    bitwise those that followed get_state. The state counts batches, whatever rows are taken of
    them.
    """
    records, there = open_set(path, fingerprints, format, skip_damaged)
    if there["count"] < batch_size and repeat is not None:
        raise UserError(
            f"the latents in {path} hold {there['count']} clips, fewer than a batch of "
            f"{batch_size}; take a smaller batch"
        )
    records = records.seed(seed)
    if shuffle:
        records = records.shuffle()
    records, size = records.repeat(repeat).random_map(_Example()), batch_size
    if rows is not None:
        whole, size = records, len(rows)
        records = grain.MapDataset.range(len(whole) // batch_size * size)
        records = records.map(lambda i: whole[int(i) // size * batch_size + rows[int(i) % size]])
    records = records.batch(size, drop_remainder=True, batch_fn=_Batch(text_tokenizer))
    # One thread reads ahead: a batch takes a few ms, and two cores have better things to do.
    return iter(records.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))
