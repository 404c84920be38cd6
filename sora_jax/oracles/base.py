"""What an oracle is: what it reads in a clip, when its reading is correct, and what must fool it.

An oracle measures from pixels and samples, without a learned model and without seeing the scene.
Calibration (`sora_jax.evaluation.calibrate`) says how far it can be trusted. Its score under a
condition is the share of clips whose reading is correct for the clip's take:

    ground truth             at least GROUND_TRUTH
    blur, noise, codecs      at least DEGRADED, each where it changes what the oracle reads
    corrupted                at most the oracle's `ceiling`
    empty                    the same: clips that show nothing of what it reads
    shuffled                 the same: clips with the takes of others

An oracle is a subclass of `Oracle` in a file of its own, registered in `catalogue.ORACLES`.
"""

import abc
from typing import TYPE_CHECKING, Any, Protocol

from sora_jax.oracles.conditions import EMPTY, Condition
from sora_jax.oracles.examples import AUDIO, VIDEO, Example, shuffled

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

GROUND_TRUTH, DEGRADED = 0.98, 0.95
# STRICT: of laws, which a corruption breaks or does not; there is no chance agreement.
CEILING, STRICT = 0.20, 0.05


class Oracle(Protocol):
    """A measurement of clips, and how it is judged.

    Attributes:
        name: in ORACLES, in calibration.json and in the metrics of suites.
        media: what it reads: VIDEO, AUDIO or both.
        tolerance: when a reading is correct, in words, for the report.
        corruptions: conditions after which a reading must not be correct.
        ceiling: the most that corrupted, empty and shuffled clips may score.
        stage: a name in `examples.STAGES`, the clips that it is judged on.
        empty: makes clips that show nothing of what it reads.
    """

    name: str
    media: tuple[str, ...]
    tolerance: str
    corruptions: tuple[Condition, ...] = ()
    ceiling: float = CEILING
    stage: str = "room"
    empty: Condition = EMPTY

    @abc.abstractmethod
    def read(self, reading: "Reading") -> Any:
        """What the oracle reads in the clip of `reading`. `reading.of(name)` calls it once."""

    @abc.abstractmethod
    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Whether the reading is correct for the example's take; None if the take asks nothing."""

    def asked(self, condition: Condition, example: Example) -> bool:
        """Whether `condition` can change what the oracle reads in this example: a mirror changes
        nothing where no ball has a direction.
        """
        return True

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Clips whose take, picture or sound is another's, so that no reading is correct."""
        return shuffled(clips)

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Rows (what, value, number of measurements) for the report of a calibration: what the
        oracle measures on ground truth of its stage, beyond correct and wrong. Default: none.
        """
        return []


def fault(oracle: Oracle) -> str | None:
    """What is wrong with an oracle's `media`, in one line; None where nothing is."""
    media = oracle.media
    if isinstance(media, tuple) and media and all(medium in (VIDEO, AUDIO) for medium in media):
        return None
    return f"media is {media!r}; give (VIDEO,), (AUDIO,) or both, of sora_jax.oracles.examples"
