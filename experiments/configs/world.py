"""One model for all families of scenes of Playhouse, trained on latents that
`experiments/recipes/world.py` makes.

The part after the colon is the folder that has a folder of latents for each data set of SETS:

    python -m experiments.train --config=experiments/configs/world.py:runs/world/latents \
        --workdir=runs/world/model

The weights in SETS are relative shares of the batches.

Size, batch size and learning rate were chosen by runs of four minutes on two CPU cores, one for
each, which is too short to favour a large model. Their validation losses: preset `nano` with
batches of 32 clips 1.88 at a learning rate of 5e-3, and 1.99 at 1e-2; a model of width 256 and four
pairs of blocks with batches of 16 clips 3.09. `nano` trains on 44 clips a second in batches of 32,
and on 38 in batches of 16.
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import playhouse_nano
from sora_jax.flow.conditioning import TaskMixture

SETS = {
    "room": {"weight": 2.0},
    "court": {"family": "court", "weight": 1.5},
    "film": {"family": "film", "weight": 1.5},
    "occlude": {"family": "occlude", "weight": 1.0},
    "talk": {"family": "talk", "format": "S", "weight": 2.0},
    "story2": {"family": "story_2", "format": "story2", "weight": 1.0},
    "story3": {"family": "story", "format": "story3", "weight": 1.0},
}


def get_config(latents: str = "runs/world/latents") -> ConfigDict:
    config = playhouse_nano.get_config()
    sets = tuple({"path": f"{latents}/{name}", **one} for name, one in SETS.items())
    config.data = ConfigDict({"sets": sets})
    config.model.update({"shot_words": True, "references": 2, "memory": True})
    tasks = TaskMixture(text=0.66, between=0.04)
    config.flow.tasks.update(dataclasses.asdict(tasks))
    config.optim.update({"schedule": "wsd", "ema": 0.9995})
    config.train.update({"steps": 48_000, "batch_size": 32})
    config.validation.update({"every": 2000, "clips": 64})
    return config
