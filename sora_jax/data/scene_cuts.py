"""Finds the cuts of a video file, the times at which another scene begins, with PySceneDetect.

PySceneDetect is installed with the extra `videos`.

A worker process imports this module, so the module imports neither JAX nor TensorFlow Datasets.
"""

import importlib.util
import os

from sora_jax.errors import UserError

REMEDY = "pip install -e '.[videos]'"
# Least change of hue, saturation and lightness at a cut (of 255), and least ratio of this change to
# its mean over the frames around. 8 also finds cuts between textures of the same colours.
LEAST, RATIO = 8.0, 3.0
SHORTEST = 0.25  # least duration of a scene in seconds


def available() -> bool:
    """Returns whether PySceneDetect is installed."""
    return importlib.util.find_spec("scenedetect") is not None


def find_cuts(path: str | os.PathLike) -> list[float]:
    """Returns the times in seconds at which a scene begins, without the first scene.

    Raises:
        UserError: PySceneDetect is not installed, or it cannot read the file.
    """
    try:
        scenedetect = importlib.import_module("scenedetect")
    except ImportError:
        raise UserError(
            f"finding the cuts of videos needs PySceneDetect; {REMEDY}, or give cuts=none",
            field="cuts",
        ) from None
    try:
        video = scenedetect.open_video(os.fspath(path), backend="pyav")
        detector = scenedetect.AdaptiveDetector(
            adaptive_threshold=RATIO,
            min_content_val=LEAST,
            min_scene_len=max(1, round(SHORTEST * video.frame_rate)),
        )
        manager = scenedetect.SceneManager()
        manager.add_detector(detector)
        manager.detect_scenes(video)
    except Exception as error:  # of OpenCV, of the decoder or of its own
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise UserError(f"cannot find the cuts of {path}: {reason}") from None
    return [float(start.seconds) for start, _ in manager.get_scene_list()[1:]]
