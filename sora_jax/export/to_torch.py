"""Writes a pipeline as a folder that PyTorch reads without JAX.

    sora_torch.py         the modules, a sampler and a command; a copy of the file beside this one
    weights.safetensors   float32 parameters of the model and both tokenizers, by their PyTorch name
    names.json            for each parameter, its array in sora_jax and the order of its axes
    config.json           configurations, words, formats and fingerprints

A PyTorch name is the path of the parameter in sora_jax, joined by ".", with three changes: a stack
of blocks becomes one entry for each block; `kernel` and `embedding` become `weight`; and a kernel
is transposed to the order of PyTorch, [out, in] or [out, in, rows, columns].
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from safetensors.numpy import save

from sora_jax import config as config_lib
from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.pipelines.generate import Pipeline
from sora_jax.tree import flatten
from sora_jax.weights import STORED

TEMPLATE = Path(__file__).with_name("sora_torch.py")
PARTS = ("model", "video_tokenizer", "audio_tokenizer")
STACKS = ("model/pairs/", "model/text/blocks/")  # arrays with a leading axis of blocks
# Values of fields that sora_torch.py supports. Attention patterns of users are not among them.
KNOWN = {"attention": ("pure", "window", "full", "matrix", "interleaved")}
# Fields that are left out of config.json: they change the speed or the training, and not the
# output. `dtype`: the PyTorch modules compute in float32.
IGNORED = {
    "model": ("dtype", "remat", "unroll"),
    "video_tokenizer": ("noise", "motion_weight"),
    "audio_tokenizer": ("kind", "latent_noise", "latent_weight"),
}
AXES = {2: (1, 0), 4: (3, 2, 0, 1)}  # order of a kernel's axes in PyTorch, by their number


@dataclasses.dataclass(frozen=True)
class Origin:
    """The array of sora_jax that an array of PyTorch comes from.

    Attributes:
        name: path of the array in sora_jax, such as "model/pairs/space/mlp/up/kernel".
        block: index of the block in its stack. Default None: the array is in no stack.
        axes: order of the axes in PyTorch, as indices of the original's axes without that of the
            stack. Default None: unchanged.
    """

    name: str
    block: int | None = None
    axes: tuple[int, ...] | None = None

    def of(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the array of PyTorch, float32, from those of sora_jax by their path."""
        x = np.asarray(arrays[self.name], np.float32)
        x = x if self.block is None else x[self.block]
        return np.ascontiguousarray(x if self.axes is None else x.transpose(self.axes))


def name_map(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Origin]:
    """Returns {name in PyTorch: origin} of all arrays.

    Args:
        shapes: shapes of the arrays by their path in sora_jax, which begins with one of PARTS.
    """
    names = {}
    for path, shape in shapes.items():
        stack = next((stack for stack in STACKS if path.startswith(stack)), "")
        *parents, leaf = path[len(stack) :].split("/")
        axes = AXES[len(shape) - bool(stack)] if leaf == "kernel" else None
        leaf = "weight" if leaf in ("kernel", "embedding") else leaf
        for block in range(shape[0]) if stack else [None]:
            parts = [*stack.split("/")[:-1], *([] if block is None else [str(block)])]
            names[".".join([*parts, *parents, leaf])] = Origin(path, block, axes)
    return names


def arrays_of(pipeline: Pipeline) -> dict[str, np.ndarray]:
    """Returns the stored arrays of a pipeline's modules by their path, which begins with one of
    PARTS.
    """
    modules = {name: nnx.state(getattr(pipeline, name), STORED) for name in PARTS}
    return {
        f"{name}/{path}": np.asarray(x)
        for name, state in modules.items()
        for path, x in flatten(state).items()
    }


def config_of(pipeline: Pipeline) -> dict[str, Any]:
    """Returns the contents of config.json: configurations of PARTS, words, text length, formats,
    shift of the noise levels, fingerprints and training data.

    Raises:
        UserError: a field of the model has a value that sora_torch.py does not support.
    """
    configs = {name: config_lib.to_dict(getattr(pipeline, name).config) for name in PARTS}
    for field, known in KNOWN.items():
        if (value := configs["model"][field]) not in known:
            raise UserError(
                f"{field}={value!r} has no form in PyTorch; there are {', '.join(known)}",
                field="weights",
            )
    kept = {
        name: {field: x for field, x in config.items() if field not in IGNORED[name]}
        for name, config in configs.items()
    }
    return {
        **kept,
        "words": list(pipeline.text_tokenizer.words),
        "text_length": pipeline.text_tokenizer.length,
        "formats": [format.to_dict() for format in pipeline.formats],
        "shift": pipeline.shift,
        "fingerprints": pipeline.fingerprints,
        "trained_on": pipeline.trained_on,
    }


def export_torch(pipeline: Pipeline, folder: str | os.PathLike) -> Path:
    """Writes a pipeline as a folder for PyTorch. Existing files of the four names are replaced.

    Args:
        pipeline: the model with its tokenizers.
        folder: the folder; it is made if it does not exist.

    Returns:
        The folder.

    Raises:
        UserError: a field of the model is not supported, or a file cannot be written.
    """
    config, arrays = config_of(pipeline), arrays_of(pipeline)
    names = name_map({path: x.shape for path, x in arrays.items()})
    weights = {name: origin.of(arrays) for name, origin in names.items()}
    origins = {
        name: {k: v for k, v in dataclasses.asdict(origin).items() if v is not None}
        for name, origin in names.items()
    }
    target = files.check_output("output", str(folder))
    files.write(target / "weights.safetensors", save(weights, metadata={"format": "pt"}))
    files.write(target / "names.json", json.dumps(origins, indent=1) + "\n")
    files.write(target / "config.json", json.dumps(config, indent=1) + "\n")
    files.write(target / TEMPLATE.name, TEMPLATE.read_text(encoding="utf-8"))
    return target
