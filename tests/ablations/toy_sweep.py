"""A sweep of a model that trains in seconds, on latents of noise."""

import json
from pathlib import Path

from toy_latents import write_latents
from toy_model import MODEL

from sora_jax.modality import ClipFormat

FORMAT = ClipFormat(frames=9, fps=8, height=16, width=16)
CONFIG = """
from ml_collections import ConfigDict

def get_config():
    return ConfigDict({config})
"""
SWEEP = '''"""Does a second pair of blocks help?"""

from sora_jax.ablations.sweep import Sweep, chain, param, prod, seeds, zip

def get_sweep():
    return Sweep(
        config="tiny_config.py",
        trials={trials},
        sizes={{"gpu": {{"train.batch_size": 4}}}},
        {more}
    )
'''


def write_sweep(
    folder: Path,
    trials: str = 'prod(param("model.depth", [1, 2]), seeds(2))',
    more: str = "",
    name: str = "tiny",
    steps: int = 6,
) -> Path:
    """Writes a sweep with its configuration and latents, and returns its file."""
    latents = folder / "latents"
    if not latents.exists():
        write_latents(latents, FORMAT, 16)
        write_latents(latents / "val", FORMAT, 8)
    config = {
        "model": {**MODEL, "depth": 1},
        "data": {"path": str(latents), "height": 16, "width": 16, "seconds": 1.0},
        "train": {"steps": steps, "batch_size": 2, "log_every": 2},
        "optim": {"warmup": 2},
        "validation": {"clips": 4, "draws": 1},
    }
    values = json.dumps(config).replace("true", "True").replace("false", "False")
    (folder / "tiny_config.py").write_text(CONFIG.replace("{config}", values))
    path = folder / f"{name}.py"
    path.write_text(SWEEP.format(trials=trials, more=more))
    return path
