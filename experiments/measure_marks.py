r"""Measure the invisible marks: payloads found after each treatment, PSNR, false alarms, oracles.

    python -m experiments.measure_marks --output=outputs/marks
    python -m experiments.measure_marks --sizes=64 --num_clips=20 --output=outputs/marks

A mark is a payload hidden in the frames and the audio of a clip. Clips of five families of scenes
are rendered in turns, marked, and encoded as they are published. Then each treatment, such as
cropping, is applied, and the mark is searched. The same command continues a stopped measurement.
It writes rows.jsonl, a line for each clip, and marks.json: the share of payloads found after each
treatment, by size and family, with 95 % intervals.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from sora_jax import environment, files
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.evaluation.marks import measure, oracle_means, summary
from sora_jax.modality import FORMATS
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import ground_truth, render_takes
from sora_jax.worlds.playhouse.draw import draw

FAMILIES = ("room", "film", "court", "occlude", "talk")
BATCH = 8  # clips rendered at a time
_OUTPUT = flags.DEFINE_string("output", None, "Folder for the rows and the summary. Required.")
_NUM_CLIPS = flags.DEFINE_integer("num_clips", 500, "Clips of each size.", lower_bound=1)
_SIZES = flags.DEFINE_list("sizes", ["64", "256"], "Sides of the clips in pixels.")
_KEYS = flags.DEFINE_integer(
    "keys", 10, "Other keys under which each unmarked clip is searched.", lower_bound=0
)
_ORACLES = flags.DEFINE_integer(
    "oracle_clips", 0, "Clips on which each oracle is scored with and without marks.", lower_bound=0
)


def main(_: Sequence[str]) -> None:
    if not _OUTPUT.value:
        raise UserError("no --output; give a folder, such as outputs/marks")
    folder = files.check_output("output", _OUTPUT.value)
    for size in _SIZES.value:
        if not size.isdigit() or int(size) % 32 or int(size) < 32:
            raise UserError(f"--sizes={size}; give multiples of 32, such as 64,256")
        _measure(folder / "rows.jsonl", int(size))
    rows = _read(folder / "rows.jsonl")
    result: dict[str, Any] = {"command": environment.command(), "sizes": {}}
    for size in sorted({row["size"] for row in rows}):
        own = [row for row in rows if row["size"] == size]
        families = {f: [row for row in own if row["family"] == f] for f in FAMILIES}
        result["sizes"][size] = {
            "all": summary(own),
            **{family: summary(some) for family, some in families.items() if some},
        }
    if _ORACLES.value:
        clips = ground_truth("val", range(_ORACLES.value), FORMATS["nano"])
        result["oracles"] = oracle_means(clips, list(ORACLES))
    files.write(folder / "marks.json", json.dumps(result, indent=1) + "\n")
    for size, parts in result["sizes"].items():
        for treatment, share in parts["all"]["treatments"].items():
            print(f"{size} px, {treatment}: {share['found']:.1%} of {parts['all']['clips']} clips")


def _measure(path: Path, size: int) -> None:
    """Measures the clips of `size` pixels that have no row in the file `path` yet, and appends
    their rows.
    """
    format = dataclasses.replace(FORMATS["nano"], height=size, width=size)
    done = {(row["size"], row["family"], row["index"]) for row in _read(path)}
    wanted = [(FAMILIES[i % len(FAMILIES)], i // len(FAMILIES)) for i in range(_NUM_CLIPS.value)]
    missing = [(family, index) for family, index in wanted if (size, family, index) not in done]
    for first in range(0, len(missing), BATCH):
        group = missing[first : first + BATCH]
        takes = [draw("val", index, family=family) for family, index in group]
        clips = render_takes(takes, format, BATCH)
        for (family, index), clip in zip(group, clips, strict=True):
            row = {"family": family, "index": index, **measure(clip, _KEYS.value)}
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def _read(path: Path) -> list[dict]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    run_main(main)
