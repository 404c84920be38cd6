"""The `Oracle` protocol: what an oracle reads in a clip, when the reading is correct, and which
corruptions must make it incorrect.

An oracle measures from pixels and samples. It uses no neural network and never sees the
simulated scene. Calibration (`sora_jax.evaluation.calibrate`) measures how far it can be
trusted, on renders of takes. A take is the ground truth of a clip: scene, motion and captions. A
condition is a change of clips. The score under a condition is the share of clips whose reading is
correct for the clip's take. Limits of the score by condition:

    ground truth             at least GROUND_TRUTH
    blur, noise, codecs      at least DEGRADED; each applies if it changes a modality that
                             the oracle reads
    corrupted                at most the oracle's `ceiling`
    empty                    at most `ceiling`; the clips show nothing that the oracle reads
    shuffled                 at most `ceiling`; each clip is judged by the take of another clip

An oracle is a subclass of `Oracle` in a file of its own, registered in `catalogue.ORACLES`.
"""

import abc
from typing import TYPE_CHECKING, Any, Protocol

from sora_jax.oracles.conditions import EMPTY, Condition
from sora_jax.oracles.examples import AUDIO, VIDEO, Example, shuffled

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

GROUND_TRUTH, DEGRADED = 0.98, 0.95
# Ceilings. STRICT is for oracles whose readings cannot be correct by chance, such as of physical
# laws, which a corruption breaks or does not.
CEILING, STRICT = 0.20, 0.05


class Oracle(Protocol):
    """The protocol of an oracle: a measurement of clips and the rule that judges it.

    Attributes:
        name: key in ORACLES, in calibration.json and in the metrics of suites.
        media: modalities that it reads: (VIDEO,), (AUDIO,) or both.
        tolerance: when a reading is correct, in words, for the report.
        corruptions: conditions under which a reading must be incorrect. Each changes a modality of
            `media`. `conditions.corrupt_frames` and `corrupt_samples` make them. Default: none.
        ceiling: largest score of corrupted, empty and shuffled clips. Default: CEILING.
        stage: key in `examples.STAGES`, which makes the clips that it is calibrated on. Default:
            "room", scenes of balls.
        empty: condition that makes clips without anything that it reads. Default: EMPTY.
        min_fps: frames/s below which it does not judge. Default: 0.
    """

    name: str
    media: tuple[str, ...]
    tolerance: str
    corruptions: tuple[Condition, ...] = ()
    ceiling: float = CEILING
    stage: str = "room"
    empty: Condition = EMPTY
    min_fps: float = 0.0

    @abc.abstractmethod
    def read(self, reading: "Reading") -> Any:
        """Returns what the oracle measures in a clip, an object of any type.

        Args:
            reading: the clip (its `frames`, `fps`, `samples`, `rate`) with the readings that
                oracles share, such as `tracks`. `reading.of(name)` calls this method once and
                caches the result.
        """

    @abc.abstractmethod
    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether the reading of a clip is correct for the clip's take.

        None if the take does not test what the oracle reads, such as words where nobody speaks.

        Args:
            example: the clip with its take.
            reading: all readings of this clip; `reading.of(self.name)` is the oracle's own.
        """

    def applies(self, condition: Condition, example: Example) -> bool:
        """Returns whether a condition (a change of clips) can change what the oracle reads in this
        example; if not, the example is left out of the condition's score.

        For example, mirroring changes nothing if no ball has a direction. Default: True.
        """
        return True

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns copies of the clips, each with the take, video or audio of another clip, so that
        no reading is correct. Default: with the take of a clip with other facts.
        """
        return shuffled(clips)

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Returns rows (name, value as text, number of measurements) for the calibration report.

        The rows hold quantities beyond correct and incorrect, such as a word error rate. Default:
        no rows.

        Args:
            examples: unchanged renders of the oracle's stage, with their takes.
            readings: all readings of each example.
        """
        return []


def fault(oracle: Oracle) -> str | None:
    """Returns a one-line description of what is wrong with an oracle's `media` or `corruptions`;
    None if they are valid.
    """
    media = oracle.media
    if not (isinstance(media, tuple) and media and all(m in (VIDEO, AUDIO) for m in media)):
        return f"media is {media!r}; give (VIDEO,), (AUDIO,) or both, of sora_jax.oracles.examples"
    for one in oracle.corruptions:
        if not isinstance(one, Condition):
            return (
                f"corruptions holds {one!r}; give the function itself, such as recolour of "
                "sora_jax.oracles.corruptions, or one under @corrupt_frames or @corrupt_samples of "
                "sora_jax.oracles.conditions"
            )
        if one.modality not in (None, *media):
            return (
                f"{one.name} changes the {one.modality}, which it does not read; leave it out of "
                "corruptions, or add it to media"
            )
    return None
