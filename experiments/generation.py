"""Flags shared by all commands that generate clips: weights and sampler settings.

They are defined here once; a command adopts them as its own (`flags.adopt_module_key_flags`).
"""

from typing import TYPE_CHECKING

from absl import flags, logging

from sora_jax.files import check_input

if TYPE_CHECKING:
    from sora_jax.flow.sampler import SamplerConfig
    from sora_jax.pipelines.generate import Pipeline

SEED = flags.DEFINE_integer(
    "seed",
    0,
    "Seed of a prompt's first clip; the next has seed + 1, and so on.",
    lower_bound=0,
    upper_bound=2**32 - 1,
)
STEPS = flags.DEFINE_integer(
    "steps", 30, "Sampler steps: more are slower and more accurate.", lower_bound=1
)
SAMPLER = flags.DEFINE_string(
    "sampler",
    "euler",
    "euler, or heun, which is second order and costs two evaluations a step; shortcut, for a few "
    "steps of a model that was trained with flow.shortcut; or a registered one.",
)
GUIDANCE = flags.DEFINE_float(
    "guidance",
    None,
    "Scale of the text guidance; 1 turns it off. Default: 2, and 1 with --sampler=shortcut.",
)
GUIDANCE_VIDEO = flags.DEFINE_float(
    "guidance_video", None, "Text guidance of the video. Default: --guidance."
)
GUIDANCE_AUDIO = flags.DEFINE_float(
    "guidance_audio", None, "Text guidance of the audio. Default: --guidance."
)
GUIDANCE_COUPLE = flags.DEFINE_float(
    "guidance_couple", 1.0, "Guidance between video and audio; 1 turns it off."
)
GUIDANCE_REFERENCE = flags.DEFINE_float(
    "guidance_reference", 1.0, "Guidance by the references of characters; 1 turns it off."
)
WEIGHTS = flags.DEFINE_string(
    "weights", None, "Weights of the model (.safetensors). Default: the shipped nano."
)
VIDEO_TOKENIZER = flags.DEFINE_string(
    "video_tokenizer", None, "Weights of the video tokenizer. Default: the shipped one."
)
AUDIO_TOKENIZER = flags.DEFINE_string(
    "audio_tokenizer", None, "Weights of the audio tokenizer. Default: the shipped one."
)
LORA = flags.DEFINE_string(
    "lora", None, "Low-rank updates of --weights (lora.safetensors). Default: none."
)

TEXT_ENCODER = flags.DEFINE_string(
    "text_encoder", None, "Folder of T5, for weights that were trained with it."
)


def check_weights() -> None:
    """Raises UserError if a file of --weights, --video_tokenizer, --audio_tokenizer or --lora
    cannot be read.

    Loading would report it too, but later, so call this first.
    """
    for flag in (WEIGHTS, VIDEO_TOKENIZER, AUDIO_TOKENIZER):
        check_input(
            flag.name, flag.value, "a .safetensors file, or nothing for the shipped weights"
        )
    check_input("lora", LORA.value, "a file that experiments.train wrote with --config.adapt")


def load() -> "Pipeline":
    """Returns the `Pipeline` that the flags select; its compiled programs are cached on disk.

    Raises:
        UserError: a file cannot be read, or the model and the tokenizers do not fit each other.
    """
    # It loads JAX; flags are checked before.
    from sora_jax.pipelines.load import load_pipeline

    logging.set_verbosity(logging.WARNING)
    files = (WEIGHTS.value, VIDEO_TOKENIZER.value, AUDIO_TOKENIZER.value, LORA.value)
    return load_pipeline(*files, text_encoder=TEXT_ENCODER.value)


def sampler() -> "SamplerConfig":
    """Returns the `SamplerConfig` that the flags select. Raises UserError if --sampler is
    unknown.
    """
    from sora_jax.flow import guidance, sampler  # loads JAX, as in `load`

    sampler.SAMPLERS[SAMPLER.value]  # reports an unknown name before anything is loaded

    text = GUIDANCE.value
    if text is None:
        text = 1.0 if SAMPLER.value == "shortcut" else 2.0
    of_modalities = text, GUIDANCE_VIDEO.value, GUIDANCE_AUDIO.value
    scales = guidance.Guidance(*of_modalities, GUIDANCE_COUPLE.value, GUIDANCE_REFERENCE.value)
    return sampler.SamplerConfig(SAMPLER.value, STEPS.value, guidance=scales)
