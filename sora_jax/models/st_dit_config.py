"""Hyperparameters of STDiT."""

import dataclasses
from collections.abc import Mapping

from sora_jax.config import within
from sora_jax.models.attention_patterns import ATTENTION
from sora_jax.nn.stack import REMAT

CHOICES = {
    "exchange": ("both", "to_video", "to_audio", "none"),
    "clock": ("seconds", "index"),
    "output": ("x", "v"),
    "dtype": ("float32", "bfloat16", "float16"),
    "remat": tuple(REMAT),
}
# smallest valid values
LEAST = {
    **dict.fromkeys(
        (
            "video_channels",
            "audio_channels",
            "patch",
            "depth",
            "frame_tokens",
            "text_layers",
            "unroll",
            "time_every",
        ),
        1,
    ),
    "vocabulary": 2,  # padding and one word
}


@dataclasses.dataclass(frozen=True)
class STDiTConfig:
    """Hyperparameters of the network, `STDiT`.

    Widths are numbers of features. Each head gets width / heads features, which must be an even
    number, because rotary positions rotate pairs.

    Attributes:
        video_channels: channels of the video latents. Default 16.
        audio_channels: channels of the audio latents. Default 64.
        patch: side of a video token in sites of the latent. Default 2.
        depth: number of pairs of a spatial and a temporal block. Default 4.
        width: width of the video stream. Default 192.
        heads: heads of the video stream's attention. Default 6.
        mlp_ratio: hidden width of an MLP divided by the width of its stream. Default 4.
        audio_width: width of the audio stream. Default 128.
        audio_heads: heads of the audio stream's attention. Default 4.
        exchange_width: width of all heads together in the exchange between the streams. Default
            128.
        exchange_heads: heads of the exchange. Default 4.
        exchange: which stream reads the other: "both" (default), "to_video" (the video reads the
            audio), "to_audio" or "none".
        frame_tokens: pooled tokens of a video frame, P, which the audio attends to. Default 4.
        memory: whether every video token also attends to the pooled tokens of all frames. Default
            False.
        text_width: width of the text encoder. Default 128.
        text_heads: heads of the text encoder. Default 4.
        text_layers: blocks of the text encoder. Default 2.
        text_attention: whether video and audio attend to the words. False leaves the pooled prompt
            in the modulation (adaLN, as in DiT, Peebles and Xie 2022, arXiv:2212.09748). Default
            True.
        shot_words: True lets a latent attend only to words that describe its own shot, or all
            shots. Default False: it attends to all words.
        references: largest number of characters of a clip whose references (stills and voice) the
            model reads (`reference_encoder`). Default 0: it reads none.
        text_features: features of a token that an encoder outside of the model gives, such as T5
            (`sora_jax.models.t5`). Default 0: the model embeds words itself.
        vocabulary: number of token ids, where the model embeds words. Default 512.
        clock: the position of a latent in time: "seconds" (default), its midpoint on the clock that
            video and audio share, or "index", its index in its stream (`tokens.on_clock`).
        attention: the attention pattern, a name of `attention_patterns.ATTENTION`. Default "pure":
            within a frame, then along time.
        window: sides (T, rows, columns) of a window in tokens, for attention "window"; 0 is the
            whole axis. Default (0, 4, 4).
        time_every: for attention "interleaved": every pair of this number attends along time, the
            others within frames alone. Default 4.
        output: the network's prediction: clean latents, "x" (default), or velocity, "v".
        step_sizes: True lets the network take the sizes of the sampler's steps, which training with
            `flow.shortcut` needs. Default False.
        dtype: dtype of activations; parameters are float32. Default "float32".
        remat: rematerialisation policy, a name of `nn.stack.REMAT`. Default "none": a pair keeps
            all activations for the backward pass.
        unroll: pairs per iteration of the scan over the depth. Default 1.

    Raises:
        ValueError: a value is out of range, or a name is unknown.
    """

    video_channels: int = 16
    audio_channels: int = 64
    patch: int = 2
    depth: int = 4
    width: int = 192
    heads: int = 6
    mlp_ratio: float = 4.0
    audio_width: int = 128
    audio_heads: int = 4
    exchange_width: int = 128
    exchange_heads: int = 4
    exchange: str = "both"
    frame_tokens: int = 4
    memory: bool = False
    text_width: int = 128
    text_heads: int = 4
    text_layers: int = 2
    text_attention: bool = True
    shot_words: bool = False
    references: int = 0
    text_features: int = 0
    vocabulary: int = 512
    clock: str = "seconds"
    attention: str = "pure"
    window: tuple[int, int, int] = (0, 4, 4)
    time_every: int = 4
    output: str = "x"
    step_sizes: bool = False
    dtype: str = "float32"

    remat: str = "none"
    unroll: int = 1

    def __post_init__(self):
        object.__setattr__(self, "window", tuple(self.window))
        if self.attention not in ATTENTION:
            known = ", ".join(map(repr, ATTENTION))
            raise ValueError(
                f"attention={self.attention!r} is not registered; use one of {known}, or import "
                "the module that registers it"
            )
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}={getattr(self, name)!r}; use one of {', '.join(map(repr, known))}"
                )
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; give at least {least}")
        within(self, "[0, inf)", "references", "text_features")
        for stream in ("", "audio_", "exchange_", "text_"):
            width, heads = getattr(self, f"{stream}width"), getattr(self, f"{stream}heads")
            if heads < 1 or width < 1 or width % (2 * heads):
                near = max(round(width / (2 * max(heads, 1))), 1) * 2 * max(heads, 1)
                raise ValueError(
                    f"{stream}width={width} does not give {stream}heads={heads} heads an even "
                    "width each, as rotation needs; "
                    f"give for example {stream}width={near} and {stream}heads={max(heads, 1)}"
                )
        within(self, "(0, inf)", "mlp_ratio")
        if self.mlp_ratio * min(self.width, self.audio_width) < 1:
            raise ValueError(
                f"mlp_ratio={self.mlp_ratio} leaves the MLPs no width; give for example 4"
            )
        if min(self.window) < 0:
            raise ValueError(
                f"window={self.window}; give sides of 1 or more, or 0 for a whole axis"
            )

    def grid(self, sides: tuple[int, int]) -> tuple[int, int]:
        """Returns (rows, columns) in tokens of a latent frame.

        Args:
            sides: rows and columns of the latent frame. It is padded where the patch does not
                divide them.
        """
        return -(-sides[0] // self.patch), -(-sides[1] // self.patch)

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping) -> "STDiTConfig":
        """Returns the configuration of `fields`, the result of `to_dict`.

        Raises TypeError for a name that is not a field.
        """
        return cls(**fields)
