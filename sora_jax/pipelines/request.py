"""What a pipeline is asked to make."""

import dataclasses
import math

import numpy as np

from sora_jax.errors import UserError
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import ClipFormat
from sora_jax.pipelines.generated import Generated

SECONDS = 2.0  # that a continued clip grows, unless said
LONGEST = 600  # seconds that one request may add to a clip


@dataclasses.dataclass(frozen=True)
class Request:
    """What to make. prompt None: no text. first_frame [H, W, 3], or the first frames [n, H, W, 3]
    of whole latents; given_video [F, H, W, 3], given_audio [S]: of the pipeline's format. continued
    with `seconds`: how much to add, rounded up to whole latents. unconditional: nothing is asked
    for, and any clip will do.
    """

    prompt: str | None = None
    negative_prompt: str = ""
    seed: int = 0
    sampler: SamplerConfig = dataclasses.field(default_factory=SamplerConfig)
    first_frame: np.ndarray | None = None
    given_video: np.ndarray | None = None
    given_audio: np.ndarray | None = None
    continued: Generated | None = None
    seconds: float = SECONDS
    unconditional: bool = False

    @property
    def task(self) -> str:
        given = ("continued", "first_frame", "given_video", "given_audio")
        return " and ".join(name for name in given if getattr(self, name) is not None) or (
            "nothing" if self.unconditional else "text"
        )

    def check(self, format: ClipFormat) -> None:
        """Raises UserError for a request that contradicts itself or asks for nothing, ValueError
        for arrays that are not of the pipeline's format.
        """
        given = [
            name
            for name in ("continued", "first_frame", "given_video")
            if getattr(self, name) is not None
        ]
        if len(given) > 1 or (self.continued is not None and self.given_audio is not None):
            raise UserError(
                f"{self.task}: these cannot be combined; give one of them", field=given[0]
            )
        if self.given_video is not None and self.given_audio is not None:
            raise UserError(
                "picture and sound are both given, so nothing is left to make; give one of them",
                field="given_audio",
            )
        if self.prompt is not None and not self.prompt.strip():
            raise UserError(
                'the prompt is empty; describe the clip, for example "a large red ball is '
                'dropped and bounces twice"',
                field="prompt",
            )
        if self.task == "text" and self.prompt is None:
            raise UserError(
                "there is nothing to make a clip from; give a prompt, a first frame, a picture "
                "or a sound",
                field="prompt",
            )
        if self.continued is not None and not 0 < self.seconds <= LONGEST:
            raise UserError(
                f"seconds={self.seconds}: a clip is made longer by a positive time of at "
                f"most {LONGEST}; give for example 2",
                field="seconds",
            )
        for name, scale in dataclasses.asdict(self.sampler.guidance).items():
            if scale is not None and not math.isfinite(scale):
                raise UserError(
                    f"guidance {name}={scale} is not a finite number; give for example 2",
                    field="guidance",
                )
        if self.continued is None and self.seconds != SECONDS:
            raise UserError(
                f"seconds={self.seconds:g} says how much a continued clip grows; give continued, "
                f"or leave it out: this model's clips last {format.seconds:g} s",
                field="seconds",
            )
        side = format.size
        first = self.first_frame
        if first is not None and first.ndim == 4 and first.shape[1:] == (side, side, 3):
            group, count = format.frames_per_latent, len(first)
            if (count - 1) % group or not 0 < count < format.frames:
                raise ValueError(
                    f"{count} first frames: they are 1 + {group}k, and fewer than the clip's "
                    f"{format.frames}"
                )
            first = first[0]
        wanted = {
            "first_frame": (first, (side, side, 3)),
            "given_video": (self.given_video, (format.frames, side, side, 3)),
            "given_audio": (self.given_audio, (format.samples,)),
        }
        for name, (value, shape) in wanted.items():
            if value is not None and value.shape != shape:
                raise ValueError(
                    f"{name} has shape {value.shape}, and the pipeline's format needs {shape}"
                )
