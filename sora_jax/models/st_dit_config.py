"""Hyperparameters of STDiT."""

import dataclasses
from collections.abc import Mapping

from sora_jax.config import within
from sora_jax.models.attention_patterns import ATTENTION
from sora_jax.nn.stack import REMAT

DTYPES = ("float32", "bfloat16", "float16")
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
        ),
        1,
    ),
    "vocabulary": 2,  # padding and one word
}


@dataclasses.dataclass(frozen=True)
class STDiTConfig:
    """Hyperparameters of the network.

    Widths are in features, window sides in tokens (0: the whole axis).
    """

    video_channels: int = 16
    audio_channels: int = 64
    patch: int = 2  # side of a video token in sites of the latent
    depth: int = 4  # pairs of a spatial and a temporal block
    width: int = 192
    heads: int = 6
    mlp_ratio: float = 4.0
    audio_width: int = 128
    audio_heads: int = 4
    exchange_width: int = 128
    exchange_heads: int = 4
    frame_tokens: int = 4  # P: pooled tokens of a frame, which the audio attends to
    text_width: int = 128
    text_heads: int = 4
    text_layers: int = 2
    vocabulary: int = 512
    attention: str = "pure"  # a name of `attention_patterns.ATTENTION`
    window: tuple[int, int, int] = (0, 4, 4)  # (T, rows, columns), for attention "window"
    output: str = "x"  # "x" or "v"
    dtype: str = "float32"  # dtype of activations; parameters are float32
    # what a pair keeps for the backward pass: a name of `nn.stack.REMAT`; "none" keeps all
    remat: str = "none"
    unroll: int = 1  # pairs per iteration of the scan

    def __post_init__(self):
        object.__setattr__(self, "window", tuple(self.window))
        if self.remat not in REMAT:
            raise ValueError(f"remat={self.remat!r}; use one of {', '.join(map(repr, REMAT))}")
        if self.attention not in ATTENTION:
            known = ", ".join(map(repr, ATTENTION))
            raise ValueError(
                f"attention={self.attention!r} is not registered; use one of {known}, or import "
                "the module that registers it"
            )
        if self.output not in ("x", "v"):
            raise ValueError(f"output={self.output!r}; use 'x' or 'v'")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype={self.dtype!r}; use one of {', '.join(map(repr, DTYPES))}")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; give at least {least}")
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
        """Returns the rows and columns of tokens of a latent frame with `sides` rows and columns.

        Sides that the patch does not divide are padded.
        """
        return -(-sides[0] // self.patch), -(-sides[1] // self.patch)

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping) -> "STDiTConfig":
        """Inverts `to_dict`. Raises TypeError for a name that is not a field."""
        return cls(**fields)
