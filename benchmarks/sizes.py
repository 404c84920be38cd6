"""Counts parameters and FLOPs for the tables of docs/guides/model.md.

    python -m benchmarks.sizes

It writes docs/results/sizes.json, from which `python -m benchmarks.documents` fills the tables.
Nothing is allocated or run: the counts are those of `sora_jax.models.cost`. Give it some minutes.
"""

import ast
import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from sora_jax import environment, files
from sora_jax.cli import run_main
from sora_jax.config import from_dict
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.models import attention_patterns
from sora_jax.models.attention_patterns import ATTENTION
from sora_jax.models.cost import measure
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiT
from sora_jax.models.st_dit_config import STDiTConfig
from sora_jax.training.configs import read_values
from sora_jax.training.run import Run
from sora_jax.training.tokenizer_run import KINDS, tokenizer_run

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "experiments" / "configs"
RESULT = ROOT / "docs" / "results" / "sizes.json"
TEXT = 48  # words of a prompt of a preset
# Preset -> the clip format in which it is counted.
FORMAT_OF = {"nano": "nano", "S": "S", "B": "S", "XL": "XL", "14B": "XL"}
VARIED = ("S", "XL")  # presets whose attention is varied


def config_files() -> list[Path]:
    """Returns the configuration files of the repository, by name."""
    return sorted(CONFIGS.glob("[!_]*.py"))


def patterns() -> list[str]:
    """Returns the names of the attention patterns of the package, without those of users."""
    return [name for name in ATTENTION if hasattr(attention_patterns, name)]


def purpose(path: Path) -> str:
    """Returns the first sentence of a configuration file's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).partition(". ")[0].rstrip(".")


def parameters(module: Callable, config: Any) -> int:
    """Returns the number of parameters of `module(config)`, without making them."""
    made = nnx.eval_shape(lambda: module(config, rngs=nnx.Rngs(0)))
    leaves = jax.tree.leaves(nnx.state(made, nnx.Param))
    return sum(int(np.prod(leaf.shape)) for leaf in leaves)


@functools.cache
def counted(model: STDiTConfig, format: ClipFormat, text_length: int) -> dict[str, Any]:
    """Returns the counts of a model for one clip of a format, as JSON values. The FLOPs are those
    of a clip without references of characters.

    Args:
        model: the sizes of the network.
        format: format of the clip.
        text_length: words of its prompt.
    """
    cost = measure(dataclasses.replace(model, references=0), format, 1, text_length)
    return {
        "parameters": parameters(STDiT, model),
        "tokens": cost.tokens,
        "forward": cost.forward,
        "step": cost.step,
    }


def configuration(path: Path) -> dict[str, Any]:
    """Returns the counts of a configuration file, as JSON values; of a tokenizer, its parameters
    alone. A mixture is counted on its first set.
    """
    values = read_values(path)
    row: dict[str, Any] = {"purpose": purpose(path)}
    if "model" not in values:
        tokenizer = tokenizer_run(values)
        module = KINDS[tokenizer.kind].module
        return row | {"parameters": parameters(module, tokenizer.tokenizer)}
    # Where the data are does not change what a model costs.
    data = {**values["data"], "path": "", "source": "playhouse"}
    run = from_dict(Run, {**values, "data": data}).on_set()
    (one,) = run.data.mixture
    row |= {"format": one.format, "batch_size": run.train.batch_size, "steps": run.train.steps}
    return row | counted(run.model, one.clip_format, run.data.text_length)


def attention(preset: str, pattern: str) -> dict[str, Any]:
    """Returns the counts of a preset with another attention pattern, in its clip format."""
    model = dataclasses.replace(PRESETS[preset], attention=pattern)
    return counted(model, FORMATS[FORMAT_OF[preset]], TEXT)


def count() -> dict[str, Any]:
    """Returns all counts, as JSON values."""
    return {
        "presets": {
            name: {
                "depth": model.depth,
                "width": model.width,
                "audio_width": model.audio_width,
                "format": FORMAT_OF[name],
                **counted(model, FORMATS[FORMAT_OF[name]], TEXT),
            }
            for name, model in PRESETS.items()
        },
        "configurations": {path.name: configuration(path) for path in config_files()},
        "attention": {
            pattern: {preset: attention(preset, pattern) for preset in VARIED}
            for pattern in patterns()
        },
    }


def main(_: Sequence[str]) -> None:
    record = environment.record() | {"results": count()}
    files.write(RESULT, json.dumps(record, indent=1) + "\n")
    print(RESULT.relative_to(ROOT))


if __name__ == "__main__":
    run_main(main)
