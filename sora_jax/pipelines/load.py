"""Loads pipelines from weights files."""

import os
from types import NoneType

from sora_jax import weights as weights_lib
from sora_jax.compat import check_platform, enable_compile_cache
from sora_jax.errors import UserError, expect
from sora_jax.lora import load_model
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.pipelines.generate import Pipeline
from sora_jax.worlds.playhouse.captions import WORDS

Path = str | os.PathLike | None


def load_pipeline(
    model: Path = None,
    video_tokenizer: Path = None,
    audio_tokenizer: Path = None,
    lora: Path = None,
) -> Pipeline:
    """Loads a pipeline from weights files and enables the compilation cache on disk
    (`compat.enable_compile_cache`).

    Args:
        model: path of the model's weights. Default: the shipped `nano`.
        video_tokenizer: path of its weights. Default: the shipped one.
        audio_tokenizer: path of its weights. Default: the shipped one.
        lora: path of low-rank updates of the model's weights (`sora_jax.lora`). Default: none.

    Raises:
        UserError: a file is missing or not from this project, the files do not match each other,
            or the platform of JAX_PLATFORMS is absent.
    """
    paths = (model, video_tokenizer, audio_tokenizer, lora)
    names = ("model", "video_tokenizer", "audio_tokenizer", "lora")
    for name, path in zip(names, paths, strict=True):
        expect(path, (str, os.PathLike, NoneType), name, "give the path of a file of weights")
    check_platform()
    enable_compile_cache()
    transformer, weights = load_model(model, lora)
    video, video_weights = weights_lib.load_video_tokenizer(video_tokenizer)
    audio, audio_weights = weights_lib.load_audio_tokenizer(audio_tokenizer)
    tokenizers = {
        "video_tokenizer": video_weights.fingerprint,
        "audio_tokenizer": audio_weights.fingerprint,
    }
    latents = {"video_tokenizer": video_weights.latents, "audio_tokenizer": audio_weights.latents}
    for name, fingerprint in tokenizers.items():
        expected = weights.metadata.get("tokenizers", {}).get(name, fingerprint)
        if expected not in (fingerprint, latents[name]):
            remedy = f"give the one it was trained with as {name}, or retrain it"
            raise UserError(
                f"the model was trained on latents of the {name} {expected}, and {fingerprint} "
                f"is loaded; {remedy}"
            )
    card = weights.metadata
    named = card.get("formats") or [card.get("format", "nano")]
    formats = [FORMATS[one] if isinstance(one, str) else ClipFormat.from_dict(one) for one in named]
    format = formats[0]
    if video.config.frames_per_latent != format.frames_per_latent:
        raise UserError(
            f"the video tokenizer has {video.config.frames_per_latent} frames to a latent, and "
            "the model was trained with "
            f"{format.frames_per_latent}; give the one it was trained with as video_tokenizer"
        )
    shift = weights.metadata.get("run", {}).get("flow", {}).get("timesteps", {}).get("shift", 1.0)
    fingerprints = {"model": weights.fingerprint, **tokenizers}
    return Pipeline(
        transformer,
        video,
        audio,
        text_tokenizer_of(weights),
        format,
        fingerprints,
        weights.config,
        shift,
        weights.metadata.get("data"),
        formats,
    )


def text_tokenizer_of(weights: weights_lib.Weights) -> TextTokenizer:
    """Returns the text tokenizer that a model was trained with.

    Its known words are in the model's metadata. All other words are hashed into the rest of the
    model's vocabulary, a number of ids.
    """
    card = weights.metadata
    return TextTokenizer.of_vocabulary(
        card.get("words", WORDS), weights.config["vocabulary"], card.get("text_length", 64)
    )
