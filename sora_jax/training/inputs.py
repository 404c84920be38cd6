"""The latents that a run trains on: an existing set, or one made in the run's directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sora_jax import weights
from sora_jax.data.latents import record
from sora_jax.data.latents.precompute import precompute, refuse_others
from sora_jax.data.named_sources import SOURCES, Selection
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS
from sora_jax.parallel import processes
from sora_jax.training.run import DataConfig

TOKENIZERS = {
    "video_tokenizer": weights.load_video_tokenizer,
    "audio_tokenizer": weights.load_audio_tokenizer,
}


def _made(data: DataConfig) -> bool:
    """True if `data.path` holds latents."""
    return bool(data.path) and (Path(data.path).expanduser() / record.DESCRIPTION).exists()


def _selection(data: DataConfig) -> Selection:
    return Selection(data.path, FORMATS[data.format], data.clips)


def identify(data: DataConfig) -> Mapping[str, Any]:
    """Returns the identity of the data, computed without making them.

    A run refuses to continue with data of another identity.

    Raises:
        UserError: the data do not exist.
    """
    if _made(data):
        return record.identity(Path(data.path).expanduser())
    made_from = SOURCES[data.source].identify(_selection(data))
    fingerprints = {
        kind: weights.load_weights(weights.shipped(kind), kind).fingerprint for kind in TOKENIZERS
    }
    return made_from | {"tokenizers": fingerprints}


def latents_of(data: DataConfig, workdir: Path) -> Path:
    """Returns the folder of the latents to train on: `data.path`, or WORKDIR/data.

    WORKDIR/data is made or completed here with the shipped tokenizers, unless it is complete.

    Raises:
        UserError: several processes train together and `data.path` holds no latents.
    """
    if _made(data):
        return Path(data.path).expanduser()
    if processes.several():
        raise UserError(
            "several processes train on latents that are there; make them with "
            "experiments.precompute, and give config.data.path"
        )
    folder = workdir / "data"
    refuse_others(folder, dict(identify(data)))  # checked first: building the clips may take hours
    source = SOURCES[data.source].open(_selection(data), workdir / "clips")
    loaded = {kind: load() for kind, load in TOKENIZERS.items()}
    fingerprints = {kind: of.fingerprint for kind, (_, of) in loaded.items()}
    (video, _), (audio, _) = loaded.values()
    precompute(source, video, audio, folder, fingerprints)
    return folder
