"""The registry of oracles by name. To add one, put `@ORACLES.register` on a subclass of
`base.Oracle`.
"""

from sora_jax.oracles.ambience import AmbienceOracle
from sora_jax.oracles.base import Oracle, fault
from sora_jax.oracles.camera import CameraOracle
from sora_jax.oracles.cuts import CutsOracle
from sora_jax.oracles.facts import FactsOracle
from sora_jax.oracles.identity import IdentityOracle
from sora_jax.oracles.lips import LipsOracle
from sora_jax.oracles.loudness import LoudnessOracle
from sora_jax.oracles.material import MaterialOracle
from sora_jax.oracles.onsets import AudioOnsetsOracle, VideoOnsetsOracle
from sora_jax.oracles.outcome import OutcomeOracle
from sora_jax.oracles.permanence import PermanenceOracle
from sora_jax.oracles.physics import PhysicsOracle
from sora_jax.oracles.phyworld import MotionOracle
from sora_jax.oracles.shots import ShotsOracle
from sora_jax.oracles.speakers import SpeakersOracle
from sora_jax.oracles.state import StateOracle
from sora_jax.oracles.style import StyleOracle
from sora_jax.oracles.sync import SyncOracle
from sora_jax.oracles.tracker import TrackerOracle
from sora_jax.oracles.words import WordsOracle
from sora_jax.registry import Registry

ORACLES: Registry[Oracle] = Registry(
    "oracle",
    Oracle,
    [
        TrackerOracle(),
        FactsOracle(),
        VideoOnsetsOracle(),
        AudioOnsetsOracle(),
        SyncOracle(),
        MaterialOracle(),
        PhysicsOracle(),
        LoudnessOracle(),
        WordsOracle(),
        MotionOracle(),
        StyleOracle(),
        OutcomeOracle(),
        PermanenceOracle(),
        CameraOracle(),
        LipsOracle(),
        SpeakersOracle(),
        CutsOracle(),
        AmbienceOracle(),
        IdentityOracle(),
        ShotsOracle(),
        StateOracle(),
    ],
    fault,
)
