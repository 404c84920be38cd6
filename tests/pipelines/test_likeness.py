"""Characters of a request: who they are changes the clip, and what cannot be is refused."""

import copy
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from toy_weights import random_state

from sora_jax.characters.gate import Gate
from sora_jax.characters.records import Character, Records
from sora_jax.characters.verifier import Identity
from sora_jax.errors import UserError
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.models.st_dit import STDiT
from sora_jax.pipelines.generate import Pipeline
from sora_jax.pipelines.likeness import Likeness
from sora_jax.pipelines.request import Request
from sora_jax.worlds.playhouse.cast import catalogue
from sora_jax.worlds.playhouse.references import references

ROOT = Path(__file__).parents[2]
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
        ({"characters": {"uma": 1}, "prompt": "@uma waits"}, "give a Likeness"),
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


def test_nobody_is_shown_without_a_grant(cast, tmp_path):
    mika = likeness(3)
    assert mika.character == catalogue()[3]
    stranger = dataclasses.replace(mika, character=None)
    prompt, sampler = "@mika drops a red ball", SamplerConfig(steps=2)
    for request in (
        Request(prompt, sampler=sampler, characters={"mika": stranger}),
        Request(prompt, sampler=sampler, characters={"mika": Likeness(stranger.stills + 0.0)}),
    ):
        with pytest.raises(UserError, match="no consent to this likeness is recorded") as told:
            cast.generate(request)
        assert told.value.field == "characters" and "\n" not in str(told.value)
    identity = Identity((0.0,) * 20, 120.0, 1.0)
    record = Character("mika", "ann", stranger.fingerprint, identity)
    Records(tmp_path).add(record, stranger.stills, stranger.samples)
    admitted = copy.copy(cast)
    admitted.gate = Gate("ann", Records(tmp_path))
    shown = Likeness(*Records(tmp_path).references("mika"))
    admitted.check(Request(prompt, characters={"mika": shown}))
    admitted.in_format().gate.check(prompt, {"mika": shown})
    admitted.gate = Gate("bob", Records(tmp_path))
    with pytest.raises(UserError, match="@mika is not granted to you"):
        admitted.check(Request(prompt, characters={"mika": shown}))


def test_a_folder_is_believed_if_it_shows_whom_it_names(tmp_path):
    mika, rolo = (Likeness.of(references(catalogue()[i], 2)) for i in (3, 8))
    for name, shown, named in (("mika", mika, mika), ("rolo", rolo, mika)):
        shown.save(tmp_path / name)
        text = json.dumps(named.character.to_dict() | {"style": "flat"})
        (tmp_path / name / "character.json").write_text(text)
    assert Likeness.read(tmp_path / "mika").character == catalogue()[3]
    assert Likeness.read(tmp_path / "rolo").character is None
    for text in ("{}", "[]", "no JSON"):
        (tmp_path / "mika" / "character.json").write_text(text)
        assert Likeness.read(tmp_path / "mika").character is None


def test_a_folder_of_pictures_and_a_voice(tmp_path):
    mika = likeness(3)
    mika.save(tmp_path / "mika")
    dataclasses.replace(mika, samples=None).save(tmp_path / "mute")
    assert Likeness.read(tmp_path / "mute", SIZE).samples is None
    read = Likeness.read(tmp_path / "mika", SIZE)
    np.testing.assert_allclose(read.stills, mika.stills, atol=1 / 250)
    np.testing.assert_allclose(read.samples, mika.samples, atol=1e-3)
    (tmp_path / "mika" / "left.png").unlink()
    with pytest.raises(UserError, match=r"has no left\.png; give a folder with front\.png"):
        Likeness.read(tmp_path / "mika", SIZE)


def test_the_command_draws_a_sheet(tmp_path):
    def run(*flags):
        command = [
            sys.executable,
            "-m",
            "experiments.cast",
            f"--output={tmp_path / 'mika'}",
            *flags,
        ]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    lost = run("--part=held_out", "--index=64")
    assert lost.returncode == 2 and "the part held_out has 64 of kind person" in lost.stderr
    assert not (tmp_path / "mika").exists()
    done = run("--part=held_out", "--index=63", f"--size={SIZE}")
    assert done.returncode == 0 and "person 63 of held_out, in style" in done.stdout, done.stderr
    assert Likeness.read(tmp_path / "mika", SIZE).samples is not None
    numbers = json.loads((tmp_path / "mika" / "character.json").read_text())
    assert numbers["voice"]["pitch"] > 50 and numbers["words"]
    assert (tmp_path / "mika" / "sheet.png").stat().st_size > 10_000
