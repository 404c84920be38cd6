"""A linear probe that classifies clips by the type of their scene (`pictures.TYPES`).

The features of a clip are its mean colours, its changes over time, and the strength of its edges,
each averaged over a grid of 8 x 8 cells. A ridge regression for each type, fitted on the clips of a
folder, gives a score. The type with the largest score is the prediction.
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
    """Returns the features of a clip, [D], from its frames, float [F, H, W, 3] in [0, 1]."""
    grey = frames.mean(-1)
    edges = np.abs(np.diff(grey, axis=1))[:, :, :-1] + np.abs(np.diff(grey, axis=2))[:, :-1]
    parts = (frames.mean(0), frames.std(0).mean(-1), edges.mean(0), edges.std(0))
    return np.concatenate([_grid(part) for part in parts])


def _grid(image: np.ndarray) -> np.ndarray:
    """Returns the means of an image [H, W, ...] over GRID x GRID cells, as a flat array."""
    rows = np.array_split(np.arange(image.shape[0]), GRID)
    columns = np.array_split(np.arange(image.shape[1]), GRID)
    return np.array([image[np.ix_(r, c)].mean((0, 1)) for r in rows for c in columns]).ravel()


class Probe:
    """The probe, fitted on n clips.

    Args:
        x: features of the clips, [n, D].
        types: indices of their types in TYPES, int [n].
    """

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
        """Returns the rank of each clip's own type among the scores of all types, int [n]: 1 if it
        has the largest score.

        x are the features of the clips, [n, D], and `types` the indices of their types, [n].
        """
        scores = self._scaled(x) @ self._weights + self._offset
        own = scores[np.arange(len(x)), types][:, None]
        return 1 + (scores > own).sum(1)


def type_of(name: str) -> int:
    """Returns the index in TYPES of the type with which the name of a file begins."""
    return TYPES.index("-".join(Path(name).stem.split("-")[:2]))


def read_folder(plan: FolderPlan, format: ClipFormat) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads all clips of a folder of videos.

    Args:
        plan: the files and the starts of their clips.
        format: format to which the clips are fitted.

    Returns:
        For each of the n clips: features [n, D], index of the type [n], index of its file [n].
    """
    x, types, of = [], [], []
    for number, (name, one) in enumerate(plan.files.items()):
        for start in one.starts:
            clip = media.read_fitted(Path(plan.folder) / name, format, start)
            x.append(features(clip.frames))
            types.append(type_of(name))
            of.append(number)
    return np.stack(x), np.array(types), np.array(of)


def score(workdir: Path, format: ClipFormat) -> dict[str, Any]:
    """Classifies the previews of a fine-tuning, the clips that it generated at its end.

    Args:
        workdir: folder of the fine-tuning.
        format: format of its clips.

    Returns:
        JSON values: "previews" ("prompt", "type" and "rank" of each), "first" (the share of
        previews with rank 1), "first_interval" (its 95 % interval), "clips" (the number of clips
        that the probe is fitted on) and "probe_on_files_left_out" (the share of clips that the
        probe classifies correctly, in a cross-validation over files).
    """
    plan = read_plan(workdir / "scan" / "plan.json")
    x, types, of = read_folder(plan, format)
    # Accuracy of the probe: each of five groups of files is classified by a probe fitted on the
    # others.
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
