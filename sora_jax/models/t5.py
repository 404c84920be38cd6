"""T5's text encoder, from a local folder in the format of Hugging Face (encoder only).

    x <- x + W_o softmax(q k^T + b) v,     q, k, v = W rms(x)          self-attention            (1)
    x <- x + W_down (gelu(W_gate rms(x)) * (W_up rms(x)))              feed-forward, version 1.1 (2)
    x <- x + W_down relu(W_up rms(x))                                  feed-forward, version 1.0 (3)

x are the features of tokens, W learned matrices. The logits of (1) have no factor 1 / sqrt(d). b is
a learned bias of each head for each bucket of the distance between key and query: buckets of one
distance each up to a quarter of the buckets, then logarithmic up to
`relative_attention_max_distance`. T5 learns b once, in block 0; UMT5 in each block. rms is RMS
normalisation with a learned gain. Sources: Raffel et al. 2020 (arXiv:1910.10683); UMT5, Chung et
al. 2023 (arXiv:2304.09151); for (2), Shazeer 2020 (arXiv:2002.05202).

The folder has config.json, the weights (model.safetensors, or several files with
model.safetensors.index.json), and tokenizer.json or spiece.model, which need the packages
`tokenizers` or `sentencepiece` (extra `t5`). Nothing is downloaded.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open

from sora_jax import files
from sora_jax.errors import UserError

HIDDEN = -1e9
REMEDY = (
    "give a folder with config.json, model.safetensors, and tokenizer.json or spiece.model, as "
    "published for T5"
)
# feed_forward_proj in config.json -> the activation of equation (3) or (2)
ACTIVATIONS = {"relu": jax.nn.relu, "gated-gelu": functools.partial(jax.nn.gelu, approximate=True)}


@dataclasses.dataclass(frozen=True)
class T5Config:
    """Sizes of the encoder, named as in config.json.

    Attributes:
        d_model: features of a token, D.
        d_kv: width of a head.
        d_ff: hidden width of the feed-forward part.
        num_layers: number of blocks.
        num_heads: number of heads.
        vocab_size: number of token ids.
        feed_forward_proj: "relu" (default, equation (3)) or "gated-gelu" (equation (2)).
        relative_attention_num_buckets: number of buckets of distances. Default 32.
        relative_attention_max_distance: the distance in tokens from which on all share a bucket.
            Default 128.
        layer_norm_epsilon: constant added to the mean square in rms. Default 1e-6.
    """

    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int
    vocab_size: int
    feed_forward_proj: str = "relu"
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6


def bucket_of(distance: np.ndarray, buckets: int, furthest: int) -> np.ndarray:
    """Returns the bucket of each distance, key minus query: the first half of the buckets is for
    keys at or before the query, the second for keys after it.

    Args:
        distance: integers of any shape, in tokens.
        buckets: number of buckets.
        furthest: the distance in tokens from which on all share a bucket.

    Returns:
        Indices of buckets, integers like `distance`.
    """
    half, away = buckets // 2, np.abs(distance)
    exact = half // 2
    # in float32, as published: at the edges of buckets rounding decides
    ratio = np.log(np.maximum(away, 1).astype(np.float32) / np.float32(exact))
    ratio = ratio / np.float32(np.log(furthest / exact)) * np.float32(half - exact)
    far = exact + ratio.astype(np.int64)
    near = np.where(away < exact, away, np.minimum(far, half - 1))
    return near + half * (distance > 0)


def _rms(x: Float[Array, "*B D"], gain: Float[Array, " D"], epsilon: float) -> Float[Array, "*B D"]:
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + epsilon) * gain


@functools.partial(jax.jit, static_argnames="config")
def encode(
    params: Any, config: T5Config, ids: Int[Array, "B L"], mask: Bool[Array, "B L"]
) -> Float[Array, "B L D"]:
    """Returns the features of tokens, float32 [B, L, D], whatever the dtype of the parameters.

    Args:
        params: the parameters (`read_params`).
        config: the sizes.
        ids: token ids [B, L].
        mask: bool [B, L], False for padding.
    """
    c, (B, L) = config, ids.shape
    distance = np.arange(L)[None] - np.arange(L)[:, None]
    bucket = bucket_of(
        distance, c.relative_attention_num_buckets, c.relative_attention_max_distance
    )
    activation = ACTIVATIONS[c.feed_forward_proj]

    def block(x: Array, p: Mapping[str, Array]) -> tuple[Array, None]:
        p = {name: weight.astype(jnp.float32) for name, weight in p.items()}
        y = _rms(x, p["norm1"], c.layer_norm_epsilon)
        q, k, v = ((y @ p[name].T).reshape(B, L, c.num_heads, c.d_kv) for name in ("q", "k", "v"))
        logits = jnp.einsum("blhd,bmhd->bhlm", q, k) + p["bias"][bucket].transpose(2, 0, 1)
        weights = jax.nn.softmax(jnp.where(mask[:, None, None], logits, HIDDEN), -1)
        x = x + jnp.einsum("bhlm,bmhd->blhd", weights, v).reshape(B, L, -1) @ p["o"].T
        y = _rms(x, p["norm2"], c.layer_norm_epsilon)
        hidden = activation(y @ p["wi_0"].T)
        hidden = hidden * (y @ p["wi_1"].T) if "wi_1" in p else hidden
        return x + hidden @ p["wo"].T, None

    x = params["embedding"][ids].astype(jnp.float32)
    x, _ = jax.lax.scan(block, x, params["blocks"])
    return _rms(x, params["norm"].astype(jnp.float32), c.layer_norm_epsilon)


# name of a block's parameter here -> the end of its name in a file of weights
NAMES = {
    "norm1": "layer.0.layer_norm.weight",
    **{name: f"layer.0.SelfAttention.{name}.weight" for name in "qkvo"},
    "bias": "layer.0.SelfAttention.relative_attention_bias.weight",
    "norm2": "layer.1.layer_norm.weight",
    "wi_0": "layer.1.DenseReluDense.wi_0.weight",
    "wi_1": "layer.1.DenseReluDense.wi_1.weight",
    "wo": "layer.1.DenseReluDense.wo.weight",
}


def read_config(folder: Path) -> T5Config:
    """Returns the sizes in config.json of a folder.

    Raises:
        UserError: the file is missing, is no configuration of T5, or names an activation that is
            not in ACTIVATIONS.
    """
    path = folder / "config.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{folder} has no config.json; {REMEDY}", field="text.t5") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); copy it again", field="text.t5") from None
    names = {f.name: f.default for f in dataclasses.fields(T5Config)}
    if lost := [n for n, d in names.items() if d is dataclasses.MISSING and n not in given]:
        raise UserError(
            f"{path} has no {', '.join(lost)}, so it is no T5; {REMEDY}", field="text.t5"
        )
    config = T5Config(**{name: given[name] for name in names if name in given})
    if config.feed_forward_proj not in ACTIVATIONS:
        raise UserError(
            f"{path}: feed_forward_proj={config.feed_forward_proj!r} is not supported; there are "
            f"{', '.join(ACTIVATIONS)}",
            field="text.t5",
        )
    return config


def weight_files(folder: Path) -> list[Path]:
    """Returns the files of weights in a folder, sorted.

    Raises:
        UserError: there are none, or the index names files that are missing.
    """
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        raise UserError(f"{folder} has no model.safetensors; {REMEDY}", field="text.t5")
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    if lost := [name for name in names if not (folder / name).is_file()]:
        raise UserError(
            f"{folder} lacks {', '.join(lost)}, which its index names; copy them too",
            field="text.t5",
        )
    return [folder / name for name in names]


def read_params(folder: Path, config: T5Config) -> dict[str, Any]:
    """Returns the parameters in a folder, in the dtypes of the files.

    They are {"embedding": [ids, D], "norm": [D], "blocks": {name in NAMES: [blocks, ...]}}.

    Raises:
        UserError: a file is missing or damaged, a parameter is missing, or has another shape than
            config.json says.
    """
    arrays: dict[str, Array] = {}
    for path in weight_files(folder):
        try:
            with safe_open(str(path), framework="flax") as file:  # decoders stay on the disk
                names = file.keys()
                names = [name for name in names if name.startswith(("encoder.", "shared."))]
                arrays |= {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); copy it again", field="text.t5"
            ) from None
    first = "encoder.block.0." + NAMES["bias"]

    def of(name: str, *others: str) -> Array:
        for candidate in (name, *others):
            if candidate in arrays:
                return arrays[candidate]
        raise UserError(f"the weights in {folder} lack {name}; {REMEDY}", field="text.t5")

    def of_block(i: int, name: str) -> Array:
        path = f"encoder.block.{i}.{NAMES[name]}"
        if name == "bias":
            return of(path, first)
        return of(path, path.replace("wi_0", "wi"))

    gated = config.feed_forward_proj.startswith("gated")
    names = [name for name in NAMES if gated or name != "wi_1"]
    blocks = {
        name: jnp.stack([of_block(i, name) for i in range(config.num_layers)]) for name in names
    }
    embedding = of("shared.weight", "encoder.embed_tokens.weight")
    inner = config.num_heads * config.d_kv
    shapes = {
        "q": (inner, config.d_model),
        "wo": (config.d_model, config.d_ff),
        "bias": (config.relative_attention_num_buckets, config.num_heads),
    }
    found = {name: blocks[name].shape[1:] for name in shapes} | {"embedding": embedding.shape}
    for name, shape in {**shapes, "embedding": (config.vocab_size, config.d_model)}.items():
        if found[name] != shape:
            raise UserError(
                f"{folder}: {name} is {found[name]}, and config.json says {shape}; give the "
                "config.json that belongs to the weights",
                field="text.t5",
            )
    return {
        "embedding": embedding,
        "norm": of("encoder.final_layer_norm.weight"),
        "blocks": blocks,
    }


def _package(name: str, file: str) -> Any:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:  # without an origin it is any folder of that name
        raise UserError(
            f"reading {file} needs the package {name}; pip install {name}", field="text.t5"
        )
    return importlib.import_module(name)


class Pieces:
    """The tokenizer of a T5 folder: a text to ids of word pieces, each with its place in the text.

    Args:
        folder: the folder, with tokenizer.json or spiece.model.

    Attributes:
        file: the file that is read.

    Raises:
        UserError: neither file is there, or the package that reads it is not installed.
    """

    def __init__(self, folder: Path):
        self._fast = self._piece = None
        if (folder / "tokenizer.json").is_file():
            self.file = folder / "tokenizer.json"
            self._fast = _package("tokenizers", self.file.name).Tokenizer.from_file(str(self.file))
            self._fast.no_truncation()
            self._fast.no_padding()
        elif (folder / "spiece.model").is_file():
            self.file = folder / "spiece.model"
            package = _package("sentencepiece", self.file.name)
            self._piece = package.SentencePieceProcessor(model_file=str(self.file))
        else:
            raise UserError(
                f"{folder} has no tokenizer.json and no spiece.model; {REMEDY}", field="text.t5"
            )

    def __call__(self, text: str) -> tuple[list[int], list[int]]:
        """Returns (ids of a text's pieces and of the end mark, place at which each begins, in
        characters from the start of the text).
        """
        if self._fast is not None:
            found = self._fast.encode(text)
            ids, places = list(found.ids), [start for start, _ in found.offsets]
            places[-1] = len(text)  # the end mark
        else:
            assert self._piece is not None
            found = self._piece.encode(text, return_type="offset_mapping")
            ids = [*found["ids"], self._piece.eos_id()]
            places = [*(start for start, _ in found["offsets"]), len(text)]
        # a piece may begin with the space before its word
        return ids, [at + len(text[at:]) - len(text[at:].lstrip()) for at in places]


class T5:
    """A T5 encoder, read from a folder.

    Args:
        folder: the folder, with the files that the module's docstring lists.

    Attributes:
        name: the name of the folder.
        config: the sizes.
        pieces: the tokenizer.
        params: the parameters (`read_params`).

    Raises:
        UserError: a file is missing or damaged, or a package is not installed.
    """

    def __init__(self, folder: str | os.PathLike):
        path = files.user_path(folder)
        if not path.is_dir():
            raise UserError(f"no folder {folder}; {REMEDY}", field="text.t5")
        self.name, self.config = path.name, read_config(path)
        self.pieces = Pieces(path)
        self._files = [path / "config.json", self.pieces.file, *weight_files(path)]
        self.params = read_params(path, self.config)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The first 12 hex digits of a sha256 over the files."""
        digest = hashlib.sha256()
        for path in self._files:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:12]

    def __call__(self, rows: Sequence[Sequence[int]], length: int) -> list[np.ndarray]:
        """Returns the features of each of several sequences of n ids, float32 [n, D]. They are
        computed in one batch, padded to `length` tokens.
        """
        count = 1 << max(len(rows) - 1, 0).bit_length()  # few shapes, so few compilations
        ids, mask = np.zeros((count, length), np.int32), np.zeros((count, length), bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = row, True
        features = np.asarray(encode(self.params, self.config, jnp.asarray(ids), jnp.asarray(mask)))
        return [features[i, : len(row)] for i, row in enumerate(rows)]
