r"""Does training on the symmetries of mechanics help a model to predict balls at speeds that it has
not seen? The symmetries are mirrored scenes ("flips") and a camera that moves at constant velocity
("boosts", Galilean), on PhyWorld's balls in uniform motion (Kang et al. 2024, arXiv:2411.02385).

The validation loss is measured at speeds outside the training range. These commands make the
latents, with a tokenizer trained on PhyWorld:

    python -m experiments.train_tokenizer --config=experiments/configs/phyworld_tokenizer.py \
        --config.data.family=phyworld_uniform_30k --workdir=runs/phyworld/tokenizer
    for set in train train_flips train_boosts; do
        python -m experiments.precompute --family=phyworld_uniform_30k --format=phyworld \
            --video_tokenizer=runs/phyworld/tokenizer/weights.safetensors \
            --num_clips=2048 --split=$set --output=runs/phyworld/$set
        python -m experiments.precompute --family=phyworld_uniform_30k --format=phyworld \
            --video_tokenizer=runs/phyworld/tokenizer/weights.safetensors \
            --num_clips=128 --split=ood_velocity --output=runs/phyworld/$set/val
    done
"""

from sora_jax.ablations.sweep import Sweep, param, prod, seeds

FOLDER = "runs/phyworld"
SETS = {"as they are": "train", "flips": "train_flips", "boosts": "train_boosts"}


def get_sweep() -> Sweep:
    paths = {name: f"{FOLDER}/{split}" for name, split in SETS.items()}
    return Sweep(
        config="experiments/configs/phyworld_s.py",
        trials=prod(param("data.path", paths), seeds(3)),
        always={
            "model.depth": 2,
            "model.width": 96,
            "model.heads": 3,
            "train.steps": 1000,
            "train.batch_size": 4,
            "validation.clips": 128,
        },
        match="steps",
    )
