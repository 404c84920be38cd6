"""Fit the probe of the style oracle (`sora_jax/oracles/style.py`) and write its table.

    python -m experiments.fit_style

The probe recognises the visual style of a clip, such as anime. The training data are renders of
Playhouse, the synthetic world. Takes about three minutes on one CPU core; the table is reproducible
on the same machine. Run it after changing the look of a style, then run experiments.calibrate
again.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags
from scipy import ndimage

from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.modality import FORMATS
from sora_jax.oracles import style
from sora_jax.oracles.examples import render_takes
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.spec import FILM_STYLES

_OUTPUT = flags.DEFINE_string(
    "output", None, "JSON file for the probe. Default: the file that the oracle reads."
)
_CLIPS = flags.DEFINE_integer("num_clips", 40, "Clips of each style and family.", lower_bound=4)
FIGURES = 6


def training_set(num_clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the training data of the style probe, for `style.fit`: statistics of half clips
    [n, K], and labels [n], indices in `style.STYLES`.

    The clips are of the split train: `num_clips` of each of the families film and occlude in each
    style, and 2 `num_clips` of each of the families room and court. They are used unchanged,
    blurred and noisy. Clips whose frames are cut into tiles and permuted, and clips of one plain
    colour, are negatives with the label len(`style.STYLES`).
    """
    rng, rows, labels = np.random.default_rng(0), [], []

    def add(label: int, *clips: np.ndarray) -> None:
        for frames in clips:
            rows.extend(style.halves(frames))
            labels.extend([label, label])

    def noisy(frames: np.ndarray, deviation: float) -> np.ndarray:
        return np.clip(frames + rng.normal(scale=deviation / 255, size=frames.shape), 0.0, 1.0)

    for family in ("film", "occlude", "room", "court"):
        takes = [
            draw("train", i, family=family, style=one)
            for one in FILM_STYLES
            for i in range(num_clips)
            if family in ("film", "occlude")
        ]
        takes = takes or [draw("train", i, family=family) for i in range(2 * num_clips)]
        for i, clip in enumerate(render_takes(takes, FORMATS["nano"], batch=16)):
            blurred = ndimage.gaussian_filter(clip.frames, (0, 1, 1, 0))
            add(
                style.STYLES.index(clip.take.scene.style),
                clip.frames,
                blurred,
                noisy(blurred, 8),
                *(noisy(clip.frames, d) for d in ((5, 16), (10, 25))[i % 2]),
            )
            if i % 2 == 0:
                mixed, plain = (
                    style.mixed_tiles(clip.frames, i),
                    np.broadcast_to(rng.uniform(size=3), clip.frames.shape),
                )
                none = len(style.STYLES)
                add(none, mixed, noisy(mixed, 10))
                if i % 4 == 0:
                    add(none, plain, noisy(plain, rng.uniform(0.0, 80.0)))
    return np.stack(rows), np.array(labels)


def main(_: Sequence[str]) -> None:
    x, labels = training_set(_CLIPS.value)
    table = {
        name: np.array([float(f"{v:.{FIGURES}g}") for v in values.ravel()]).reshape(values.shape)
        for name, values in style.fit(x, labels).items()
    }
    lines = ",\n".join(
        f'  "{name}": {json.dumps(values.tolist())}' for name, values in table.items()
    )
    path = Path(_OUTPUT.value or style.TABLE)
    files.write(path, "{\n" + lines + "\n}\n")
    accuracy = float(np.mean(style.probe(table, x) == labels))
    print(
        f"{path}: {x.shape[1]} statistics, {accuracy:.4f} of {len(x)} half clips of the training "
        "set are classified correctly"
    )


if __name__ == "__main__":
    run_main(main)
