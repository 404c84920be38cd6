r"""Write a folder of procedural videos to try `experiments.finetune` on.

    python -m experiments.own_videos --output=runs/videos
    python -m experiments.finetune --videos=runs/videos --workdir=runs/mine

Twelve types of scenes: four backgrounds (1 / f textures and gradients), each with a word, a talking
face or a turning bar. Four of the types are in held-out files only. The files have many sizes, some
of them vertical, 24, 25, 29.97 or 60 frames a second, sound of 44.1 or 48 kHz in stereo or 5.1,
and three shots each. Their captions are in .txt, .json and captions.csv.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.videos import folder as own
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.files import check_output

_OUTPUT = flags.DEFINE_string("output", None, "Folder for the videos, new or empty. Required.")
_COUNT = flags.DEFINE_integer("count", 60, "Number of videos.", lower_bound=12)
_SECONDS = flags.DEFINE_float("seconds", 4.4, "Duration of a shot, of which a video has three.")


def main(_: Sequence[str]) -> None:
    if not _OUTPUT.value:
        raise UserError("--output is missing; give a folder for the videos")
    folder = Path(check_output("output", _OUTPUT.value))
    if any(folder.iterdir()):
        raise UserError(f"--output={folder} is not empty; give a new folder")
    films = own.write(folder, _COUNT.value, _SECONDS.value)
    held_out = sum(film.held_out for film in films)
    print(f"{len(films)} videos in {folder}, {held_out} of them held out")


if __name__ == "__main__":
    run_main(main)
