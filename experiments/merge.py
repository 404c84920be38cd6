r"""Merge low-rank updates (LoRA) into the weights that they were trained on.

    python -m experiments.merge --lora=runs/mine/model/lora.safetensors \
        --output=runs/mine/merged.safetensors

The file holds all weights of the updated model, in float32, so --lora is no longer needed.
"""

from collections.abc import Sequence

from absl import flags

from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.lora import merge

_LORA = flags.DEFINE_string("lora", None, "The updates, lora.safetensors. Required.")
_OUTPUT = flags.DEFINE_string("output", None, "The file to write. Required.")
_WEIGHTS = flags.DEFINE_string("weights", None, "What they update. Default: the shipped nano.")


def main(_: Sequence[str]) -> None:
    lora, output = _LORA.value, _OUTPUT.value
    if not lora or not output:
        missing = _OUTPUT if lora else _LORA
        raise UserError(f"--{missing.name} is missing; give a .safetensors file")
    print(f"{output} ({merge(lora, output, _WEIGHTS.value)})")


if __name__ == "__main__":
    run_main(main)
