"""What is kept beside a clip, so that it can be continued without leaving latent space.

`clip.mp4` is for people; `clip.latents.npz` holds its latents, the video decoder's state after the
last of them, its frames before h264 and its samples before aac. It is used when it belongs to the
mp4 (both carry the digest of the latents) and was made by the tokenizers at hand (their
fingerprints); else the mp4 is encoded, once, and the clip's notes say why.
"""

import dataclasses
import hashlib
import json
import os
import zipfile
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax import media
from sora_jax.files import replacing
from sora_jax.modality import ClipFormat
from sora_jax.pipelines.generate import Generated, Pipeline, decode_chunk

VERSION = 1
TOKENIZERS = ("video_tokenizer", "audio_tokenizer")


def sidecar_path(clip_path: str | os.PathLike) -> Path:
    """clip.mp4 -> clip.latents.npz, beside it."""
    return Path(clip_path).with_suffix(".latents.npz")


def digest(latents: dict[str, np.ndarray]) -> str:
    """12 hex digits of the sha256 of a clip's latents: what ties a sidecar to its mp4."""
    sha = hashlib.sha256()
    for name in sorted(latents):
        sha.update(np.ascontiguousarray(latents[name], np.float32).tobytes())
    return sha.hexdigest()[:12]


def save(path: str | os.PathLike, clip: Generated) -> None:
    """Write a clip's sidecar; `path` holds it whole or not at all.

    Raises UserError where it cannot be written.
    """
    head = {"version": VERSION, "format": clip.format.to_dict(), "provenance": clip.provenance}
    leaves = [] if clip.cache is None else jax.tree.leaves(clip.cache)
    arrays = {f"latents_{name}": np.asarray(x, np.float32) for name, x in clip.latents.items()}
    arrays |= {f"cache_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    arrays |= {
        "frames": media.to_uint8(clip.frames),
        "samples": np.asarray(clip.samples, np.float32),
    }
    # a file: numpy would add .npz to a name
    with replacing(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, head=np.array(json.dumps(head)), **arrays)


def load(
    path: str | os.PathLike, pipeline: Pipeline, expected: str | None
) -> tuple[Generated | None, str]:
    """The clip in a sidecar, or None and the reason. expected: the digest that its mp4 carries."""
    path = Path(path)
    if not path.is_file():
        return None, "no latents are kept beside it"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        head = json.loads(str(arrays["head"]))
        latents = {name: arrays[f"latents_{name}"] for name in ("video", "audio")}
        form, provenance = ClipFormat(**head["format"]), head["provenance"]
        frames, samples = arrays["frames"].astype(np.float32) / 255, arrays["samples"]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        return None, f"the latents kept beside it cannot be read ({type(error).__name__})"
    if head.get("version") != VERSION:
        return None, "the latents kept beside it are of another version"
    if digest(latents) != expected:
        return None, "the latents kept beside it belong to another clip"
    if not all(np.isfinite(x).all() for x in latents.values()):
        return None, "the latents kept beside it are not finite numbers"
    for name in TOKENIZERS:
        if provenance.get(name) != pipeline.fingerprints.get(name):
            return (
                None,
                f"the latents kept beside it were made with another {name.replace('_', ' ')}",
            )
    if (form.fps, form.size) != (pipeline.format.fps, pipeline.format.size):
        return None, "the latents kept beside it are of another format"
    cache = _cache(arrays, pipeline, latents["video"])
    clip = Generated(
        frames,
        samples,
        form.fps,
        format=form,
        latents=latents,
        cache=cache,
        provenance=provenance,
    )
    return clip, ""


def _cache(arrays, pipeline, latents):
    """The decoder's state, or None if this decoder's has another shape: it is then made anew from
    the latents.
    """
    like = jax.eval_shape(
        decode_chunk, pipeline.video_tokenizer, jnp.zeros((1, *latents.shape)), None
    )[1]
    leaves, structure = jax.tree.flatten(like)
    kept = [arrays.get(f"cache_{i}") for i in range(len(leaves))]
    if any(
        leaf is None or leaf.shape != want.shape or leaf.dtype != want.dtype
        for leaf, want in zip(kept, leaves)
    ):
        return None
    return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in kept])


def open_clip(path: str | os.PathLike, pipeline: Pipeline) -> Generated:
    """A clip from an mp4: from its sidecar if that fits, else encoded; notes say which.

    Raises UserError if unreadable.
    """
    stated = media.read_metadata(path)
    clip, reason = load(sidecar_path(path), pipeline, stated.get("latents"))
    if clip is not None:
        return dataclasses.replace(
            clip, notes=(f"continued from the latents kept beside {Path(path).name}",)
        )
    fps = pipeline.format.fps
    whole = media.read_video(path, short_side=2 * pipeline.format.size)
    frames = max(1, round(whole.seconds * fps))
    group = pipeline.format.frames_per_latent
    extra = (frames - 1) % group
    notes = [f"{Path(path).name} was encoded: {reason}"]
    if extra:
        notes.append(f"its first {extra} frames are left out: a clip has 1 + {group}k")
        whole = media.read_video(path, start=extra / fps, short_side=2 * pipeline.format.size)
    form = dataclasses.replace(pipeline.format, frames=frames - extra)
    fitted = media.fit_clip(whole, form)
    samples = np.zeros(form.samples, np.float32) if fitted.samples is None else fitted.samples
    latents = pipeline.encode(fitted.frames, samples)
    provenance = {
        "file": Path(path).name,
        **{k: stated[k] for k in ("prompt", "seed", "model") if k in stated},
    }
    return Generated(
        fitted.frames,
        samples,
        form.fps,
        notes=(*notes, *fitted.notes),
        format=form,
        latents=latents,
        provenance=provenance,
    )
