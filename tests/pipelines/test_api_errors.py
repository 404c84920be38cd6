"""Wrong values at the entries of the public API: a UserError of one line that names the field."""

import numpy as np
import pytest

import sora_jax
from sora_jax.errors import UserError
from sora_jax.media import Media
from sora_jax.pipelines.film import Film

PROMPT = "a large red ball is dropped and bounces twice"
FRAMES = np.zeros((17, 16, 16, 3), np.float32)
CLIP = sora_jax.Clip(FRAMES, np.zeros(34_000, np.float32), 8)
MEDIA = Media(np.zeros((1, 16, 16, 3), np.uint8), np.zeros(1), None, 16_000, 0.1)
LATENTS = {"video": np.zeros((5, 2, 2, 16)), "audio": np.zeros((54, 64))}


def config(steps=1, **guidance):
    return sora_jax.SamplerConfig(steps=steps, guidance=sora_jax.Guidance(**guidance))


CALLS = {
    "prompts in a list": (lambda p: p([PROMPT]), "prompt", "generate_batch"),
    "a prompt of bytes": (lambda p: p(b"ball"), "prompt", "give a text"),
    "no steps": (lambda p: p(PROMPT, steps=0), "steps", "give 1 to 10000"),
    "a million steps": (lambda p: p(PROMPT, steps=10**6), "steps", "give 1 to 10000"),
    "half a step": (lambda p: p(PROMPT, steps=1.5), "steps", "integer"),
    "a word as guidance": (lambda p: p(PROMPT, guidance="2"), "guidance", "number"),
    "guidance inf": (lambda p: p(PROMPT, guidance=np.inf), "guidance", "finite"),
    "no such method": (
        lambda p: p(PROMPT, sampler=sora_jax.SamplerConfig("eulr")),
        None,
        "did you mean 'euler'",
    ),
    "a misspelt keyword": (
        lambda p: p(PROMPT, first_fram=FRAMES[0]),
        "first_fram",
        "did you mean 'first_frame'",
    ),
    "a misspelt keyword of the call": (lambda p: p(PROMPT, stesp=3), "stesp", "'steps'"),
    "a negative seed": (lambda p: p(PROMPT, seed=-1), "seed", "0 to"),
    "a seed beyond 32 bits": (lambda p: p(PROMPT, seed=2**40), "seed", "0 to"),
    "a seed of 33 bits": (lambda p: p(PROMPT, seed=2**32), "seed", "0 to 4294967295"),
    "a seed of 64 bits": (lambda p: p(PROMPT, seed=2**63), "seed", "0 to 4294967295"),
    "a shift of zero": (
        lambda p: p(PROMPT, sampler=sora_jax.SamplerConfig(shift=0.0)),
        "sampler",
        "above 0",
    ),
    "a shift of nan": (
        lambda p: p(PROMPT, sampler=sora_jax.SamplerConfig(shift=np.nan)),
        "sampler",
        "above 0",
    ),
    "a seed of text": (lambda p: p(PROMPT, seed="1"), "seed", "integer"),
    "a picture in lists": (lambda p: p(PROMPT, first_frame=[[0]]), "first_frame", "array"),
    "a small picture": (lambda p: p(PROMPT, first_frame=FRAMES[0, 1:]), "first_frame", "shape"),
    "three pictures": (lambda p: p(PROMPT, first_frame=FRAMES[:3]), "first_frame", "1 + 4k"),
    "a small video": (lambda p: p(given_video=FRAMES[:, :8]), "given_video", "shape"),
    "an empty video": (lambda p: p(given_video=FRAMES[:0]), "given_video", "shape"),
    "a video of a number": (lambda p: p(given_video=np.zeros(())), "given_video", "shape"),
    "an endless video": (
        lambda p: p(given_video=np.broadcast_to(FRAMES[:1], (4801, *FRAMES.shape[1:]))),
        "given_video",
        "at most 600 s",
    ),
    "a film that ends late": (
        lambda p: p(given_video=Film(FRAMES[:5], 3.0)),
        "given_video",
        "5 frames for 3 s",
    ),
    "a picture that is absent": (lambda p: p(PROMPT, first_frame="no.png"), None, "no such file"),
    "a clip of the world": (lambda p: p(PROMPT, continued=CLIP), "continued", "pipeline made"),
    "a prompt to generate": (lambda p: p.generate(PROMPT), "request", "give a Request"),
    "two samplers": (
        lambda p: p.generate_batch([sora_jax.Request(PROMPT, sampler=config(s)) for s in (1, 2)]),
        "sampler",
        "several batches",
    ),
    "frames to encode": (lambda p: p.encode(FRAMES), "clip", "fit_clip"),
    "one array to decode": (lambda p: p.decode(LATENTS["video"]), "latents", "encode returns"),
    "half of the latents": (lambda p: p.decode({"video": LATENTS["video"]}), "latents", "audio"),
    "latents with a batch axis": (
        lambda p: p.decode(LATENTS | {"video": LATENTS["video"][None]}),
        "latents",
        "video have the shape (1, 5, 2, 2, 16)",
    ),
    "weights of a number": (lambda p: sora_jax.load_pipeline(3), "model", "path of a file"),
    "a path to train": (lambda p: sora_jax.train("a.py", "out"), "run", "load_run"),
    "a run to load": (lambda p: sora_jax.load_run(sora_jax.Run()), "config", "name of a"),
    "a path to evaluate": (lambda p: sora_jax.evaluate("w", "out"), "pipeline", "load_pipeline"),
    "a suite in a text": (lambda p: sora_jax.evaluate(p, "out", "facts"), "suites", '["facts"]'),
    "a path to read": (lambda p: sora_jax.read_clip("x.mp4"), "clip", "read_video"),
    "frames to read": (lambda p: sora_jax.read_clip(FRAMES), "clip", "give a Clip"),
    "no such split": (lambda p: sora_jax.draw("trian", 0), "split", "it has"),
    "a negative index": (lambda p: sora_jax.draw("val", -1), "index", "-1"),
    "an index of text": (lambda p: sora_jax.draw("val", "0"), "index", "give"),
    "a take of negative length": (
        lambda p: sora_jax.draw("val", 0, seconds=-1),
        "seconds",
        "positive",
    ),
    "no such family": (
        lambda p: sora_jax.draw("val", 0, family="rom"),
        None,
        "did you mean 'room'",
    ),
    "no such format": (lambda p: sora_jax.FORMATS["nanoo"], None, "did you mean 'nano'"),
    "the name of a format": (
        lambda p: sora_jax.render(sora_jax.draw("val", 0), "nano"),
        "format",
        "FORMATS",
    ),
    "a Clip to fit": (lambda p: sora_jax.fit_clip(CLIP, p.format), "media", "read_video"),
    "the name of a format to fit": (
        lambda p: sora_jax.fit_clip(MEDIA, "nano"),
        "format",
        "FORMATS",
    ),
    "a number to read": (lambda p: sora_jax.read_video(3), "path", "path of a video"),
    "a start of text": (lambda p: sora_jax.read_video("x.mp4", start="1"), "start", "number"),
    "a negative length": (lambda p: sora_jax.read_video("x.mp4", seconds=-1), "seconds", "-1"),
    "a number as Guidance": (
        lambda p: p(PROMPT, sampler=sora_jax.SamplerConfig(guidance=3.0)),
        "guidance",
        "give a Guidance",
    ),
    "overrides in a list": (
        lambda p: sora_jax.load_run("a.py", ["train.steps=4"]),
        "overrides",
        "give a dict",
    ),
    "the stem of a configuration": (
        lambda p: sora_jax.load_run("playhouse_nano"),
        None,
        "is registered; give the path of a file",
    ),
    "a clip as a picture": (lambda p: CLIP.save("out.png"), None, "ends in .mp4"),
    "samples of two channels": (
        lambda p: sora_jax.write_mp4("out.mp4", sora_jax.Clip(FRAMES, np.zeros((9, 2)))),
        "samples",
        "give floats [samples]",
    ),
    "integer samples": (
        lambda p: p.encode(sora_jax.Clip(FRAMES, np.zeros(34_000, np.int16))),
        "samples",
        "give floats [samples]",
    ),
    "frames of integers": (
        lambda p: p.encode(sora_jax.Clip(FRAMES.astype(np.int64), CLIP.samples)),
        "frames",
        "give uint8 or floats",
    ),
    "frames to write": (lambda p: sora_jax.write_mp4("out.mp4", FRAMES), None, "give a Clip"),
    "one picture to write": (
        lambda p: sora_jax.write_mp4("out.mp4", sora_jax.Clip(FRAMES[0])),
        "frames",
        "[frames, height, width, 3]",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_value_is_told_in_one_line(pipeline, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    call, field, said = CALLS[name]
    with pytest.raises(UserError) as caught:
        call(pipeline)
    assert caught.value.field == field
    assert said in caught.value.message and "\n" not in caught.value.message
    assert not list(tmp_path.iterdir())
