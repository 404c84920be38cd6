r"""Write a model for another framework: weights, their names, and code that reads them.

    python -m experiments.export --output=outputs/torch                     # the shipped model
    python -m experiments.export --format=torch --weights=WEIGHTS --output=DIR
    python DIR/sora_torch.py --prompt="a large red ball is dropped and bounces twice"

The folder gets weights.safetensors (float32), names.json (for each tensor, the parameter of
sora_jax that it is), config.json, and sora_torch.py: model, tokenizers, sampler and a command in
one file, which needs torch, numpy and safetensors, and no JAX.
"""

from collections.abc import Sequence

from absl import flags

from experiments import generation
from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.export.to_torch import export_torch

for _name in ("weights", "video_tokenizer", "audio_tokenizer", "text_encoder"):
    flags.declare_key_flag(_name)
_FORMAT = flags.DEFINE_enum("format", "torch", ["torch"], "Framework.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write. Required.")


def main(_: Sequence[str]) -> None:
    if not _OUTPUT.value:
        raise UserError("no --output; give the folder to write, such as outputs/torch")
    generation.check_weights()
    folder = files.check_output("output", _OUTPUT.value)
    pipeline = generation.load()
    export_torch(pipeline, folder)
    print(
        f"{folder}: model {pipeline.fingerprints['model']} for PyTorch; generate with\n"
        f'  python {folder}/sora_torch.py --prompt="..."'
    )


if __name__ == "__main__":
    run_main(main)
