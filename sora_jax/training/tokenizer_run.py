"""The configuration of a tokenizer's training, and the differences between the two tokenizers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from sora_jax import config as config_lib
from sora_jax.data.tokenizer_clips import AUDIO, VIDEO
from sora_jax.errors import UserError
from sora_jax.tokenizers import audio, video
from sora_jax.training.data_config import DataConfig
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig
from sora_jax.training.watch import ValidationConfig


@dataclasses.dataclass(frozen=True)
class TokenizerRun:
    """The configuration of a tokenizer's training: everything but the weights it starts from.

    Attributes:
        kind: a name of KINDS: "video_tokenizer" or "audio_tokenizer".
        tokenizer: the configuration of a tokenizer of that kind.
        data: the sets of clips.
        optim: the optimizer and its learning rate.
        train: steps, seed, checkpoints and logs.
        validation: scores on held-out clips during training. Default: none.
        decoder_only: True trains only the decoder of a video tokenizer. Its latents then stay those
            of the weights that it starts from, with their statistics. Default False.
    """

    kind: str
    tokenizer: video.VideoTokenizerConfig | audio.AudioTokenizerConfig
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    validation: ValidationConfig = ValidationConfig()
    decoder_only: bool = False

    def __post_init__(self):
        if self.decoder_only and self.kind != "video_tokenizer":
            raise ValueError(
                "decoder_only is of the video tokenizer, whose halves are apart; leave it False"
            )
        for one in self.data.mixture:
            if one.source == "playhouse" and one.path:
                raise ValueError(
                    f"data: source='playhouse' reads no path={one.path!r}; leave it empty, or set "
                    "source='video_folder'"
                )
        fit = [kind for kind, of in KINDS.items() if isinstance(self.tokenizer, of.config)]
        if self.kind not in fit:
            raise ValueError(
                f"kind={self.kind!r} with a {type(self.tokenizer).__name__}; its kind is "
                f"{', '.join(fit) or 'none'}"
            )


@dataclasses.dataclass(frozen=True)
class Kind:
    """The parts that differ between the two tokenizers.

    Attributes:
        name: the modality, VIDEO or AUDIO.
        config: the class of the tokenizer's configuration.
        module: the class of the tokenizer.
        loss: (tokenizer, frames [B,F,H,W,3] or samples [B,S], key) -> (scalar, metrics).
    """

    name: str
    config: type
    module: Callable[..., video.VideoTokenizer | audio.AudioTokenizer]
    loss: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


KINDS = {
    "video_tokenizer": Kind(
        VIDEO, video.VideoTokenizerConfig, video.VideoTokenizer, video.video_loss
    ),
    "audio_tokenizer": Kind(
        AUDIO, audio.AudioTokenizerConfig, audio.AudioTokenizer, audio.audio_loss
    ),
}


def tokenizer_run(values: Mapping[str, Any]) -> TokenizerRun:
    """Returns the run of a configuration's values, nested dictionaries. Its `kind` selects the
    tokenizer.

    Raises:
        UserError: the configuration is not for a tokenizer, a key is unknown or a value is wrong.
    """
    kind = values.get("kind")
    if "model" in values:
        raise UserError(
            "config is for the diffusion transformer; give it to experiments.train, or here "
            f"one with a kind: {', '.join(KINDS)}"
        )
    if kind not in KINDS:
        raise UserError(f"config.kind is {kind!r}; it is one of {', '.join(KINDS)}")
    if "tokenizer" in values:
        tokenizer = config_lib.from_dict(
            KINDS[kind].config, values["tokenizer"], "config.tokenizer"
        )
        values = {**values, "tokenizer": tokenizer}
    return config_lib.from_dict(TokenizerRun, values)


def check_latents(run: TokenizerRun) -> None:
    """Raises UserError for a format whose frames per latent differ from those of the tokenizer."""
    if not isinstance(run.tokenizer, video.VideoTokenizerConfig):
        return
    for one in run.data.mixture:
        fitting = one.clip_format.frames_per_latent
        if run.tokenizer.frames_per_latent != fitting:
            raise UserError(
                f"config.tokenizer.frames_per_latent={run.tokenizer.frames_per_latent}, and "
                f"clips of format {one.format} have {fitting} frames to a latent; set both alike"
            )
