"""A fixed linear probe that tells the type of a scene, fitted on the clips of a folder.

Features of a clip are its mean colours, the changes over time and the edges, each on a grid of
8 x 8. One ridge regression for each type gives a score; the type with the largest is read.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments.videos.pictures import TYPES
from sora_jax import media
from sora_jax.data.folder_plan import FolderPlan, read_plan
from sora_jax.evaluation.statistics import interval
from sora_jax.modality import ClipFormat

GRID, RIDGE = 8, 10.0


def features(frames: np.ndarray) -> np.ndarray:
    """Returns the features of a clip, frames float [F, H, W, 3] in [0, 1]."""
    grey = frames.mean(-1)
    edges = np.abs(np.diff(grey, axis=1))[:, :, :-1] + np.abs(np.diff(grey, axis=2))[:, :-1]
    parts = (frames.mean(0), frames.std(0).mean(-1), edges.mean(0), edges.std(0))
    return np.concatenate([_grid(part) for part in parts])


def _grid(image: np.ndarray) -> np.ndarray:
    """Returns the means of an image [H, W, ...] over GRID x GRID cells, flat."""
    rows = np.array_split(np.arange(image.shape[0]), GRID)
    columns = np.array_split(np.arange(image.shape[1]), GRID)
    return np.array([image[np.ix_(r, c)].mean((0, 1)) for r in rows for c in columns]).ravel()


class Probe:
    """The probe, fitted on features [n, D] and types, numbers [n]."""

    def __init__(self, x: np.ndarray, types: np.ndarray) -> None:
        self._mean, self._std = x.mean(0), np.maximum(x.std(0), 1e-3)
        z = self._scaled(x)
        target = np.eye(len(TYPES))[types]
        self._offset = target.mean(0)
        gram = z.T @ z + RIDGE * np.eye(z.shape[1])
        self._weights = np.linalg.solve(gram, z.T @ (target - self._offset))

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return (x - self._mean) / self._std

    def ranks(self, x: np.ndarray, types: np.ndarray) -> np.ndarray:
        """Returns the rank of the given type of each clip, 1 for the largest score, [n]."""
        scores = self._scaled(x) @ self._weights + self._offset
        own = scores[np.arange(len(x)), types][:, None]
        return 1 + (scores > own).sum(1)


def type_of(name: str) -> int:
    """Returns the number of the type that a file's name begins with."""
    return TYPES.index("-".join(Path(name).stem.split("-")[:2]))


def read_folder(plan: FolderPlan, format: ClipFormat) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns features [n, D], types [n] and numbers of the files [n] of a folder's clips."""
    x, types, of = [], [], []
    for number, (name, one) in enumerate(plan.files.items()):
        for start in one.starts:
            clip = media.read_fitted(Path(plan.folder) / name, format, start)
            x.append(features(clip.frames))
            types.append(type_of(name))
            of.append(number)
    return np.stack(x), np.array(types), np.array(of)


def score(workdir: Path, format: ClipFormat) -> dict[str, Any]:
    """Returns how many previews of a fine-tuning are read as their own type, as JSON values.

    Args:
        workdir: of the fine-tuning.
        format: of its clips.
    """
    plan = read_plan(workdir / "scan" / "plan.json")
    x, types, of = read_folder(plan, format)
    # What the probe is worth: files left out in turn, in five groups
    right = np.concatenate(
        [
            Probe(x[of % 5 != k], types[of % 5 != k]).ranks(x[of % 5 == k], types[of % 5 == k]) == 1
            for k in range(5)
        ]
    )
    probe, folder = Probe(x, types), workdir / "result"
    type_by_caption = {text: type_of(n) for n, one in plan.files.items() for text in one.captions}
    previews = json.loads((folder / "previews.json").read_text(encoding="utf-8"))
    clips = [media.read_fitted(folder / one["file"], format) for one in previews]
    own = np.array([type_by_caption[one["prompt"]] for one in previews])
    ranks = probe.ranks(np.stack([features(clip.frames) for clip in clips]), own)
    rows = [
        {"prompt": one["prompt"], "type": TYPES[t], "rank": int(r)}
        for one, t, r in zip(previews, own, ranks, strict=True)
    ]
    return {
        "probe_on_files_left_out": float(right.mean()),
        "clips": len(x),
        "previews": rows,
        "first": float((ranks == 1).mean()),
        "first_interval": list(interval((ranks == 1).astype(float))),
    }
