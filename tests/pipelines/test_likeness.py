"""Characters of a request: who they are changes the clip, and what cannot be is refused."""

import dataclasses
import wave

import numpy as np
import pytest
from conftest import random_state
from flax import nnx
from PIL import Image

from sora_jax.errors import UserError
from sora_jax.models.st_dit import STDiT
from sora_jax.pipelines.generate import Pipeline
from sora_jax.pipelines.likeness import Likeness
from sora_jax.worlds.playhouse.cast import catalogue
from sora_jax.worlds.playhouse.references import references

SIZE, PROMPT = 16, "@mika drops a red ball and @rolo drops a blue ball"


def likeness(index, seed=0, voice=True):
    found = Likeness.of(references(catalogue()[index], seed, size=SIZE))
    return found if voice else dataclasses.replace(found, samples=None)


@pytest.fixture(scope="module")
def cast(pipeline):
    """A pipeline whose model knows two characters."""
    config = dataclasses.replace(pipeline.model.config, references=2)
    model = nnx.merge(
        nnx.split(nnx.eval_shape(lambda: STDiT(config, nnx.Rngs(0))))[0],
        random_state(lambda: STDiT(config, nnx.Rngs(0)), 2),
    )
    tokenizers = (pipeline.video_tokenizer, pipeline.audio_tokenizer, pipeline.text_tokenizer)
    return Pipeline(model, *tokenizers, format=pipeline.format)


def made(pipeline, prompt=PROMPT, **fields):
    return pipeline(prompt, steps=2, progress=False, **fields)


def test_who_they_are_changes_the_clip(cast):
    mika, rolo = likeness(3), likeness(8)
    clip = made(cast, characters={"mika": mika, "rolo": rolo})
    again = made(cast, characters={"mika": mika, "rolo": rolo})
    np.testing.assert_array_equal(clip.latents["video"], again.latents["video"])
    others = (
        {"mika": rolo, "rolo": mika},
        {"mika": dataclasses.replace(mika, samples=None), "rolo": rolo},
        {"mika": likeness(4), "rolo": rolo},
    )
    for other in others:
        for m, x in made(cast, characters=other).latents.items():
            assert np.abs(x - clip.latents[m]).max() > 1e-3
    assert clip.provenance["characters"] == {"mika": mika.fingerprint, "rolo": rolo.fingerprint}
    assert mika.fingerprint != rolo.fingerprint


def test_a_clip_of_a_batch_is_that_of_its_own_request(cast):
    from sora_jax.flow.sampler import SamplerConfig
    from sora_jax.pipelines.request import Request

    sampler = SamplerConfig(steps=2)
    both = Request(PROMPT, sampler=sampler, characters={"mika": likeness(3), "rolo": likeness(8)})
    one = Request("@uma drops a red ball", sampler=sampler, characters={"uma": likeness(5)})
    none = Request("a red ball is dropped", sampler=sampler)
    for request, clip in zip(
        (both, one, none), cast.generate_batch([both, one, none]), strict=True
    ):
        alone = cast.generate(request)
        np.testing.assert_allclose(clip.latents["video"], alone.latents["video"], atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"characters": {"uma": "uma"}, "prompt": "@uma waits"}, "give a Likeness"),
        ({"characters": ["uma"]}, "characters is a list"),
        ({"characters": {}}, "no reference shows who @mika is"),
        ({"characters": {"mika": likeness(0)}}, "no reference shows who @rolo is"),
        ({"characters": {"uma": likeness(0)}}, "the prompt does not name @uma"),
        (
            {"characters": {n: likeness(0) for n in ("mika", "rolo", "uma")}},
            "3 characters, and the model shows at most 2; leave out uma",
        ),
        (
            {"characters": {"uma": Likeness(np.zeros((4, 8, 8, 3)))}, "prompt": "@uma waits"},
            r"stills of @uma have the shape \(4, 8, 8, 3\); give \(4, 16, 16, 3\)",
        ),
    ],
)
def test_what_cannot_be_is_refused(cast, fields, said):
    with pytest.raises(UserError, match=said) as told:
        made(cast, **fields)
    assert "\n" not in str(told.value) and told.value.field == "characters"


def test_a_model_without_references_says_so(pipeline):
    with pytest.raises(UserError, match="this model learned no references of characters"):
        made(pipeline, "@mika drops a red ball", characters={"mika": likeness(0)})


def test_a_folder_of_pictures_and_a_voice(tmp_path):
    mika = likeness(3)
    for name, still in zip(("front", "left", "right", "blink"), mika.stills, strict=True):
        Image.fromarray(np.round(255 * still).astype(np.uint8)).save(tmp_path / f"{name}.png")
    assert Likeness.read(tmp_path, SIZE).samples is None
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.round(32767 * mika.samples).astype("<i2").tobytes())
    read = Likeness.read(tmp_path, SIZE)
    np.testing.assert_allclose(read.stills, mika.stills, atol=1 / 250)
    np.testing.assert_allclose(read.samples, mika.samples, atol=1e-3)
    (tmp_path / "left.png").unlink()
    with pytest.raises(UserError, match=r"has no left\.png; give a folder with front\.png"):
        Likeness.read(tmp_path, SIZE)
