r"""Fine-tune a model on a folder of your own videos, from scan to result.

    python -m experiments.finetune --videos=DIR --workdir=RUN
    python -m experiments.finetune --videos=DIR --workdir=RUN --lora_rank=4 --freeze=audio

Every video of DIR is read and cut at its scene changes (pip install -e '.[videos]'). Captions are
NAME.txt or NAME.json beside a video, or rows of captions.csv with the columns file, caption and
split. RUN/scan/index.html lists the videos that were found and their faults.

Held-out clips are then encoded and decoded by the tokenizers. If their PSNR is below --min_psnr,
the video tokenizer is fine-tuned first. Memory and hours are printed before the first training.
RUN/result/index.html shows clips generated from held-out captions, losses before and after, and
the time and memory that were needed.

The same command continues where it was stopped, and skips what is done.
"""

from collections.abc import Sequence

from absl import flags

from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.modality import FITS

_VIDEOS = flags.DEFINE_string("videos", None, "Folder of videos and their captions. Required.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: new, or a begun one. Required.")
_BASE = flags.DEFINE_string("base", "", "Weights to start from. Default: the shipped nano.")
_VIDEO_TOKENIZER = flags.DEFINE_string(
    "video_tokenizer", "", "Weights of the video tokenizer to start from. Default: the shipped one."
)
_AUDIO_TOKENIZER = flags.DEFINE_string(
    "audio_tokenizer", "", "Weights of the audio tokenizer. Default: the shipped one."
)
_CAPTION = flags.DEFINE_string("caption", "", "Caption of videos that have none.")
_CUTS = flags.DEFINE_enum("cuts", "detect", ["detect", "none"], "How scene changes are found.")
_FIT = flags.DEFINE_enum("fit", FITS[0], FITS, "How frames of other proportions are fitted.")
_CLIPS = flags.DEFINE_integer("clips_per_file", 64, "Most clips of one file.", lower_bound=1)
_MIN_PSNR = flags.DEFINE_float(
    "min_psnr", 28.0, "Round trip, in dB, below which the video tokenizer is fine-tuned."
)
_TOKENIZER = flags.DEFINE_enum(
    "tokenizer",
    "both",
    ["both", "decoder", "refuse"],
    "What is then fine-tuned: both halves (a new latent space), the decoder alone (latents stay "
    "valid), or nothing: refuse.",
)
_TOKENIZER_STEPS = flags.DEFINE_integer(
    "tokenizer_steps", 3000, "Steps of the tokenizer's training.", lower_bound=1
)
_STEPS = flags.DEFINE_integer("steps", 2000, "Steps of the model's training.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Clips of a step.", lower_bound=1)
_LORA_RANK = flags.DEFINE_integer(
    "lora_rank", 0, "Rank of low-rank updates. Default: 0, the weights are trained.", lower_bound=0
)
_FREEZE = flags.DEFINE_list("freeze", [], "Parts to freeze: video, audio, exchange, text.")
_PREVIEWS = flags.DEFINE_integer("previews", 12, "Clips to generate at the end.", lower_bound=1)
_MEMORY = flags.DEFINE_float("memory_gb", 0.0, "GB that may be used. Default: what is free.")
_ONLY_SCAN = flags.DEFINE_bool(
    "only_scan", False, "Stop after the scan, whose page lists the videos and their faults."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the trainings.", lower_bound=0)


def main(_: Sequence[str]) -> None:
    videos, workdir = _VIDEOS.value, _WORKDIR.value
    if not videos or not workdir:
        missing = _WORKDIR if videos else _VIDEOS
        raise UserError(f"--{missing.name} is missing; give a folder")
    # Imported after the flags are checked, so that a wrong flag is reported before JAX loads.
    from sora_jax.tuning.finetuning import finetune, scan_videos

    settings = {
        "base": _BASE.value,
        "video_tokenizer": _VIDEO_TOKENIZER.value,
        "audio_tokenizer": _AUDIO_TOKENIZER.value,
        "caption": _CAPTION.value,
        "cuts": _CUTS.value,
        "fit": _FIT.value,
        "clips_per_file": _CLIPS.value,
        "min_psnr": _MIN_PSNR.value,
        "tokenizer": _TOKENIZER.value,
        "tokenizer_steps": _TOKENIZER_STEPS.value,
        "steps": _STEPS.value,
        "batch_size": _BATCH_SIZE.value,
        "lora_rank": _LORA_RANK.value,
        "freeze": tuple(_FREEZE.value),
        "previews": _PREVIEWS.value,
        "memory": round(1e9 * _MEMORY.value),
        "seed": _SEED.value,
    }
    if _ONLY_SCAN.value:
        print(scan_videos(videos, workdir, **settings))
        return
    made = finetune(videos, workdir, **settings)
    print(f"{made.weights}\n{made.page}")


if __name__ == "__main__":
    run_main(main)
