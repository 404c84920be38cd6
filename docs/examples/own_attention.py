"""An attention pattern of your own: everything sees everything in the spatial block, and the
temporal block stays factorised.

    python -m experiments.train --import=docs/examples/own_attention.py \
        --config=experiments/configs/playhouse_nano.py --config.model.attention=hybrid \
        --workdir=runs/hybrid
    python -m experiments.sample --import=docs/examples/own_attention.py \
        --weights=runs/hybrid/weights.safetensors --prompt="a small red ball falls and bounces once"

The weights name their pattern: without the import they are refused.
"""

from sora_jax.models.attention_patterns import ATTENTION, full, pure


@ATTENTION.register
def hybrid(tokens):
    return full(tokens)[0], pure(tokens)[1]
