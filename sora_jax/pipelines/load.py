"""Loads pipelines from weights files."""

import os
from types import NoneType

from sora_jax import weights as weights_lib
from sora_jax.compat import check_platform, enable_compile_cache
from sora_jax.config import known_keywords
from sora_jax.data.t5_prompts import T5Prompts
from sora_jax.errors import UserError, expect
from sora_jax.lora import load_model
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.models.t5 import T5
from sora_jax.models.text_encoder import PromptEncoder, TextTokenizer
from sora_jax.pipelines.generate import Pipeline
from sora_jax.worlds.playhouse.captions import WORDS

Path = str | os.PathLike | None


@known_keywords
def load_pipeline(
    model: Path = None,
    video_tokenizer: Path = None,
    audio_tokenizer: Path = None,
    lora: Path = None,
    text_encoder: Path = None,
) -> Pipeline:
    """Loads a pipeline from weights files and enables the compilation cache on disk
    (`compat.enable_compile_cache`).

    Args:
        model: path of the model's weights. Default: the shipped `nano`.
        video_tokenizer: path of its weights. Default: the shipped one.
        audio_tokenizer: path of its weights. Default: the shipped one.
        lora: path of low-rank updates of the model's weights (`sora_jax.lora`). Default: none.
        text_encoder: folder of T5 (Raffel et al. 2019, arXiv:1910.10683), for a model that was
            trained with it. Default: none.

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
    flow = weights.metadata.get("run", {}).get("flow", {})
    shift = flow.get("timesteps", {}).get("shift", 1.0)
    fingerprints = {"model": weights.fingerprint, **tokenizers}
    return Pipeline(
        transformer,
        video,
        audio,
        text_tokenizer_of(weights, text_encoder),
        format,
        fingerprints,
        weights.config,
        shift,
        weights.metadata.get("data"),
        formats,
        flow.get("tasks"),
    )


def text_tokenizer_of(
    weights: weights_lib.Weights, text_encoder: str | os.PathLike | None = None
) -> PromptEncoder:
    """Returns the prompt encoder of a model: T5 (`T5Prompts`) if the model was trained with it,
    else a `TextTokenizer`.

    A `TextTokenizer` gives each word that the model's metadata list an id of its own, and hashes
    all other words into the remaining ids of the model's vocabulary.

    Args:
        weights: the model's weights.
        text_encoder: folder of T5, for a model that was trained with it. Default: none.

    Raises:
        UserError: the model was trained with T5 and none, or another one, is given; or the reverse.
    """
    card = weights.metadata
    if trained := card.get("text_encoder"):
        named = f"T5 {trained['fingerprint']} (folder {trained['name']})"
        if text_encoder is None:
            raise UserError(
                f"the model reads prompts through {named}; give that folder as text_encoder",
                field="text_encoder",
            )
        t5 = T5(text_encoder)
        if t5.fingerprint != trained["fingerprint"]:
            raise UserError(
                f"the model was trained with {named}, and {text_encoder} is {t5.fingerprint}; give "
                "the one it was trained with",
                field="text_encoder",
            )
        return T5Prompts(t5, card["text_length"])
    if text_encoder is not None:
        raise UserError(
            "the model embeds words itself; leave text_encoder out", field="text_encoder"
        )
    return TextTokenizer.of_vocabulary(
        card.get("words", WORDS), weights.config["vocabulary"], card.get("text_length", 64)
    )
