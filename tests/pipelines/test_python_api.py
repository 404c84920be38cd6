"""The pipeline as a notebook uses it: the same clips and files as the commands make."""

import dataclasses
import json
import re
import subprocess
import sys
import textwrap

import av
import numpy as np
import pytest
from PIL import Image

import sora_jax
from sora_jax import mp4
from sora_jax.errors import UserError
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.pipelines.continuation import open_clip
from sora_jax.pipelines.request import Request

PROMPT = "a large red ball is dropped and bounces twice"


@pytest.fixture(scope="module")
def clip(pipeline):
    return pipeline(PROMPT, seed=3, steps=2, progress=False)


def test_a_call_is_a_request(pipeline, clip):
    sampler = SamplerConfig(steps=2, guidance=Guidance(text=2.0))
    same = pipeline.generate(Request(PROMPT, seed=3, sampler=sampler))
    np.testing.assert_array_equal(clip.frames, same.frames)
    np.testing.assert_array_equal(clip.samples, same.samples)
    assert clip.provenance == same.provenance and clip.family == "room"


def test_a_call_takes_the_fields_of_a_request(pipeline, clip, capsys):
    sampler = SamplerConfig(steps=1)
    other = pipeline(PROMPT, first_frame=clip.frames[0], sampler=sampler)
    assert other.provenance["task"] == "first_frame"
    assert other.provenance["sampler"]["steps"] == 1
    assert PROMPT in capsys.readouterr().err  # the bar
    with pytest.raises(UserError, match=r"first_fram.*first_frame"):
        pipeline(PROMPT, first_fram=clip.frames[0])


def test_save_writes_what_sample_writes(pipeline, clip, tmp_path):
    assert clip.save(tmp_path / "out.mp4") == tmp_path / "out.mp4"
    assert open_clip(tmp_path / "out.mp4", pipeline).family == "room"
    report = json.loads((tmp_path / "out.json").read_text())
    assert {p.name for p in tmp_path.iterdir()} == {
        f"out{suffix}" for suffix in (".mp4", ".png", ".json", ".latents.npz")
    }
    assert report["prompt"] == PROMPT and report["verdict"] == clip.verdict
    assert mp4.read_metadata(tmp_path / "out.mp4")["prompt"] == PROMPT
    with pytest.raises(UserError, match=r"give a path that ends in \.mp4"):
        clip.save(tmp_path / "out.gif")


def test_a_notebook_shows_player_sheet_and_facts(clip):
    html = clip._repr_html_()
    assert re.search(r'<video controls[^>]* src="data:video/mp4;base64,[A-Za-z0-9+/=]{500}', html)
    assert re.search(r'<img [^>]*src="data:image/png;base64,iVBOR', html)
    assert "prompt" in html and "red ball" in html


def test_without_a_codec_a_notebook_says_so_in_a_line(clip, monkeypatch):
    def unknown(container, codec, **options):
        raise av.codec.codec.UnknownCodecError(codec)

    monkeypatch.setattr(av.container.OutputContainer, "add_stream", unknown, raising=True)
    html = clip._repr_html_()
    assert re.search(r"<p>no player: .*no encoder libx264; pip install", html)
    assert "<video" not in html and "data:image/png" in html


def test_without_pyav_a_notebook_says_so_in_a_line():
    """In a process of its own, as other modules keep what they imported."""
    code = """
    import sys
    sys.modules["av"] = None
    import numpy as np
    from sora_jax.clip import Clip
    print(Clip(np.zeros((5, 8, 8, 3), np.float32), np.zeros(4_000, np.float32), 8)._repr_html_())
    """
    line = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert re.search(r"<p>no player: no mp4 can be written .*; pip install av</p>", done.stdout), (
        done.stderr
    )


def test_what_is_read_is_read_once(clip):
    assert clip.reading is clip.reading and clip.verdict is clip.verdict
    assert sora_jax.read_clip(clip)["count"] == len(clip.reading.facts.balls)
    assert "physics" in clip.reading._cache  # that reading was used
    again = dataclasses.replace(clip, notes=("more",))
    assert again.reading is not clip.reading


def test_decode_is_what_generate_decodes(pipeline, clip):
    decoded = pipeline.decode(clip.latents)
    np.testing.assert_array_equal(decoded.frames, clip.frames)
    np.testing.assert_array_equal(decoded.samples, clip.samples)
    assert {name: x.shape for name, x in pipeline.encode(decoded).items()} == {
        name: x.shape for name, x in clip.latents.items()
    }


def test_a_picture_in_bytes_is_the_picture_in_floats(pipeline, clip):
    sampler = SamplerConfig(steps=1)
    picture = mp4.to_uint8(clip.frames)[0]
    a, b = (
        pipeline(PROMPT, first_frame=frame, sampler=sampler, progress=False)
        for frame in (picture, picture.astype(np.float32) / 255)
    )
    np.testing.assert_array_equal(a.frames, b.frames)
    with pytest.raises(UserError, match=r"first_frame goes from .* give uint8, or floats"):
        pipeline(PROMPT, first_frame=picture.astype(np.float32), sampler=sampler, progress=False)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"seconds": 4.0}, "seconds=4 says how much a clip grows"),
        ({"sampler": SamplerConfig(), "steps": 3}, "a sampler includes steps and guidance"),
        ({"guidance": float("nan")}, "not a finite number"),
        ({"sampler": SamplerConfig("shortcut")}, "the model takes no step sizes"),
    ],
)
def test_what_would_be_ignored_is_refused(pipeline, wrong, said):
    with pytest.raises(UserError, match=said):
        pipeline(PROMPT, progress=False, **wrong)


def test_a_clip_that_cannot_be_encoded_says_why(pipeline, clip):
    with pytest.raises(UserError, match="has no audio to encode"):
        pipeline.encode(dataclasses.replace(clip, samples=None))
    with pytest.raises(UserError, match="15 frames; give 1 \\+ 4k, for example 13"):
        pipeline.encode(dataclasses.replace(clip, frames=clip.frames[:15]))


def test_objects_say_in_a_line_what_they_are(pipeline, clip):
    assert len(repr(clip)) < 200 and PROMPT in repr(clip) and "seed 3" in repr(clip)
    assert len(repr(pipeline)) < 250 and pipeline.fingerprints["model"] in repr(pipeline)


def test_notes_are_printed_beside_the_bar(pipeline, capsys):
    pipeline("a red zebra is dropped", steps=1)
    assert "note: the prompt has words outside the vocabulary" in capsys.readouterr().err
    pipeline("a red zebra is dropped", steps=1, progress=False)
    assert "note" not in capsys.readouterr().err


def test_notes_are_shown_in_a_notebook(pipeline):
    odd = pipeline("a turquoise ball is dropped", steps=1, progress=False)
    assert "note: the prompt has words outside the vocabulary" in odd._repr_html_()


def test_a_negative_prompt_without_guidance_is_noted(pipeline):
    made = pipeline(PROMPT, negative_prompt="a ball", guidance=1.0, steps=1, progress=False)
    assert "the negative prompt has no effect: guidance is 1; give for example 2" in made.notes
    made = pipeline(PROMPT, negative_prompt="a ball", guidance=2.0, steps=1, progress=False)
    assert not any("no effect" in note for note in made.notes)


def test_a_clip_without_a_prompt_is_saved_too(clip, tmp_path):
    foreign = dataclasses.replace(clip, provenance={"file": "theirs.mp4"})
    foreign.save(tmp_path / "theirs.mp4")
    assert json.loads((tmp_path / "theirs.json").read_text())["verdict"]["met"] is None


def test_paths_are_read_and_fitted(pipeline, clip, tmp_path):
    path = clip.save(tmp_path / "clip.mp4")
    longer = pipeline(PROMPT, continued=path, seconds=0.5, steps=1, progress=False)
    assert len(longer.frames) == len(clip.frames) + 4
    assert longer.notes[0] == "opened from the latents beside clip.mp4"
    Image.fromarray(np.full((48, 96, 3), 200, np.uint8)).save(tmp_path / "wide.png")
    started = pipeline(PROMPT, first_frame=tmp_path / "wide.png", steps=1, progress=False)
    assert "96 x 48 cropped" in started.notes[0]


def test_clips_of_the_world_show_and_save_themselves(pipeline, tmp_path):
    scene = sora_jax.render(sora_jax.draw("val", 0), pipeline.format)
    clip = dataclasses.replace(scene, notes=("drawn < 1",))
    back = pipeline.decode(pipeline.encode(clip))
    for number, shown in enumerate((clip, back)):
        assert "data:video/mp4;base64," in shown._repr_html_()
        path = shown.save(tmp_path / f"{number}.mp4")
        fitted = sora_jax.fit_clip(sora_jax.read_video(path), pipeline.format)
        assert np.abs(fitted.frames - shown.frames).mean() < (0.05 if shown is clip else 0.3)
    assert "note: drawn &lt; 1" in clip._repr_html_()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.mp4", "1.mp4"]
