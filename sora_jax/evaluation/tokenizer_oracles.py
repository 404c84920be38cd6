"""What tokenizers keep: each oracle's score on clips before and after encoding and decoding.

A score is the share of clips that an oracle (a measurement of a clip) reads correctly
(`Oracle.judge`). The clips are those of the oracle's stage, such as rooms or talks, of scenes that
no constant of an oracle was chosen on.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from sora_jax.evaluation.calibrate import FIRST, chosen
from sora_jax.evaluation.round_trip import Tokenizers, round_trip
from sora_jax.evaluation.statistics import interval
from sora_jax.modality import FORMATS
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import STAGES, Example, ground_truth
from sora_jax.oracles.reading import Reading

LOSS = 0.03  # largest difference of scores that counts as kept


@dataclasses.dataclass
class Pair:
    """A pair of tokenizers.

    Attributes:
        video_tokenizer, audio_tokenizer: objects with `encode` and `decode`.
    """

    video_tokenizer: Any
    audio_tokenizer: Any


def scores_through(
    tokenizers: Tokenizers,
    clips: int,
    oracles: Sequence[str] | None = None,
    report: Callable[[str], object] | None = None,
) -> dict[str, dict[str, Any]]:
    """Returns the scores of oracles before and after a round trip through tokenizers.

    Args:
        tokenizers: the video and the audio tokenizer.
        clips: number of scenes of each stage, from index FIRST of the split `val` on.
        oracles: names of the oracles. Default: None, all registered ones.
        report: function that is called with the name of each stage before its clips are made.
            Default: None.

    Returns:
        {oracle: row}. A row has "stage"; "n", the number of clips that test the oracle; "truth" and
        "decoded", its scores on unchanged and on decoded clips; and "low" and "high", the 95 %
        interval of "decoded". Scores are None for n = 0.

    Raises:
        UserError: an oracle is not registered.
    """
    names, found = chosen(oracles), {}
    rooms = ground_truth("val", range(FIRST, FIRST + clips), FORMATS["nano"])
    for stage in dict.fromkeys(ORACLES[name].stage for name in names):
        if report:
            report(stage)
        pairs = [
            [(clip, Reading(clip)), (decoded, Reading(decoded))]
            for clip, decoded in _decoded(tokenizers, STAGES[stage](rooms))
        ]
        for name in (name for name in names if ORACLES[name].stage == stage):
            judged = [[ORACLES[name].judge(*one) for one in pair] for pair in pairs]
            kept = [pair for pair in judged if pair[0] is not None and pair[1] is not None]
            truth, made = ([float(bool(pair[i])) for pair in kept] for i in range(2))
            low, high = interval(made) if made else (None, None)
            count = len(kept)
            found[name] = {
                "stage": stage,
                "n": count,
                "truth": sum(truth) / count if count else None,
                "decoded": sum(made) / count if count else None,
                "low": low,
                "high": high,
            }
    return found


def _decoded(tokenizers: Tokenizers, clips: list[Example]) -> list[tuple[Example, Example]]:
    """Returns (clip, the clip encoded and decoded) of each clip, grouped by format, because the
    clips of a stage may differ in format.
    """
    found = []
    for format in dict.fromkeys(clip.format for clip in clips):
        same = [clip for clip in clips if clip.format == format]
        found += zip(same, round_trip(tokenizers, same), strict=True)
    return [(clip, dataclasses.replace(made, reference=None)) for clip, made in found]
