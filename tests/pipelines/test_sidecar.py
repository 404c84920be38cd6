"""What is kept beside a clip is used when it fits, and else the file is encoded, which is said."""

import dataclasses
import json

import numpy as np
import pytest

from sora_jax import mp4
from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.pipelines import sidecar
from sora_jax.pipelines.continuation import open_clip
from sora_jax.pipelines.generate import Pipeline
from sora_jax.pipelines.request import Request

SAMPLER = SamplerConfig(steps=2)


@pytest.fixture(scope="module")
def clip(pipeline):
    return pipeline.generate(Request("a large red ball is dropped", sampler=SAMPLER))


def write(folder, clip):
    path = folder / "clip.mp4"
    mp4.write_mp4(
        path,
        clip,
        clip.provenance | {"latents": sidecar.digest(clip.latents)},
    )
    sidecar.save(sidecar.sidecar_path(path), clip)
    return path


def altered(pipeline, **fingerprints):
    return Pipeline(
        pipeline.model,
        pipeline.video_tokenizer,
        pipeline.audio_tokenizer,
        pipeline.text_tokenizer,
        pipeline.format,
        pipeline.fingerprints | fingerprints,
    )


def test_two_extensions_never_leave_latent_space(pipeline, clip, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a clip made here was encoded")

    monkeypatch.setattr(Pipeline, "encode", refuse)
    read = open_clip(write(tmp_path, clip), pipeline)
    assert "opened from the latents" in read.notes[0]
    for name in clip.latents:
        np.testing.assert_array_equal(read.latents[name], clip.latents[name])
    np.testing.assert_allclose(read.frames, clip.frames, atol=0.5 / 255 + 1e-6)
    once = pipeline.generate(Request(continued=read, seconds=1, sampler=SAMPLER))
    direct = pipeline.generate(Request(continued=clip, seconds=1, sampler=SAMPLER))
    # the cache on disk is the cache
    np.testing.assert_array_equal(once.frames[17:], direct.frames[17:])
    read = open_clip(write(tmp_path / "again", once), pipeline)
    twice = pipeline.generate(Request(continued=read, seconds=1, sampler=SAMPLER))
    np.testing.assert_array_equal(twice.latents["video"][:5], clip.latents["video"])
    assert (
        twice.provenance["continued_from"]["continued_from"]["prompt"]
        == "a large red ball is dropped"
    )


def test_the_cache_is_read_not_made_anew(pipeline, clip, tmp_path):
    read = open_clip(write(tmp_path, clip), pipeline)
    assert read.cache is not None
    moved = dataclasses.replace(clip, cache=[leaf + 1 for leaf in clip.cache])
    moved = open_clip(write(tmp_path / "moved", moved), pipeline)
    a, b = (
        pipeline.generate(Request(continued=c, seconds=0.5, sampler=SAMPLER)).frames[17:]
        for c in (read, moved)
    )
    assert np.abs(a - b).max() > 1e-3


@pytest.mark.parametrize(
    "case",
    [
        *("missing", "damaged", "not finite", "other clip", "a format of tomorrow"),
        *("video tokenizer", "audio tokenizer"),
    ],
)
def test_a_clip_whose_latents_do_not_fit_is_encoded(pipeline, clip, tmp_path, case):
    path, used = write(tmp_path, clip), pipeline
    kept = sidecar.sidecar_path(path)
    reasons = {
        "missing": "there are no latents beside it",
        "damaged": "cannot be read",
        "other clip": "belong to another clip",
        "a format of tomorrow": "cannot be read (ValueError)",
    }
    reason = reasons.get(case, case)
    if case == "missing":
        kept.unlink()
    elif case == "damaged":
        kept.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
    elif case == "not finite":
        latents = {m: np.full_like(x, np.nan) for m, x in clip.latents.items()}
        mp4.write_mp4(path, clip, {"latents": sidecar.digest(latents)})
        sidecar.save(kept, dataclasses.replace(clip, latents=latents))
    elif case == "a format of tomorrow":
        with np.load(kept) as file:
            arrays = dict(file)
        head = json.loads(str(arrays["head"]))
        head["format"]["tomorrow"] = 3
        arrays["head"] = np.array(json.dumps(head))
        np.savez(kept, **arrays)
    elif case == "other clip":
        sidecar.save(
            kept, dataclasses.replace(clip, latents={m: x + 1 for m, x in clip.latents.items()})
        )
    else:
        used = altered(pipeline, **{case.replace(" ", "_"): "0" * 12})
    read = open_clip(path, used)
    assert "clip.mp4 was encoded" in read.notes[0] and reason in read.notes[0]
    assert read.latents["video"].shape == clip.latents["video"].shape
    # noise, which h264 blurs
    assert np.corrcoef(read.frames.ravel(), clip.frames.ravel())[0, 1] > 0.5
    longer = used.generate(Request(continued=read, seconds=1, sampler=SAMPLER))
    assert len(longer.frames) == 25


def test_another_model_may_continue_a_clip(pipeline, clip, tmp_path):
    read = open_clip(write(tmp_path, clip), altered(pipeline, model="0" * 12))
    assert "opened from the latents" in read.notes[0]


def test_a_file_of_any_length_and_size_is_continued(pipeline, tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (60, 30, 44, 3), np.uint8)
    mp4.write_mp4(tmp_path / "own.mp4", Clip(frames, None, 30))
    read = open_clip(tmp_path / "own.mp4", pipeline)
    # 2 s = 16 frames = 3 + 13
    assert read.format.frames == 13 and any("first 3 frames" in note for note in read.notes)
    assert (
        len(pipeline.generate(Request(continued=read, seconds=0.5, sampler=SAMPLER)).frames) == 17
    )
    (tmp_path / "text.mp4").write_text("not a clip")
    for name in ("text.mp4", "absent.mp4"):
        with pytest.raises(UserError, match="cannot read"):
            open_clip(tmp_path / name, pipeline)


def test_nothing_half_written(clip, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        sidecar.save(tmp_path / "file" / "clip.latents.npz", clip)
    sidecar.save(tmp_path / "clip.latents.npz", clip)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.latents.npz", "file"]
