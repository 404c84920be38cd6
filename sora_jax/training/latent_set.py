"""Sets of latents in device memory, and the order of their clips (`resident.py`)."""

import dataclasses
import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from sora_jax.data.encode import Encode, EncodeReferences, check_finite, padded
from sora_jax.data.prompts import encode_prompts
from sora_jax.errors import UserError
from sora_jax.models.text_encoder import PromptEncoder

Indices = tuple[np.ndarray, np.ndarray]  # (clips, draws) of `Order.indices`
LATENTS = ("stills", "voices")  # arrays of references that hold latents; the others are masks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class LatentSet:
    """The latents and captions of M clips in device memory.

    Clip i has captions[i] paraphrases of its caption, each a row of tokens. Q is the largest number
    of paraphrases of a clip, and R the number of slots for characters of a clip.

    Attributes:
        video: latents, float16 [M,T,H,W,C].
        audio: latents, float16 [M,N,C].
        tokens: ids of words, int32 [M,Q,L], padded with zeros along Q.
        text_mask: bool [M,Q,L], True for a word, False for padding.
        text_shots: the shot that each word describes, from 1; 0 for all shots. int8 [M,Q,L].
        text_slots: the slot of the character that a word names, from 1; 0 for all other words.
            int8 [M,Q,L].
        references: stills and voices of the clips' characters, arrays [M,R,...] by name
            (`latents.loader.stacked`); {} for a set without references.
        captions: number of paraphrases of each clip, int32 [M], at least 1.
        has_audio: bool [M], False for a clip without audio.
    """

    video: jax.Array
    audio: jax.Array
    tokens: jax.Array
    text_mask: jax.Array
    text_shots: jax.Array
    text_slots: jax.Array
    references: dict[str, jax.Array]
    captions: jax.Array
    has_audio: jax.Array

    def __len__(self) -> int:
        return len(self.has_audio)


def fill(
    source_batches: Iterable[Mapping[str, Any]],
    encode: Encode,
    tokenizer: PromptEncoder,
    count: int,
    until: float | None = None,
    progress: bool = True,
    refer: EncodeReferences | None = None,
) -> LatentSet:
    """Encodes clips and returns their latents in device memory.

    While the device encodes a batch, the host draws the next one.

    Args:
        source_batches: batches of clips, dicts with frames, samples, captions and more
            (`data.sources`).
        encode: from `data.encode.encoder`: (frames, samples) -> latents.
        tokenizer: list of B captions -> (tokens int32 [B,L], mask bool [B,L]).
        count: the largest number of clips.
        until: a time of `time.monotonic()` in seconds. No batch is started after it, except the
            first. Default: no limit.
        progress: whether to show a progress bar. Default True.
        refer: from `data.encode.reference_encoder`; encodes the characters' references in batches
            that have any. Default: references are left out.

    Raises:
        UserError: a clip's latents are not finite, or there is no clip.
    """
    parts, keys, captions, texts, has_audio, size = [], [], [], [], [], 0
    references: list[dict[str, np.ndarray]] = []
    with tqdm.tqdm(total=count, unit="clip", desc="latents", disable=not progress) as bar:
        for batch in source_batches:
            size = max(size, len(batch["keys"]))
            latents = encode(*padded(batch, size))
            if parts:
                jax.block_until_ready(parts[-1])  # at most two batches of frames in memory
            taken = min(len(batch["keys"]), count - len(keys))
            parts.append({name: x[:taken].astype(jnp.float16) for name, x in latents.items()})
            keys += batch["keys"][:taken]
            has_audio += list(batch["has_audio"][:taken])
            paraphrases = [list(of) or [""] for of in batch["captions"][:taken]]
            captions += [len(of) for of in paraphrases]
            names = None
            if refer is not None and "references" in batch:
                referred = refer(batch["references"], size)
                names = referred.pop("names")[:taken]
                references.append({name: np.asarray(x)[:taken] for name, x in referred.items()})
                names = [
                    of for of, several in zip(names, paraphrases, strict=True) for _ in several
                ]
            said = [text for of in paraphrases for text in of]
            texts.append(encode_prompts(tokenizer, said, names))
            bar.update(taken)
            if len(keys) == count or (until is not None and time.monotonic() > until):
                break
    if not keys:
        raise UserError("there is no clip to train on: the source is empty; give one with clips")
    latents = {name: jnp.concatenate([part[name] for part in parts]) for name in parts[0]}
    check_finite(keys, latents)
    words = {
        name: _by_clip(np.concatenate([rows[name] for rows in texts]), captions)
        for name in texts[0]
    }
    return LatentSet(
        video=latents["video"],
        audio=latents["audio"],
        tokens=jnp.asarray(words["tokens"], jnp.int32),
        text_mask=jnp.asarray(words["mask"], bool),
        text_shots=jnp.asarray(words["shots"], jnp.int8),
        text_slots=jnp.asarray(words["slots"], jnp.int8),
        references=_joined(references),
        captions=jnp.asarray(captions, jnp.int32),
        has_audio=jnp.asarray(has_audio, bool),
    )


def _joined(references: Sequence[Mapping[str, np.ndarray]]) -> dict[str, jax.Array]:
    """Returns the references of consecutive batches joined along the axis of clips, by name, in
    the dtypes of `LatentSet.references`.
    """
    return {
        name: jnp.asarray(np.concatenate([part[name] for part in references]), _dtype(name))
        for name in (references[0] if references else ())
    }


def _dtype(name: str) -> Any:
    """Returns the dtype of an array of references: latents in float16, masks as bool."""
    return jnp.float16 if name in LATENTS else bool


def _by_clip(rows: np.ndarray, captions: Sequence[int]) -> np.ndarray:
    """Groups rows [sum of captions, L] by clip into [M, Q, L], padded with zeros along Q.

    `captions` has the number of rows of each of the M clips; Q is the largest of them.
    """
    counts = np.asarray(captions)
    clip = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    result = np.zeros((len(counts), counts.max(), rows.shape[1]), rows.dtype)
    result[clip, place] = rows
    return result


def gather(latents: LatentSet, clips: jax.Array, draws: jax.Array) -> dict[str, Any]:
    """Returns a batch of B clips of a set by name: latents in float32, and the tokens and masks of
    one caption per clip.

    The entries are those of `latents.loader.batches`, without "times".

    Args:
        latents: the set.
        clips: indices of the clips, int32 [B].
        draws: random numbers that select the captions, int32 [B], not negative. A clip gets the
            caption `draws` modulo the number of its captions.
    """
    caption = draws % latents.captions[clips]
    return {
        "video": latents.video[clips].astype(jnp.float32),
        "audio": latents.audio[clips].astype(jnp.float32),
        "tokens": latents.tokens[clips, caption],
        "text_mask": latents.text_mask[clips, caption],
        "text_shots": latents.text_shots[clips, caption],
        "text_slots": latents.text_slots[clips, caption],
        "references": {
            name: x[clips].astype(jnp.float32) if name in LATENTS else x[clips]
            for name, x in latents.references.items()
        },
        "has_audio": latents.has_audio[clips],
    }


def shapes(batch_shapes: Mapping[str, Any], count: int, paraphrases: int) -> LatentSet:
    """Returns a `LatentSet` of `jax.ShapeDtypeStruct`s, for `compile_steps`: nothing is allocated.

    Args:
        batch_shapes: the arrays of a batch as `jax.ShapeDtypeStruct`s by name
            (`program.batch_shapes`).
        count: number of clips M.
        paraphrases: largest number of captions of a clip, Q.
    """

    def of(shape: tuple[int, ...], dtype: Any) -> Any:
        return jax.ShapeDtypeStruct((count, *shape), dtype)

    words = (paraphrases, batch_shapes["tokens"].shape[1])
    return LatentSet(
        video=of(batch_shapes["video"].shape[1:], jnp.float16),
        audio=of(batch_shapes["audio"].shape[1:], jnp.float16),
        tokens=of(words, jnp.int32),
        text_mask=of(words, bool),
        text_shots=of(words, jnp.int8),
        text_slots=of(words, jnp.int8),
        references={
            name: of(x.shape[1:], _dtype(name)) for name, x in batch_shapes["references"].items()
        },
        captions=of((), jnp.int32),
        has_audio=of((), bool),
    )


def repeated(latents: LatentSet, count: int) -> LatentSet:
    """Returns a set of latents with its clips repeated in order, up to `count` clips."""
    if count == len(latents):
        return latents
    places = np.arange(count) % len(latents)
    return jax.tree.map(lambda x: x[places], latents)


@dataclasses.dataclass(frozen=True)
class Order:
    """The order of the training clips, a pure function of the seed and the step.

    A pass (epoch) visits each of `count` clips once, in a permutation drawn for that pass. A batch
    may span two passes, so every batch is full.

    Attributes:
        count: number of clips.
        batch_size: clips per step.
        seed: seed of the permutations and captions.
    """

    count: int
    batch_size: int
    seed: int

    def __post_init__(self):
        if self.count < 1 or self.batch_size < 1 or self.seed < 0:
            raise ValueError(f"{self}; give at least 1 clip, batches of 1, and a seed from 0")

    def indices(self, step: int, steps: int) -> Indices:
        """Returns (clips, draws) for the `steps` steps after step `step`, each int32
        [steps, batch_size].

        `clips` are indices of clips. `draws` are random integers that select a caption of each
        clip (`gather`).
        """
        positions = np.arange(step * self.batch_size, (step + steps) * self.batch_size)
        passes, places = np.divmod(positions, self.count)
        found = np.empty((2, len(positions)), np.int32)
        for number in np.unique(passes):
            in_pass = passes == number
            found[:, in_pass] = _pass(self.count, self.seed, int(number))[:, places[in_pass]]
        clips, draws = found.reshape(2, steps, self.batch_size)
        return clips, draws


@functools.lru_cache(maxsize=2)
def _pass(count: int, seed: int, number: int) -> np.ndarray:
    """Returns the permutation of the clips and the draws of pass `number`, int32 [2, count].

    Each pass has its own Philox stream. Only the stream's raw integers are used, because they are
    the same in every version of NumPy. Results of `numpy.random.Generator`'s methods may change.
    """
    raw = np.random.Philox(key=np.array([seed, number], np.uint64)).random_raw(2 * count)
    order = np.argsort(raw[:count], kind="stable")
    return np.stack([order, raw[count:] >> np.uint64(33)]).astype(np.int32)
