r"""Report a study of experiments.ablate: tables, intervals and figures.

    python -m experiments.report --workdir=runs/attention
    python -m experiments.report --workdir=runs/attention --output=docs/studies/attention

Writes report.md, and scores.png and curves.png (each also as SVG). Trials (trainings) that are not
done yet are left out, and the report says how many. `experiments.ablate` writes the same report at
its end.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from sora_jax import files
from sora_jax.ablations.report import write_report
from sora_jax.ablations.study import read_study
from sora_jax.cli import run_main
from sora_jax.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the study. Required.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for the report. Default: that of the study.")


def main(_: Sequence[str]) -> None:
    if not _WORKDIR.value:
        raise UserError("--workdir is missing; give the folder of a study of experiments.ablate")
    study = read_study(_WORKDIR.value)
    output = files.check_output("output", _OUTPUT.value) if _OUTPUT.value else study.folder
    print("\n".join(map(str, write_report(study, Path(output)))))


if __name__ == "__main__":
    run_main(main)
