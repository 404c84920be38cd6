"""Plots the losses of a training run: of its steps, by noise level, and on held-out clips.

python docs/examples/losses.py runs/small/metrics.jsonl runs/small/losses.png
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from sora_jax.training import metrics

QUARTERS = {f"video_loss_q{n}": f"video, quarter {n} of the noise level" for n in range(1, 5)}


def main(source: str, path: str) -> None:
    """Reads the rows of `source`, a metrics.jsonl, and writes the plot to `path`."""
    rows = metrics.read(Path(source))
    figure, (whole, parts) = plt.subplots(1, 2, figsize=(10, 3.6), dpi=100, sharey=True)
    for axes, names in (
        (whole, {"loss": "training", "val/loss": "held-out clips"}),
        (parts, QUARTERS),
    ):
        for name, label in names.items():
            # A row has no value where no clip of its steps counts for the metric.
            points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=label)
        axes.set(xlabel="training step", yscale="log")
        axes.legend(fontsize=8)
    whole.set_ylabel("loss")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main(*sys.argv[1:3])
