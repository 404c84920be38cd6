"""Calibrate the oracles: measure how well they read ground truth, degraded and corrupted clips.

  python -m experiments.calibrate --output=outputs/calibration
  python -m experiments.calibrate --oracles=tracker,facts --output=outputs/two

An oracle is a program that measures one property of a clip, such as the times of impacts, without
a learned model. calibration.json holds {oracle: {condition: {score, n}}}. A score is the share of
the n clips whose reading is within the oracle's tolerance. It must be high on ground truth and on
degraded clips, and low on corrupted ones; the exit status is 1 if a score is outside its limits.
report.md and contact sheets are written beside calibration.json. A repeated command measures
again, because the result depends on the current code.
"""

import sys
import time
from collections.abc import Sequence

from absl import flags

from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.errors import UserError

_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the report, the scores and the contact sheets. Required."
)
_NUM_CLIPS = flags.DEFINE_integer(
    "num_clips", 96, "Scenes to calibrate each oracle on.", lower_bound=2
)
_SPLIT = flags.DEFINE_enum("split", "val", ["val", "train"], "Split of the scenes.")
_ORACLES = flags.DEFINE_list(
    "oracles",
    None,
    "Oracles, with commas: tracker, facts, onsets_video, onsets_audio, sync, material, physics, "
    "loudness, words, motion, style, outcome, permanence, camera, lips, speakers, cuts, ambience, "
    "identity, shots, state or a registered one. Default: all.",
)
_FORMAT = flags.DEFINE_enum("format", "nano", ["nano", "S"], "Clip format of the scenes.")
_SHEETS = flags.DEFINE_integer(
    "sheets",
    4,
    "Contact sheets to write, at most 4; also of each oracle's wrong readings under a condition.",
    lower_bound=0,
)


def main(_: Sequence[str]) -> None:
    if not _OUTPUT.value:
        raise UserError(
            "--output is missing: nowhere to write the report; give --output=outputs/calibration"
        )
    # Imported after the flags are checked, so that a wrong flag is reported before JAX loads.
    from sora_jax.evaluation.calibration_report import calibrate, calibrate_into, score_table

    calibrate.chosen(_ORACLES.value)
    folder = files.check_output("output", _OUTPUT.value)
    started = time.perf_counter()
    scores, outside = calibrate_into(
        folder,
        _NUM_CLIPS.value,
        _SPLIT.value,
        _FORMAT.value,
        _SHEETS.value,
        oracles=_ORACLES.value,
    )
    print(score_table(scores))
    print("\n".join(outside) if outside else "all scores are within their limits")
    if few := calibrate.caution(scores):
        print(few)
    print(
        f"{_NUM_CLIPS.value} scenes in {time.perf_counter() - started:.0f} s: "
        f"{folder / 'calibration.json'}, {folder / 'report.md'}"
    )
    sys.exit(1 if outside else 0)


if __name__ == "__main__":
    run_main(main)
