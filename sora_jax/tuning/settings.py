"""The settings of a fine-tuning, and the configurations of the trainings that follow from them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sora_jax import config as config_lib
from sora_jax import weights
from sora_jax.config import nearest, within
from sora_jax.data.folder_plan import FolderPlan
from sora_jax.errors import UserError
from sora_jax.flow.loss import FlowConfig
from sora_jax.flow.timesteps import TimestepConfig
from sora_jax.modality import FITS, FORMATS, ClipFormat
from sora_jax.models.st_dit import STDiTConfig
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.models.vocabulary import words_of
from sora_jax.tokenizers.video import VideoTokenizerConfig
from sora_jax.training.adapt import AdaptConfig
from sora_jax.training.data_config import DataConfig, ModelDataConfig
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig
from sora_jax.training.run import Run
from sora_jax.training.tokenizer_run import TokenizerRun
from sora_jax.training.watch import SampleConfig, ValidationConfig

TOKENIZERS = ("both", "decoder", "refuse")  # values of `Settings.tokenizer`
PROMPTS_MEANWHILE = 4  # clips of each preview during training


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a fine-tuning.

    Attributes:
        videos: the folder of videos.
        base: weights of the model to start from. Default "": the shipped `nano`.
        video_tokenizer, audio_tokenizer: weights of the tokenizers to start from. Default "": the
            shipped ones.
        caption: the caption of videos that have none. Default "": they are refused.
        cuts: "detect" (default) looks for scene changes, "none" takes each file as one scene.
        fit: how frames are fitted to the base model's format, a name in `modality.FITS`: "crop"
            (default) or "letterbox".
        clips_per_file: the largest number of clips of a file. Default 64.
        min_psnr: PSNR in dB of held-out clips, encoded and decoded, below which the video tokenizer
            is fine-tuned. Default 28.
        tokenizer: which part of the video tokenizer is then fine-tuned: "both" halves (default; the
            latents change), or the "decoder" alone (latents stay valid). "refuse" raises an error
            instead.
        tokenizer_steps: steps of the tokenizer's training. Default 3000.
        steps: steps of the model's training. Default 2000.
        batch_size: clips of a step of the model's training. Default 16.
        lora_rank: rank of low-rank updates; 0 (default) trains the weights themselves.
        freeze: parts of the model that are not trained, names of `adapt.PARTS`. Default: none.
        previews: clips generated at the end, from captions of held-out files. Default 12.
        memory: bytes that may be used. Default 0: the bytes that are free.
        seed: seed of the trainings. Default 0.
    """

    videos: str
    base: str = ""
    video_tokenizer: str = ""
    audio_tokenizer: str = ""
    caption: str = ""
    cuts: str = "detect"
    fit: str = FITS[0]
    clips_per_file: int = 64
    min_psnr: float = 28.0
    tokenizer: str = "both"
    tokenizer_steps: int = 3000
    steps: int = 2000
    batch_size: int = 16
    lora_rank: int = 0
    freeze: tuple[str, ...] = ()
    previews: int = 12
    memory: int = 0
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "freeze", tuple(self.freeze))
        within(self, "[1, inf)", "tokenizer_steps", "steps", "batch_size", "previews")
        within(self, "[1, inf)", "clips_per_file")
        within(self, "[0, inf)", "memory", "seed", "lora_rank")
        within(self, "(-inf, inf)", "min_psnr")
        if self.tokenizer not in TOKENIZERS:
            raise ValueError(
                f"tokenizer={self.tokenizer!r}; use {', '.join(map(repr, TOKENIZERS))}"
            )
        AdaptConfig(self.lora_rank, self.freeze)  # raises ValueError

    @classmethod
    def checked(cls, **values: Any) -> "Settings":
        """Returns the settings with these fields. Raises UserError for an unknown field, or a value
        that is wrong.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise UserError(f"no setting {name!r}; {nearest(name, known)}", field=name)
        try:
            return cls(**values)
        except ValueError as error:
            raise UserError(str(error)) from None

    def load_base(self) -> weights.Weights:
        """Returns the weights that the model starts from."""
        return weights.load_weights(self.base or weights.shipped("nano"), "st_dit")

    @property
    def tokenizers(self) -> dict[str, str]:
        """The files of the tokenizers to start from, by kind."""
        given = {
            "video_tokenizer": self.video_tokenizer,
            "audio_tokenizer": self.audio_tokenizer,
        }
        return {kind: file or str(weights.shipped(kind)) for kind, file in given.items()}

    @property
    def base_file(self) -> str:
        """The file of the weights that the model starts from."""
        return self.base or str(weights.shipped("nano"))


def format_of(base: weights.Weights) -> ClipFormat:
    """Returns the format of the clips that a model makes: the first that it was trained on."""
    card = base.metadata
    named = (card.get("formats") or [card.get("format", "nano")])[0]
    return FORMATS[named] if isinstance(named, str) else ClipFormat.from_dict(named)


def prompts_of(plan: FolderPlan, most: int) -> tuple[str, ...]:
    """Returns at most `most` captions of held-out files: the first caption of each file, each text
    once, evenly spread over the files in the order of their names.
    """
    held_out = sorted(name for name, one in plan.files.items() if one.split == "val")
    found = list(dict.fromkeys(plan.files[name].captions[0] for name in held_out))
    count = min(most, len(found))
    return tuple(found[i * len(found) // count] for i in range(count))


def set_values(format: ClipFormat, path: Path) -> dict[str, Any]:
    """Returns the values of `SetConfig` for a folder of clips or latents in a format.

    Raises:
        UserError: no configuration names the format.
    """
    sides: dict[str, Any] = {"height": format.height, "width": format.width}
    sides |= {"fps": float(format.fps), "seconds": format.seconds}
    none: dict[str, Any] = {}
    for name in FORMATS:
        for changes in (none, sides):
            one = DataConfig(source="video_folder", path=str(path), format=name, **changes)
            if one.clip_format == format:
                return {"source": "video_folder", "path": str(path), "format": name, **changes}
    raise UserError(
        f"the base makes clips of {format}, which config.data cannot name; give other weights",
        field="base",
    )


def tokenizer_run(settings: Settings, clips: Path, start: weights.Weights) -> TokenizerRun:
    """Returns the configuration of the video tokenizer's training on a built set of clips.

    Args:
        settings: the settings of the fine-tuning.
        clips: the folder of the set.
        start: the tokenizer's weights that the training starts from.
    """
    steps = settings.tokenizer_steps
    return TokenizerRun(
        "video_tokenizer",
        config_lib.from_dict(VideoTokenizerConfig, start.config),
        data=DataConfig(**set_values(format_of(settings.load_base()), clips)),
        optim=OptimConfig(
            lr=2e-3, muon=True, warmup=50, weight_decay=0.0, ema=0.99, schedule="wsd"
        ),
        train=TrainConfig(steps=steps, batch_size=4, seed=settings.seed),
        validation=ValidationConfig(every=max(1, steps // 6), clips=32),
        decoder_only=settings.tokenizer == "decoder",
    )


def model_run(
    settings: Settings,
    plan: FolderPlan,
    latents: Path,
    tokenizers: Mapping[str, str],
) -> Run:
    """Returns the configuration of the model's training.

    Args:
        settings: the settings of the fine-tuning.
        plan: the folder's clips; the words of their captions become known words.
        latents: the folder of the latents, with those of held-out clips in its subfolder `val`.
        tokenizers: files of the tokenizers by kind, for previews.
    """
    base = settings.load_base()
    model = config_lib.from_dict(STDiTConfig, base.config)
    shift = base.metadata.get("run", {}).get("flow", {}).get("timesteps", {}).get("shift", 1.0)
    captions = [text for one in plan.files.values() for text in one.captions]
    longest = max(len(TextTokenizer(()).split(text)) for text in captions)
    data = ModelDataConfig(
        **set_values(format_of(base), latents),
        text_length=max(longest, base.metadata.get("text_length", 64)),
        words=words_of(captions),
    )
    lora = settings.lora_rank > 0
    steps = settings.steps
    return Run(
        model=model,
        flow=FlowConfig(output=model.output, timesteps=TimestepConfig(shift=shift)),
        data=data,
        # Muon orthogonalises matrices, which a and b are not meant to be.
        optim=OptimConfig(lr=2e-3 if lora else 4e-3, muon=not lora, warmup=50, ema=0.99),
        train=TrainConfig(steps=steps, batch_size=settings.batch_size, seed=settings.seed),
        adapt=AdaptConfig(settings.lora_rank, settings.freeze),
        validation=ValidationConfig(every=max(1, steps // 8), clips=32, draws=2),
        sample=SampleConfig(
            every=max(1, steps // 3),
            steps=20,
            prompts=prompts_of(plan, PROMPTS_MEANWHILE),
            video_tokenizer=tokenizers["video_tokenizer"],
            audio_tokenizer=tokenizers["audio_tokenizer"],
        ),
    )
