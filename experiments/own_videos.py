r"""Write a folder of procedural videos to try `experiments.finetune` on, and score the result.

    python -m experiments.own_videos --output=runs/videos
    python -m experiments.finetune --videos=runs/videos --workdir=runs/mine
    python -m experiments.own_videos --score=runs/mine

There are twelve types of scenes: four backgrounds (1 / f textures and gradients), each with a word,
a talking face or a turning bar. Four of the types are in held-out files only. The files have many
sizes, some of them vertical, 24, 25, 29.97 or 60 frames a second, audio at 44.1 or 48 kHz in stereo
or 5.1, and three shots each. Their captions are in .txt, .json and captions.csv.

--score classifies the clips that a fine-tuned model generated (its previews), with a linear probe
that is fitted on the folder's clips. It writes RUN/probe.json: for each preview, the rank of its
own type among the probe's scores, and how good the probe is on files left out of its fit.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.videos import folder as own
from experiments.videos import probe
from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS

_OUTPUT = flags.DEFINE_string("output", None, "Folder for the videos, new or empty.")
_COUNT = flags.DEFINE_integer("count", 60, "Number of videos.", lower_bound=12)
_SECONDS = flags.DEFINE_float("seconds", 4.4, "Duration of a shot, of which a video has three.")
_SCORE = flags.DEFINE_string("score", None, "Folder of a fine-tuning on such videos.")


def main(_: Sequence[str]) -> None:
    if bool(_OUTPUT.value) == bool(_SCORE.value):
        raise UserError("give --output, a folder for the videos, or --score, a run on such videos")
    if _SCORE.value:
        workdir = Path(_SCORE.value).expanduser()
        if not (workdir / "result" / "previews.json").is_file():
            raise UserError(f"--score={workdir} has no result yet; run experiments.finetune first")
        found = probe.score(workdir, FORMATS["nano"])
        files.write(workdir / "probe.json", json.dumps(found, indent=1) + "\n")
        low, high = found["first_interval"]
        print(
            f"{found['first']:.2f} ({low:.2f} to {high:.2f}) of {len(found['previews'])} previews "
            f"are read as their own type of {len(probe.TYPES)}; the probe reads "
            f"{found['probe_on_files_left_out']:.2f} of the clips of files left out"
        )
        return
    folder = Path(files.check_output("output", _OUTPUT.value or ""))
    if any(folder.iterdir()):
        raise UserError(f"--output={folder} is not empty; give a new folder")
    films = own.write(folder, _COUNT.value, _SECONDS.value)
    held_out = sum(film.held_out for film in films)
    print(f"{len(films)} videos in {folder}, {held_out} of them held out")


if __name__ == "__main__":
    run_main(main)
