"""Weights on disk: a safetensors file that also holds its configuration and metadata.

The header holds `kind` (the type of model), `config` (its dataclass as JSON), `metadata` (how
it was trained, the model card) and `fingerprint`. The fingerprint is the first 12 hex digits of
the sha256 over the kind, the config as JSON with sorted keys, and the sorted names, dtypes, shapes
and bytes of the tensors. The name of a tensor is the path of its parameter in the model, joined by
"/".

Equal fingerprints mean the same function from inputs to outputs, so the fingerprint also covers
fields of the config without a tensor of their own (`output`, `window`). It does not cover the
metadata, which state the origin of the weights. The fingerprint is verified on reading, so that a
damaged file is rejected.
"""

import dataclasses
import hashlib
import importlib.resources
import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sora_jax import config as config_lib
from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.tokenizers.audio import AudioTokenizer, AudioTokenizerConfig
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig
from sora_jax.tree import flatten

M = TypeVar("M", bound=nnx.Module)

# kind of model -> name of its shipped file, for `shipped`
KINDS = {
    "st_dit": "nano",
    "video_tokenizer": "video_tokenizer",
    "audio_tokenizer": "audio_tokenizer",
}

# Filter of the stored variables, `nnx.state(module, STORED)`: parameters, and statistics of the
# latents, which are measured rather than trained.
STORED = nnx.Not(nnx.RngState)


@dataclasses.dataclass(frozen=True)
class Weights:
    """The contents of a weights file.

    Attributes:
        params: the parameters, a nested dict of arrays, keyed by the names of the model's modules.
            Floating ones are float32.
        config: the fields of the model's dataclass as JSON values.
        metadata: the model card: how the weights were made, as JSON values.
        fingerprint: 12 hex digits that identify kind, config and tensors.
    """

    params: dict[str, Any]
    config: dict[str, Any]
    metadata: dict[str, Any]
    fingerprint: str

    @property
    def latents(self) -> str:
        """For a tokenizer, the fingerprint that identifies its latent space. Tokenizers for which
        it is equal can decode each other's latents.

        It is the fingerprint of the file itself. If only a decoder was trained, starting from
        another tokenizer, it is the `latents` of that tokenizer. For other kinds of weights it
        means nothing.
        """
        return self.metadata.get("latents_of", self.fingerprint)


def shipped(name: str) -> Path:
    """Returns the path of the shipped weights file called `name`: "video_tokenizer",
    "audio_tokenizer" or "nano".
    """
    return Path(str(importlib.resources.files("sora_jax") / "shipped" / f"{name}.safetensors"))


def _fingerprint(kind: str, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(f"{kind};{json.dumps(config, sort_keys=True)};".encode())
    for name in sorted(arrays):
        digest.update(f"{name}:{arrays[name].dtype}:{arrays[name].shape};".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:12]


def _stored_dtype(given: Any, asked: Any) -> Any:
    """Returns the dtype in which an array of dtype `given` is stored: `asked` if that is not None
    and the array is floating, else its own. bfloat16 becomes float32, because NumPy lacks it.
    """
    if asked is not None and jnp.issubdtype(given, jnp.floating):
        return asked
    return np.float32 if given == jnp.bfloat16 else given


def save_weights(
    path: str | os.PathLike,
    kind: str,
    params: Any,
    config: Any,
    metadata: Mapping[str, Any],
    dtype: Any = None,
) -> str:
    """Writes weights atomically and returns their fingerprint.

    Args:
        path: the .safetensors file.
        kind: "st_dit" (the diffusion transformer), "video_tokenizer", "audio_tokenizer" or "lora".
        params: `nnx.state(module, STORED)`, or nested dicts of arrays.
        config: the model's dataclass, or its dict.
        metadata: the model card, JSON values: seed, steps, hardware, loss curve, ...
        dtype: dtype to store floating parameters in (np.float16 for shipping). Default None:
            unchanged. Reading always gives float32.

    Raises:
        UserError: a parameter is not finite or overflows `dtype`, or the file cannot be written.
    """
    arrays = {}
    for name, leaf in flatten(params).items():
        array = np.asarray(jax.device_get(leaf))
        if not np.isfinite(array).all():
            raise UserError(
                f"the parameter {name} holds NaN or infinity; {path} was not written; use an "
                "earlier checkpoint"
            )
        target = _stored_dtype(array.dtype, dtype)
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(array).astype(target).reshape(array.shape)
        if not np.isfinite(stored).all():
            raise UserError(
                f"the parameter {name} does not fit {np.dtype(target).name} (largest "
                f"{np.abs(array).max():.3g}); store it wider"
            )
        arrays[name] = stored
    config = config_lib.to_dict(config)
    fingerprint = _fingerprint(kind, config, arrays)
    header = {
        "kind": kind,
        "config": json.dumps(config),
        "metadata": json.dumps(dict(metadata)),
        "fingerprint": fingerprint,
    }
    files.write(path, save(arrays, metadata=header))
    return fingerprint


def load_weights(path: str | os.PathLike, kind: str) -> Weights:
    """Reads a weights file; floating parameters are returned as float32.

    Args:
        path: the .safetensors file.
        kind: the kind that the file must have: "st_dit" (the diffusion transformer),
            "video_tokenizer", "audio_tokenizer" or "lora".

    Raises:
        UserError: the file is missing, damaged, of another kind, or not from this project.
    """
    path = files.user_path(path)
    if not path.is_file():
        raise UserError(
            f"no weights at {path}; give a .safetensors file made by experiments.train or "
            "experiments.train_tokenizer"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; make it readable") from None
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
        config, metadata = (json.loads(header.get(name, "{}")) for name in ("config", "metadata"))
        arrays = load(data)
    except (struct.error, ValueError, KeyError, AttributeError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(
            f"{path} is not a readable safetensors file ({reason}); it may be cut short: copy "
            "or download it again"
        ) from error
    if not {"kind", "config", "metadata", "fingerprint"} <= header.keys():
        raise UserError(
            f"{path} is a safetensors file of another project; use weights written by "
            "experiments.train of sora_jax"
        )
    if header["kind"] != kind:
        raise UserError(
            f"{path} holds weights of kind {header['kind']}, not {kind}; give a file of that kind"
        )
    if _fingerprint(kind, config, arrays) != header["fingerprint"]:
        raise UserError(
            f"{path} is damaged: its numbers and configuration do not match the fingerprint "
            f"{header['fingerprint']}; copy it again"
        )
    params: dict[str, Any] = {}
    for name, array in sorted(arrays.items()):
        *parents, leaf = name.split("/")
        node = params
        for key in parents:
            node = node.setdefault(key, {})
        node[leaf] = (
            jnp.asarray(array, jnp.float32)
            if np.issubdtype(array.dtype, np.floating)
            else jnp.asarray(array)
        )
    return Weights(params, config, metadata, header["fingerprint"])


def fill(state: Any, params: Mapping[str, Any], where: str = "the weights") -> Any:
    """Returns `state` with its arrays replaced by those of `params`, matched by name and shape.

    Args:
        state: an nnx State, concrete or abstract.
        params: nested dicts of arrays.
        where: name of the weights, for error messages.

    Raises:
        UserError: names or shapes differ; the message lists the first differences.
    """
    given, wanted = flatten(params), flatten(state)
    missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if missing or extra:
        parts = [
            f"{word} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
            for word, names in (("lacks", missing), ("has extra", extra))
            if names
        ]
        raise UserError(
            f"{where} does not fit the model: it {' and '.join(parts)}; use the configuration "
            "it was trained with"
        )
    for name, leaf in wanted.items():
        if given[name].shape != leaf.shape:
            raise UserError(
                f"{where} does not fit the model: {name} is {given[name].shape}, the model "
                f"needs {leaf.shape}; "
                "use the configuration it was trained with"
            )
    leaves = [jnp.asarray(given[name], leaf.dtype) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(state), leaves)


def build(
    model_class: Callable[..., M], config: Any, weights: Weights, where: str = "the weights"
) -> M:
    """Returns the module `model_class(config, rngs=...)` with the given weights.

    Parameters are not initialised at random first.

    Args:
        model_class: class of the module.
        config: dataclass of its configuration.
        weights: the weights.
        where: name of the weights, for error messages.

    Raises:
        UserError: names or shapes of the parameters differ from the module's.
    """
    abstract = nnx.eval_shape(lambda: model_class(config, rngs=nnx.Rngs(0)))
    graphdef, params, rest = nnx.split(abstract, STORED, ...)
    if jax.tree.leaves(rest):  # variables that are not stored need concrete initial values
        rest = nnx.split(model_class(config, rngs=nnx.Rngs(0)), STORED, ...)[2]
    return nnx.merge(graphdef, fill(params, weights.params, where), rest)


def _load(
    kind: str, path: str | os.PathLike | None, model_class: Callable[..., M], config_class: type
) -> tuple[M, Weights]:
    path = shipped(KINDS[kind]) if path is None else Path(path)
    weights = load_weights(path, kind)
    return build(
        model_class,
        config_lib.from_dict(config_class, weights.config, f"{path.name}: config"),
        weights,
        str(path),
    ), weights


def load_model(path: str | os.PathLike | None = None) -> tuple[STDiT, Weights]:
    """Returns the diffusion transformer in the file `path` (default: the shipped nano), and its
    weights. Raises UserError if the file cannot be read.
    """
    return _load("st_dit", path, STDiT, STDiTConfig)


def load_video_tokenizer(path: str | os.PathLike | None = None) -> tuple[VideoTokenizer, Weights]:
    """Returns the video tokenizer in the file `path` (default: the shipped one), and its
    weights. Raises UserError if the file cannot be read.
    """
    return _load("video_tokenizer", path, VideoTokenizer, VideoTokenizerConfig)


def load_audio_tokenizer(path: str | os.PathLike | None = None) -> tuple[AudioTokenizer, Weights]:
    """Returns the audio tokenizer in the file `path` (default: the shipped one), and its
    weights. Raises UserError if the file cannot be read.
    """
    return _load("audio_tokenizer", path, AudioTokenizer, AudioTokenizerConfig)


def data_of(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the descriptions of the data sets that a model was trained on, as dicts with keys
    such as "source", "family" and "count", from the metadata of its weights.
    """
    data = metadata.get("data") or {}
    return list(data["sets"].values()) if "sets" in data else [data]


def families_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the families of scenes of Playhouse, the synthetic world, that a model was trained
    on, such as ("room", "film"), from the metadata of its weights.
    """
    families = (one.get("family") for one in data_of(metadata) if one.get("source") == "playhouse")
    return tuple(dict.fromkeys(family for family in families if family))
