"""Recipe of a model for all families of scenes: tokenizers, latents, the model, its scores.

It takes about five hours for the tokenizers and ten for the model on two CPU cores (*estimate*).
Run it by experiments.recipe.
"""

from sora_jax.recipe import Station

HERE = "experiments/recipes/milestones"
CONFIGS = "experiments/configs"
TOKENIZERS = ("--video_tokenizer={video_tokenizer}", "--audio_tokenizer={audio_tokenizer}")
# Data set -> (family, format, training clips). Weights of the sets: `experiments/configs/world.py`.
SETS = {
    "room": ("room", "nano", 16_384),
    "court": ("court", "nano", 8192),
    "film": ("film", "nano", 8192),
    "occlude": ("occlude", "nano", 8192),
    "talk": ("talk", "S", 8192),
    "story2": ("story_2", "story2", 4096),
    "story3": ("story", "story3", 4096),
}
HELD_OUT = 64  # clips of each set for validation


def tokenizer(modality: str) -> Station:
    """Returns the station that trains the tokenizer of a modality, "video" or "audio". It continues
    from the weights in HERE, if there are any.
    """
    return Station(
        f"{modality}_tokenizer",
        (
            "experiments.train_tokenizer",
            f"--config={CONFIGS}/{modality}_tokenizer_world.py",
            "--workdir={folder}",
        ),
        "weights.safetensors",
        f"{HERE}/{modality}_tokenizer_world.safetensors",
    )


def latents(name: str, split: str) -> Station:
    """Returns the station that computes the latents of a data set.

    Args:
        name: key of SETS.
        split: "train" for the training clips, or "val" for HELD_OUT clips, in the folder "val"
            inside that of the training clips.
    """
    family, format, clips = SETS[name]
    folder = "{workdir}/latents/" + name + "/val" * (split == "val")
    return Station(
        f"latents_{name}" + "_val" * (split == "val"),
        (
            "experiments.precompute",
            f"--family={family}",
            f"--format={format}",
            f"--split={split}",
            f"--num_clips={clips if split == 'train' else HELD_OUT}",
            f"--output={folder}",
            *TOKENIZERS,
        ),
        f"../latents/{name}" + "/val" * (split == "val"),
    )


def get_recipe() -> list[Station]:
    """Returns the stations in the order in which they run."""
    model = (
        "experiments.train",
        f"--config={CONFIGS}/world.py:" + "{workdir}/latents",
        "--workdir={folder}",
    )
    scores = ("experiments.evaluate", "--weights={model}", "--suite=all", "--output={folder}")
    return [
        tokenizer("video"),
        tokenizer("audio"),
        *(latents(name, split) for name in SETS for split in ("train", "val")),
        Station("model", model, "weights.safetensors", f"{HERE}/world.safetensors"),
        Station("scores", (*scores, *TOKENIZERS), "scores.json"),
    ]
