"""References of a cast, from the world through both tokenizers into a set of latents."""

import jax
import numpy as np
import pytest
from flax import nnx

from sora_jax import config
from sora_jax.data.encode import encoder, reference_encoder
from sora_jax.data.latents import loader
from sora_jax.data.latents.precompute import precompute
from sora_jax.data.sources import PlayhouseSource
from sora_jax.modality import ClipFormat
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.tokenizers.audio import AudioTokenizer, AudioTokenizerConfig
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig
from sora_jax.training import latent_set
from sora_jax.training.program import batch_shapes
from sora_jax.training.run import Run
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.references import cast_references

FORMAT = ClipFormat(frames=9, fps=16, height=32, width=32)
NONE = {"encoder_fine": 0, "encoder_coarse": 0, "decoder_coarse": 0, "decoder_fine": 0}


@pytest.fixture(scope="module")
def tokenizers():
    video = VideoTokenizer(VideoTokenizerConfig(8, 8, **NONE), rngs=nnx.Rngs(0))
    return video, AudioTokenizer(AudioTokenizerConfig(width=16), rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def takes():
    return [draw("train", i, family="talk") for i in range(6)]


def test_references_are_those_of_the_cast(takes):
    cast = cast_references(takes, 2, 32)
    again = cast_references(takes[2:3], 2, 32)
    for name in ("stills", "voices", "present", "heard"):
        np.testing.assert_array_equal(cast[name][2:3], again[name])
    for i, take in enumerate(takes):
        count = len(take.scene.cast)
        assert cast["names"][i] == [actor.name for actor in take.scene.cast]
        np.testing.assert_array_equal(cast["present"][i], np.arange(2) < count)
        assert cast["stills"][i, :count].std() > 0.05 and not cast["stills"][i, count:].any()
        assert np.abs(cast["voices"][i, :count]).max() > 0.05
    assert {len(take.scene.cast) for take in takes} == {1, 2}


def test_latents_of_references_are_those_of_their_pictures_and_voices(takes, tokenizers):
    cast = cast_references(takes[:3], 2, 32)
    encoded = reference_encoder(*tokenizers)(cast, 4)
    video, audio = tokenizers
    still = video.encode(cast["stills"][1, 0, 2][None, None])[0, 0]
    np.testing.assert_allclose(encoded["stills"][1, 0, 2], still, atol=1e-4)
    voice = audio.encode(cast["voices"][1, 0][None])[0]
    np.testing.assert_allclose(encoded["voices"][1, 0], voice, atol=1e-4)
    assert encoded["stills"].shape == (3, 2, 4, 4, 4, 16) and encoded["names"] == cast["names"]


def test_a_set_of_latents_holds_them(tmp_path, tokenizers, takes):
    source = PlayhouseSource("train", FORMAT, 6, batch_size=4, family="talk", references=True)
    made = precompute(source, *tokenizers, tmp_path / "set", {"video_tokenizer": "a"})
    assert made["references"] == 2
    text = TextTokenizer(FAMILIES["talk"].words, length=48)
    batch = loader.batches(tmp_path / "set", text, 6, seed=0, shuffle=False)[0]
    encoded = reference_encoder(*tokenizers)(cast_references(takes, 2, 32), 6)
    for name in ("stills", "voices"):
        np.testing.assert_allclose(batch["references"][name], encoded[name], atol=2e-2)
    np.testing.assert_array_equal(batch["references"]["present"], encoded["present"])
    words = {number: word for word, number in text.ids.items()}
    for row, slots, take in zip(batch["tokens"], batch["text_slots"], takes, strict=True):
        named = {(words[t], int(s)) for t, s in zip(row, slots, strict=True) if s}
        assert named == {(actor.name, i + 1) for i, actor in enumerate(take.scene.cast)}
        unnamed = [words.get(t) for t, s in zip(row, slots, strict=True) if t and not s]
        assert not {actor.name for actor in take.scene.cast} & set(unnamed)


def test_a_set_on_the_device_holds_the_same(tmp_path, tokenizers):
    """`latent_set.fill` gives the batches that a set in a folder gives, and fits its shapes."""
    source = PlayhouseSource("train", FORMAT, 6, batch_size=4, family="talk", references=True)
    text = TextTokenizer(FAMILIES["talk"].words, length=48)
    precompute(source, *tokenizers, tmp_path / "set", {"video_tokenizer": "a"})
    stored = loader.batches(tmp_path / "set", text, 6, seed=0, shuffle=False)[0]
    encode, refer = encoder(*tokenizers, FORMAT), reference_encoder(*tokenizers)
    resident = latent_set.fill(source(), encode, text, 6, progress=False, refer=refer)
    batch = latent_set.gather(resident, np.arange(6), np.zeros(6, np.int32))
    assert set(batch["references"]) == set(stored["references"])
    for name, x in stored["references"].items():
        np.testing.assert_allclose(batch["references"][name], x, atol=1e-3)
    named = [set(map(int, row)) - {0} for row in batch["text_slots"]]
    assert named == [set(map(int, row)) - {0} for row in stored["text_slots"]]
    data = {"sets": ({"family": "talk", "height": 32, "width": 32, "seconds": 0.5},)}
    model = {"references": 2, "width": 16, "heads": 1}
    run = config.from_dict(Run, {"data": data | {"text_length": 48}, "model": model})
    shapes = latent_set.shapes(
        batch_shapes(run.model, FORMAT, 6, 48, 2), 6, resident.tokens.shape[1]
    )
    assert jax.tree.structure(shapes) == jax.tree.structure(resident)
    for expected, x in zip(jax.tree.leaves(shapes), jax.tree.leaves(resident), strict=True):
        assert (expected.shape, expected.dtype) == (x.shape, x.dtype)
    plain = latent_set.fill(source(), encode, text, 6, progress=False)
    assert plain.references == {} and not plain.text_slots.any()


def test_families_without_a_cast_have_none():
    source = PlayhouseSource("val", FORMAT, 2, references=True)
    assert "references" not in source.identity and "references" not in next(source(0))
    plain = PlayhouseSource("val", FORMAT, 2, family="talk")
    assert "references" not in plain.identity and "references" not in next(plain(0))
