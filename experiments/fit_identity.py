"""Fit the embedding of heads (`sora_jax/oracles/heads.py`) and write its table.

    python -m experiments.fit_identity

The training data are renders of random characters that are not held out: clips of the family talk
in all styles, and stills. Takes about five minutes on one CPU core, and 4 GB of memory; the table
is reproducible on the same machine. Run it after changing the look of the characters or
`faces.json`, then run experiments.calibrate again.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.oracles import heads, heads_fit

_OUTPUT = flags.DEFINE_string(
    "output", None, "JSON file for the table. Default: the file that the oracle reads."
)
_CLIPS = flags.DEFINE_integer("num_clips", 3000, "Talks.", lower_bound=64)
_STILLS = flags.DEFINE_integer("num_stills", 2000, "Characters shown as stills.", lower_bound=64)
FIGURES = 3


def rounded(values: np.ndarray) -> list | float:
    """Returns an array as nested lists of numbers, rounded to FIGURES significant digits."""
    if values.ndim:
        return [rounded(part) for part in values]
    return float(f"{values:.{FIGURES}g}")


def main(_: Sequence[str]) -> None:
    table = heads_fit.fit(_CLIPS.value, _STILLS.value)
    values = {name: rounded(value) for name, value in vars(table).items()}
    path = Path(_OUTPUT.value or heads.TABLE)
    files.write(path, json.dumps(values) + "\n")
    print(f"{path}: {_CLIPS.value} talks, {_STILLS.value} characters as stills")


if __name__ == "__main__":
    run_main(main)
