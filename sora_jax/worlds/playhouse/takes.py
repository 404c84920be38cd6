"""Draws many takes (scenes with their motion, facts and captions), and renders them to clips."""

import collections
import concurrent.futures
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from sora_jax.clip import Clip
from sora_jax.config import known_keywords
from sora_jax.errors import UserError, expect
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.registry import load_modules, user_modules
from sora_jax.worlds.playhouse.draw import Take, check, draw, whole_index
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.spec import SILENCE


def draw_takes(
    split: str,
    indices: Iterable[int],
    workers: int = 0,
    family: str = "room",
    style: str | None = None,
) -> Iterator[Take]:
    """Returns an iterator over `draw(split, i, family=family, style=style)` for every index i, in
    order.

    A take costs about 10 ms of Python. With `workers`, other processes draw takes ahead. They are
    spawned, so a script that asks for workers needs the usual `if __name__ == "__main__":`.

    Args:
        split: one of the family's splits.
        indices: indices of the takes in the split.
        workers: number of processes. Default: 0, takes are drawn in this process.
        family: a name in FAMILIES. Default: "room".
        style: the style, for a family with several. Default: None, which draws it.

    Raises:
        UserError: the family, split or style does not exist, or workers are given for a family that
            is defined in a script or a notebook; before a take is drawn. An index is not an integer
            of 0 or more, or is beyond the end of a finite family; when it is drawn.
    """
    check(split, family, style)
    expect(indices, Iterable, "indices", "give several, such as range(4)")
    expect(workers, int, "workers", "give a number of processes, or 0")
    indices = map(whole_index, indices)
    if workers < 1:
        return (draw(split, i, family=family, style=style) for i in indices)
    if FAMILIES.home(family) == "__main__":
        raise UserError(
            f"the family {family!r} is defined in a script or a notebook, which other processes "
            "cannot load; put it into a file and load that, or give workers=0"
        )
    return _drawn_ahead(split, indices, workers, family, style)


def _drawn_ahead(
    split: str, indices: Iterable[int], workers: int, family: str, style: str | None
) -> Iterator[Take]:
    chunk = 16  # takes per task of a process
    with concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), load_modules, (user_modules(),)
    ) as pool:
        pending = collections.deque()
        for group in grouped(indices, chunk):
            pending.append(pool.submit(_draw_group, split, group, family, style))
            if len(pending) > 2 * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _draw_group(split: str, indices: list[int], family: str, style: str | None) -> list[Take]:
    return [draw(split, i, family=family, style=style) for i in indices]


def grouped(items: Iterable, size: int) -> Iterator[list]:
    """Yields lists of `size` items in order. The last may be shorter."""
    group = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


@known_keywords
def render(take: Take, format: ClipFormat = FORMATS["nano"]) -> Clip:
    """Returns one take as a clip: frames float32 [F, H, W, 3] in [0, 1], and mono samples float32
    [S] in [-1, 1] at 16 kHz.

    Args:
        take: the take.
        format: the clip format. Default: nano.

    Raises:
        UserError: `take` is not a `Take`, or `format` not a `ClipFormat`.
    """
    expect(take, Take, "take", "give one Take, as draw returns")
    expect(format, ClipFormat, "format", "give a ClipFormat, such as FORMATS['nano']")
    batch = render_batch([take], format)
    frames, samples = (np.asarray(batch[name])[0] for name in ("frames", "samples"))
    return Clip(frames, samples, format.fps, family=take.family)


def render_batch(takes: Sequence[Take], format: ClipFormat) -> dict:
    """Renders B takes as one batch of clips of a format.

    Returns:
        A dict of "frames": [B, F, H, W, 3] in [0, 1], and "samples": [B, S] in [-1, 1] at 16 kHz,
        jax arrays on the default device; "has_audio": bool [B], False for scenes without a
        soundtrack; "captions": the captions of each take; "keys": B strings
        "family/split/index"; "takes": the takes.
    """
    # Imported here, so that processes which only draw start faster, without jax.
    from sora_jax.worlds.playhouse import render as renderer
    from sora_jax.worlds.playhouse import sound

    return {
        "frames": renderer.render(renderer.render_inputs(takes, format, alone=True), format),
        "samples": sound.synthesise(sound.sound_inputs(takes, format), format),
        "has_audio": np.array([take.scene.ambience != SILENCE for take in takes]),
        "captions": [take.captions for take in takes],
        "keys": [f"{take.family}/{take.split}/{take.index}" for take in takes],
        "takes": list(takes),
    }
