"""Scores of a tokenizer on held-out clips, during its training and at its end."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from sora_jax.data.tokenizer_clips import HELD_OUT, VIDEO, Clips
from sora_jax.evaluation.round_trip import boxes, psnr, videos_through
from sora_jax.modality import ClipFormat
from sora_jax.oracles.examples import render_takes
from sora_jax.tokenizers import video
from sora_jax.training.metrics import mean
from sora_jax.training.optim import averaged_params
from sora_jax.training.state import TrainState
from sora_jax.training.tokenizer_run import Kind, TokenizerRun
from sora_jax.worlds.playhouse.draw import draw


def batches_of(clips: Clips, split: str, most: int, size: int = 16) -> list[dict[str, np.ndarray]]:
    """Returns the first `most` clips of a split in batches of `size`, dicts of arrays for
    `Clips.render`. The last batch may be smaller.
    """
    count = min(most, clips.count[split])
    return [clips.batch(split, range(i, min(i + size, count))) for i in range(0, count, size)]


def held_out(
    kind: Kind, merge: Callable[[Any], Any], clips: Clips, most: int = HELD_OUT
) -> Callable[[Any], dict[str, float]]:
    """Returns a function that scores a tokenizer on at most `most` clips of the split val.

    Args:
        kind: the kind of tokenizer.
        merge: parameters -> the tokenizer with these parameters.
        clips: the clips of a set.
        most: the largest number of clips. Default: HELD_OUT.

    Returns:
        A function parameters -> {metric: value}: the loss and its metrics, averaged over the clips.
        It compiles once.
    """

    @jax.jit
    def measure(params: Any, batch: Any) -> Any:
        loss, metrics = kind.loss(merge(params), clips.render(batch), jax.random.key(0))
        return {**metrics, "loss": loss}

    def scores(params: Any) -> dict[str, float]:
        batches = batches_of(clips, "val", most)
        rows = [measure(params, batch) for batch in batches]
        sizes = [len(next(iter(batch.values()))) for batch in batches]
        return mean(jax.device_get(rows), sizes)

    return scores


def held_out_psnr(
    tokenizer: video.VideoTokenizer, format: ClipFormat, clips: int = HELD_OUT, family: str = "room"
) -> dict[str, float]:
    """Returns the reconstruction PSNR (dB) of Playhouse clips of the split val.

    The tokenizer encodes and decodes each clip without latent noise. `clip_psnr` is over whole
    frames, `box_psnr` inside the balls' bounding boxes (`evaluation.round_trip.psnr`). Both are
    means over the clips that have a value; a metric without any value is left out.

    Args:
        tokenizer: the video tokenizer.
        format: the format of the clips.
        clips: number of clips. Default: HELD_OUT.
        family: the family of the scenes. Default "room".
    """
    truth = render_takes([draw("val", i, family=family) for i in range(clips)], format)
    decoded = videos_through(tokenizer, truth)
    values = {
        "clip_psnr": [psnr(clip) for clip in decoded],
        "box_psnr": [psnr(clip, boxes(clip)) for clip in decoded],
    }
    found = {name: [x for x in of if x is not None] for name, of in values.items()}
    return {name: float(np.mean(of)) for name, of in found.items() if of}


def by_set(run: TokenizerRun, scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Returns the metrics of all sets, {set: {metric: value}}, as one dict.

    The names are METRIC for one set and SET/METRIC for a mixture.
    """
    several = len(run.data.mixture) > 1
    return {
        f"{name}/{metric}" if several else metric: value
        for name, found in scores.items()
        for metric, value in found.items()
    }


def validation(
    run: TokenizerRun, kind: Kind, merge: Callable[[Any], Any], sets: Mapping[str, Clips]
) -> Callable[[TrainState], dict[str, float]]:
    """Returns a function that scores the averaged weights of a training state on the split val.

    Args:
        run: the configuration; `run.validation.clips` clips of each set are read.
        kind: the kind of tokenizer.
        merge: parameters -> the tokenizer with these parameters.
        sets: the clips of each set.
    """
    most = run.validation.clips
    measures = {name: held_out(kind, merge, clips, most) for name, clips in sets.items()}

    def scores(state: TrainState) -> dict[str, float]:
        params = averaged_params(state.opt_state, state.params)
        return by_set(run, {name: measure(params) for name, measure in measures.items()})

    return scores


def final_scores(
    run: TokenizerRun,
    kind: Kind,
    merge: Callable[[Any], Any],
    params: Any,
    sets: Mapping[str, Clips],
) -> dict[str, float]:
    """Returns the metrics of trained parameters on the split val, by name (`by_set`).

    They are the loss and its metrics, and for video of Playhouse also the PSNR of
    `held_out_psnr`.

    Args:
        run: the configuration.
        kind: the kind of tokenizer.
        merge: parameters -> the tokenizer with these parameters.
        params: the parameters.
        sets: the clips of each set.
    """
    tokenizer, scores = merge(params), {}
    for one in run.data.mixture:
        clips, format = sets[one.name], one.clip_format
        found = held_out(kind, merge, clips)(params)
        if kind.name == VIDEO and one.source == "playhouse":
            found |= held_out_psnr(tokenizer, format, clips.count["val"], one.family)
        scores[one.name] = found
    return by_set(run, scores)
