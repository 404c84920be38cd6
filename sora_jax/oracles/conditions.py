"""Conditions: changes of clips under which an oracle is calibrated.

Readings must stay correct on unchanged renders and under degradations (blur, noise, codecs). A
corruption makes the clip disagree with its take (its ground truth: scene, motion and captions), so
a reading that is still correct measures nothing. A decorator turns a function into a corruption
and names the corruption after the function:

    @corrupt_frames
    def flash(example):                    # the condition "corrupted_flash"
        frames = example.frames.copy()
        frames[8] = 1.0
        return frames

`corruptions.py` holds the corruptions that several oracles share. The file of an oracle holds
the corruptions that it alone uses.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from sora_jax import media, mp4
from sora_jax.oracles import examples
from sora_jax.oracles.examples import AUDIO, VIDEO, Example, render_takes
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.trajectory import Trajectory

Change = Callable[[list[Example]], list[Example]]


@dataclasses.dataclass(frozen=True, eq=False)
class Condition:
    """A named change of clips. Called with examples, it returns as many examples.

    Attributes:
        name: key in calibration.json, such as "corrupted_flash".
        modality: the modality that it changes, VIDEO or AUDIO; None for both or neither.
        change: function of a list of examples that returns as many changed copies.
    """

    name: str
    modality: str | None
    change: Change

    def __call__(self, clips: list[Example]) -> list[Example]:
        """Returns the changed clips, as many as are given."""
        return self.change(clips)


def with_frames(change: Callable[[Example], np.ndarray], clips: list[Example]) -> list[Example]:
    """Returns copies of the clips with frames replaced by change(clip), cast to float32
    [F, H, W, 3].
    """
    return [dataclasses.replace(c, frames=change(c).astype(np.float32)) for c in clips]


def with_samples(change: Callable[[Example], np.ndarray], clips: list[Example]) -> list[Example]:
    """Returns copies of the clips with samples replaced by change(clip), cast to float32 [S]."""
    return [dataclasses.replace(c, samples=change(c).astype(np.float32)) for c in clips]


def redrawn(clips: list[Example], takes: list[Take]) -> list[Example]:
    """Returns copies of the clips whose frames are a render of another take: the one at the same
    index in `takes`.

    Samples and `take` of each clip stay. Both lists are equally long and not empty, and all clips
    have the format of the first.
    """
    renders = render_takes(takes, clips[0].format, min(16, len(clips)))
    return [
        dataclasses.replace(c, frames=other.frames) for c, other in zip(clips, renders, strict=True)
    ]


def _with_motion(motion: Callable[[Example], Trajectory], clips: list[Example]) -> list[Example]:
    """Returns the clips with frames rendered again, with the trajectory motion(clip) of the
    balls.
    """
    return redrawn(clips, [dataclasses.replace(c.take, trajectory=motion(c)) for c in clips])


def corrupt(modality: str) -> Callable[[Change], Condition]:
    """Decorator: makes a corruption of `modality`, VIDEO or AUDIO, from a function of a list of
    examples that returns as many changed copies.

    The result is a `Condition`, named "corrupted_" and the function's name.
    """

    def named(change: Change) -> Condition:
        return Condition(f"corrupted_{change.__name__}", modality, change)

    return named


def corrupt_frames(change: Callable[[Example], np.ndarray]) -> Condition:
    """Decorator: makes a corruption of the video from a function of an example that returns frames
    [F, H, W, 3] in [0, 1].

    The result is a `Condition`, named "corrupted_" and the function's name. Called with a list of
    examples, it returns copies with the frames replaced, as float32.
    """
    return Condition(f"corrupted_{change.__name__}", VIDEO, functools.partial(with_frames, change))


def corrupt_samples(change: Callable[[Example], np.ndarray]) -> Condition:
    """Decorator: makes a corruption of the audio from a function of an example that returns samples
    [S].

    The result is a `Condition`, named "corrupted_" and the function's name. Called with a list of
    examples, it returns copies with the samples replaced, as float32.
    """
    return Condition(f"corrupted_{change.__name__}", AUDIO, functools.partial(with_samples, change))


def corrupt_motion(motion: Callable[[Example], Trajectory]) -> Condition:
    """Decorator: makes a corruption of the video from a function of an example that returns a
    `Trajectory` of the balls, which the frames show instead of the take's.

    The result is a `Condition`, named "corrupted_" and the function's name.
    """
    return Condition(f"corrupted_{motion.__name__}", VIDEO, functools.partial(_with_motion, motion))


def _same(clips: list[Example]) -> list[Example]:
    return clips


def _blurred(c: Example) -> np.ndarray:
    return ndimage.gaussian_filter(c.frames, (0, 1, 1, 0))


def _grainy(c: Example) -> np.ndarray:
    return np.clip(c.frames + c.rng.normal(scale=10 / 255, size=c.frames.shape), 0, 1)


def _hissing(c: Example) -> np.ndarray:
    """Returns the samples of clip `c` with white noise 20 dB below their mean power."""
    assert c.samples is not None
    noise = c.rng.normal(size=c.samples.shape)
    return c.samples + noise * np.sqrt(np.mean(c.samples**2)) * 10 ** (-20 / 20)


def _through_file(modality: str, crf: int, clips: list[Example]) -> list[Example]:
    """Returns the clips with one modality encoded to mp4 and decoded. The other is unchanged, so
    that an incorrect reading has one cause. `crf` is the quality of h264 (lower is better).
    """
    out = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        for c in clips:
            mp4.write_mp4(path, c, crf=crf)
            read = media.fit_clip(media.read_video(path), c.format)
            if modality == VIDEO:
                out.append(dataclasses.replace(c, frames=read.frames))
            else:
                silence = np.zeros_like(c.samples)
                samples = silence if read.samples is None else read.samples
                out.append(dataclasses.replace(c, samples=samples))
    return out


GROUND_TRUTH = Condition("ground_truth", None, _same)
# EMPTY: no balls, actors, impacts or words. BLANK: all frames of one colour.
EMPTY = Condition("empty", None, examples.empty)
BLANK = Condition("empty", None, examples.blank)
DEGRADATIONS = (
    # numbers in the names: sigma of the blur in pixels; deviation of the noise in units of 1/255;
    # crf of h264; signal-to-noise ratio in dB
    Condition("blur_1px", VIDEO, functools.partial(with_frames, _blurred)),
    Condition("noise_10", VIDEO, functools.partial(with_frames, _grainy)),
    Condition("h264_crf23", VIDEO, functools.partial(_through_file, VIDEO, 23)),
    Condition("noise_20db", AUDIO, functools.partial(with_samples, _hissing)),
    Condition("aac", AUDIO, functools.partial(_through_file, AUDIO, 12)),
)
