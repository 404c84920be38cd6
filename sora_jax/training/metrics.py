"""Metrics on their way out: metrics.jsonl for programs, TensorBoard for eyes.

Both hold one row per `log_every` steps. A resumed run drops the rows after its checkpoint first, so
the files read as one run. One stopped by a signal has a row more, of the steps up to there, and the
next is of the steps from there.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax import files


def mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean of each metric over the rows where it is not nan (a metric may not apply to every
    batch); nan if there is none.
    """
    result = {}
    for name in rows[0] if rows else ():
        values = np.asarray([float(row[name]) for row in rows])
        kept = values[~np.isnan(values)]
        result[name] = float(kept.mean()) if kept.size else float("nan")
    return result


def read(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.jsonl; a last line cut short by a crash is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def thin(
    rows: Sequence[Mapping[str, Any]], name: str = "loss", points: int = 50
) -> list[list[float]]:
    """[[step, value], ...] of one metric, averaged into at most `points` points."""
    rows = [row for row in rows if row.get(name) is not None]
    groups = np.array_split(np.arange(len(rows)), min(points, len(rows))) if rows else []
    return [
        [int(rows[g[-1]]["step"]), round(float(np.mean([rows[i][name] for i in g])), 5)]
        for g in groups
    ]


def hours(rows: Sequence[Mapping[str, Any]]) -> float:
    """Hours of training that the rows account for, compilation, checkpoints and pauses left out."""
    timed = [row for row in rows if "step_seconds" in row]
    before = [0, *(row["step"] for row in timed)]
    return round(
        sum(row["step_seconds"] * (row["step"] - start) for row, start in zip(timed, before))
        / 3600,
        4,
    )


@dataclasses.dataclass(frozen=True)
class StepFlops:
    """FLOPs of one step, without what is recomputed, and the peak of all devices in FLOP/s."""

    model: float
    optimizer: float
    peak: float

    def rates(self, seconds: float) -> dict[str, float]:
        """The metrics of a step that takes so many seconds: `flops_per_second` of the model, and
        the shares of the peak, `mfu` and `optimizer_mfu`. The writer leaves out nan.
        """
        return {
            "flops_per_second": self.model / seconds,
            "mfu": self.model / seconds / self.peak,
            "optimizer_mfu": self.optimizer / seconds / self.peak,
        }


class Writer:
    """Writes rows of metrics into a run's directory, from `step` on."""

    def __init__(self, workdir: Path, step: int = 0):
        from tensorboardX import SummaryWriter

        self._path = workdir / "metrics.jsonl"
        kept = [row for row in read(self._path) if row["step"] <= step]
        files.write(self._path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = self._path.open("a")
        self._board = SummaryWriter(
            str(workdir / "tensorboard"), purge_step=step + 1 if step else None
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        finite = {k: float(v) for k, v in values.items() if np.isfinite(v)}
        self._file.write(
            json.dumps({"step": step, **{k: float(f"{v:.7g}") for k, v in finite.items()}}) + "\n"
        )
        self._file.flush()
        for name, value in finite.items():
            self._board.add_scalar(name, value, step)

    def show(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Pictures [H, W, 3] of uint8, for TensorBoard alone."""
        for name, picture in pictures.items():
            self._board.add_image(name, picture, step, dataformats="HWC")
        self._board.flush()

    def close(self) -> None:
        self._file.close()
        self._board.close()
