"""A clip made anew from another: a remix keeps what its strength leaves, and an edit all other
shots.
"""

import dataclasses

import numpy as np
import pytest
from toy_formats import STORY

from sora_jax.clip import as_floats
from sora_jax.errors import UserError
from sora_jax.evaluation.measuring import request_of
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.oracles import examples
from sora_jax.pipelines import synthesis, windows
from sora_jax.pipelines.request import Request
from sora_jax.worlds.playhouse.draw import draw

SAMPLER = SamplerConfig(steps=4)
PROMPT, OTHER = "a large red ball is dropped", "a small blue ball rolls to the left"


def request(prompt=PROMPT, **fields):
    return Request(prompt, sampler=SAMPLER, **fields)


@pytest.fixture(scope="module")
def clip(pipeline):
    return pipeline.generate(request())


@pytest.fixture(scope="module")
def story(pipeline):
    return pipeline.in_format(shots=2)


@pytest.fixture(scope="module")
def told(story):
    return story.generate(request())


def test_a_remix_starts_at_its_strength(pipeline, clip, monkeypatch):
    seen, sample = {}, synthesis.sample

    def spy(model, keys, shapes, start, given, *rest):
        seen.update(start=start, given=given)
        return sample(model, keys, shapes, start, given, *rest)

    monkeypatch.setattr(synthesis, "sample", spy)
    remix = pipeline.generate(request(OTHER, seed=5, remixed=clip, strength=0.3))
    for m, x in clip.latents.items():
        np.testing.assert_allclose(seen["start"][m], 0.3, atol=1e-7)
        np.testing.assert_array_equal(seen["given"][m][0], x)
        assert np.abs(remix.latents[m] - x).mean() > 1e-3
    assert remix.provenance["sources"] == [clip.provenance]
    assert "added to a clip" not in remix.verdict["reason"]  # the prompt describes all of it
    # the whole way is a clip of its own
    whole = pipeline.generate(request(OTHER, seed=5, remixed=clip, strength=1.0))
    fresh = pipeline.generate(request(OTHER, seed=5))
    for m, x in fresh.latents.items():
        np.testing.assert_allclose(whole.latents[m], x, atol=1e-4)
        assert np.abs(remix.latents[m] - x).mean() > 1e-3


@pytest.mark.parametrize("number", [1, 2])
def test_an_edit_keeps_the_other_shots(story, told, number):
    edit = story.generate(request(OTHER, seed=5, edited=told, edit_shot=number))
    inside = STORY.frame_shots() == number - 1
    np.testing.assert_array_equal(edit.frames[~inside], told.frames[~inside])
    assert np.abs(edit.frames[inside] - told.frames[inside]).mean() > 1e-3
    shots = STORY.latent_shots()
    for m, x in edit.latents.items():
        kept = shots[m] != number - 1
        np.testing.assert_array_equal(x[kept], told.latents[m][kept])
        assert np.abs(x[~kept] - told.latents[m][~kept]).mean() > 1e-3
    cut, seam = 9 * 2000, windows.SEAM
    outside = slice(cut + seam, None) if number == 1 else slice(0, cut - seam)
    np.testing.assert_array_equal(edit.samples[outside], told.samples[outside])
    assert np.abs(edit.samples - told.samples).max() > 1e-3


def test_the_suite_of_edits_gives_the_other_shots(story):
    frames = np.random.default_rng(0).random((STORY.frames, 16, 16, 3), np.float32)
    silence = np.zeros(STORY.samples, np.float32)
    clip = examples.example(draw("val", 3, family="story_2"), frames, silence, STORY)
    asked = request_of(clip, "edited", 3, SAMPLER, story)
    assert asked.prompt == clip.take.captions[0]
    made = story.generate(dataclasses.replace(asked, prompt=PROMPT))
    changed = np.abs(made.frames - clip.frames).max((1, 2, 3)) > 0
    assert changed[9:].all() and not changed[:9].any()


def test_files_are_remixed_and_edited_in_their_own_format(pipeline, told, clip, tmp_path):
    path = told.save(tmp_path / "story.mp4")
    edit = pipeline(OTHER, edited=path, edit_shot=2, steps=2, progress=False)
    assert edit.format == STORY
    np.testing.assert_array_equal(
        edit.frames[:9], np.round(as_floats(told.frames, "") * 255)[:9].astype(np.float32) / 255
    )
    (tmp_path / "story.latents.npz").unlink()
    story = pipeline.in_format(shots=2)
    fields = {"prompt": OTHER, "edited": str(path), "edit_shot": 2}
    read, notes = story.read_request(fields)
    assert read.edited.format == STORY and any("was encoded" in note for note in notes)
    # a longer file is cut to the length of the format
    longer = pipeline.generate(request(continued=clip, seconds=1.0)).save(tmp_path / "long.mp4")
    remix = pipeline(OTHER, remixed=longer, strength=0.3, steps=2, progress=False)
    assert remix.format == pipeline.format


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"strength": 0.0}, "above 0 and at most 1"),
        ({"strength": 1.5}, "above 0 and at most 1"),
        ({"strength": np.nan}, "above 0 and at most 1"),
        ({"edit_shot": 1}, "needs a clip of several shots"),
        ({"seconds": 3.0}, "give continued, preceded"),
    ],
)
def test_what_cannot_be_is_refused(pipeline, clip, fields, message):
    with pytest.raises(UserError, match=message):
        pipeline.generate(request(remixed=clip, **fields))


def test_formats_must_fit(pipeline, story, clip, told):
    with pytest.raises(UserError, match="give a pipeline of the same format"):
        story.generate(request(remixed=clip))
    with pytest.raises(UserError, match="has 1 shot; give it as remixed instead"):
        pipeline.generate(request(edited=clip, edit_shot=1))
    with pytest.raises(UserError, match="has 2 shots; give 1 to 2"):
        story.generate(request(edited=told, edit_shot=3))
    with pytest.raises(UserError, match=r"strength=0\.3 is that of a remix"):
        pipeline.generate(request(strength=0.3))


def test_a_request_is_written_and_read(pipeline, clip, tmp_path):
    path = clip.save(tmp_path / "clip.mp4")
    fields = {"prompt": OTHER, "seed": 7, "between": (path, str(path)), "seconds": 1.0}
    read, _ = pipeline.read_request(fields)
    written = read.to_dict()
    assert written["between"] == [str(path)] * 2 and written["sampler"]["steps"] == 30
    again = Request.from_dict(written, pipeline)
    assert again.to_dict() == written and again.sampler == read.sampler
    np.testing.assert_array_equal(again.between[1].frames, read.between[1].frames)
    plain = Request(OTHER, sampler=dataclasses.replace(SAMPLER, shift=2.0), any_words=True)
    assert Request.from_dict(plain.to_dict(), pipeline) == plain
    with pytest.raises(UserError, match="remixed was read from no file"):
        request(remixed=clip).to_dict()
    with pytest.raises(UserError, match="did you mean 'seed'"):
        Request.from_dict({"prompt": OTHER, "sed": 1}, pipeline)
