"""Named sizes of STDiT.

`python -m experiments.describe --preset=NAME` prints the cost of each.
"""

from sora_jax.models.st_dit import STDiTConfig

PRESETS = {
    # For two CPU cores: at most 4M parameters, chosen by the time of a training step (see
    # `experiments.describe`).
    "nano": STDiTConfig(
        depth=3,
        width=192,
        heads=6,
        mlp_ratio=2.25,
        audio_width=128,
        audio_heads=4,
        exchange_width=64,
        exchange_heads=2,
        text_width=128,
        text_heads=4,
        window=(0, 2, 2),
        unroll=3,
    ),
    "S": STDiTConfig(
        depth=6,
        width=384,
        heads=6,
        audio_width=192,
        audio_heads=6,
        exchange_width=192,
        exchange_heads=6,
        text_width=256,
        text_heads=4,
        window=(0, 2, 2),
    ),
    "B": STDiTConfig(
        depth=6,
        width=768,
        heads=12,
        audio_width=384,
        audio_heads=6,
        exchange_width=384,
        exchange_heads=6,
        text_width=512,
        text_heads=8,
        text_layers=4,
        dtype="bfloat16",
    ),
    "XL": STDiTConfig(
        depth=28,
        width=1152,
        heads=16,
        audio_width=576,
        audio_heads=8,
        exchange_width=576,
        exchange_heads=8,
        text_width=768,
        text_heads=12,
        text_layers=6,
        vocabulary=8192,
        window=(0, 8, 8),
        dtype="bfloat16",
        remat="block",
    ),
    "14B": STDiTConfig(
        depth=18,
        width=5120,
        heads=40,
        audio_width=1536,
        audio_heads=12,
        exchange_width=1536,
        exchange_heads=12,
        text_width=2048,
        text_heads=16,
        text_layers=12,
        vocabulary=32768,
        window=(0, 8, 8),
        dtype="bfloat16",
        remat="block",
    ),
}
