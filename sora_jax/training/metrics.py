"""Writes training metrics to metrics.jsonl, for programs, and to TensorBoard.

Both hold one row per `log_every` steps. A continued run first drops the rows after its
checkpoint, so the files read as one run. A run stopped by a signal adds a row for the steps of
the window so far, and its next row covers the rest of that window.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax import files


def mean(
    rows: Sequence[Mapping[str, Any]], weights: Sequence[float] | None = None
) -> dict[str, float]:
    """Averages each metric over the rows in which it is not NaN.

    A metric is NaN or absent for a batch that it does not apply to.

    Args:
        rows: {metric: scalar} of each step.
        weights: positive weights of the rows. Default: equal weights.

    Returns:
        {metric: mean}; NaN for a metric without a value, {} without rows.
    """
    result = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = np.asarray([float(row.get(name, np.nan)) for row in rows])
        valid = ~np.isnan(values)
        of = None if weights is None else np.asarray(weights)[valid]
        result[name] = float(np.average(values[valid], weights=of)) if valid.any() else np.nan
    return result


def read(path: Path, last: float = float("inf")) -> list[dict[str, float]]:
    """Returns the rows of a metrics.jsonl, {"step": ..., metric: value}, in order of steps.

    A last line that a crash cut short is left out, and so are rows of steps after `last` (default:
    no limit). A file that does not exist has no rows.
    """
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return [row for row in rows if row["step"] <= last]


def thin(
    rows: Sequence[Mapping[str, Any]], name: str = "loss", points: int = 50
) -> list[list[float]]:
    """Shortens the curve of one metric by averaging neighbouring rows.

    Args:
        rows: rows of `read`.
        name: the metric. Default: "loss".
        points: largest number of points. Default: 50.

    Returns:
        [[last step, mean value], ...], one pair for each group of neighbouring rows.
    """
    rows = [row for row in rows if row.get(name) is not None]
    groups = np.array_split(np.arange(len(rows)), min(points, len(rows))) if rows else []
    return [
        [int(rows[g[-1]]["step"]), round(float(np.mean([rows[i][name] for i in g])), 5)]
        for g in groups
    ]


def hours(rows: Sequence[Mapping[str, Any]]) -> float:
    """Returns the hours that the steps of the rows took.

    Compilation, checkpoints and pauses between two runs do not count.

    Args:
        rows: rows of `read`. Those without `step_seconds` are left out.
    """
    timed = [row for row in rows if "step_seconds" in row]
    before = [0, *(row["step"] for row in timed)]
    seconds = sum(
        row["step_seconds"] * (row["step"] - start)
        for row, start in zip(timed, before, strict=False)  # no row starts at the last step
    )
    return round(seconds / 3600, 4)


@dataclasses.dataclass(frozen=True)
class StepFlops:
    """FLOPs of one training step, without recomputation, and the peak rate of all devices.

    Attributes:
        model: FLOPs of the model's forward and backward pass.
        optimizer: FLOPs of the optimizer.
        peak: peak FLOP/s of all devices together; nan where it is unknown.
    """

    model: float
    optimizer: float
    peak: float

    def rates(self, seconds: float) -> dict[str, float]:
        """Returns the speed metrics of a step that takes `seconds`, by name.

        `flops_per_second` is the rate of the model's FLOPs. `mfu` (model FLOPs utilisation) and
        `optimizer_mfu` are fractions of the peak, nan if it is unknown; `Writer` leaves out nan.
        """
        return {
            "flops_per_second": self.model / seconds,
            "mfu": self.model / seconds / self.peak,
            "optimizer_mfu": self.optimizer / seconds / self.peak,
        }


class Writer:
    """Appends rows to metrics.jsonl and TensorBoard's files in a run's directory.

    Args:
        workdir: the directory.
        step: the step of the checkpoint from which the run continues; later rows are removed.
            Default: 0, a new run.
    """

    def __init__(self, workdir: Path, step: int = 0):
        # Slow; rows are also read where none are written.
        from tensorboardX import SummaryWriter

        self._path = workdir / "metrics.jsonl"
        rows = read(self._path, step)
        files.write(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(
            str(workdir / "tensorboard"), purge_step=step + 1 if step else None
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends the row of a step. Values that are not finite are left out."""
        finite = {k: float(v) for k, v in values.items() if np.isfinite(v)}
        self._file.write(
            json.dumps({"step": step, **{k: float(f"{v:.7g}") for k, v in finite.items()}}) + "\n"
        )
        self._file.flush()
        for name, value in finite.items():
            self._board.add_scalar(name, value, step)

    def show(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes pictures by name, uint8 [H, W, 3], to TensorBoard alone."""
        for name, picture in pictures.items():
            self._board.add_image(name, picture, step, dataformats="HWC")
        self._board.flush()

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        self._board.close()
