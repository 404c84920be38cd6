"""Parity of the exported PyTorch file with sora_jax, in float32: <= 1e-5 of the output's scale."""

import dataclasses
import functools
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from flax import nnx

pytest.importorskip("torch", reason="the extra `parity` is not installed")

import torch

from sora_jax.clip import as_floats
from sora_jax.data.prompts import encode_prompts
from sora_jax.export import sora_torch
from sora_jax.export.to_torch import IGNORED, KNOWN, TEMPLATE, export_torch, name_map
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.pipelines.load import load_pipeline
from sora_jax.pipelines.request import Request
from sora_jax.tokenizers.audio import AudioTokenizer, AudioTokenizerConfig
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig
from sora_jax.tree import flatten
from sora_jax.weights import STORED
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.takes import draw_takes, render

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5
COUPLE = np.array([1.0, 0.5], np.float32)  # of each clip
TINY = STDiTConfig(
    video_channels=3,
    audio_channels=5,
    depth=3,
    width=32,
    heads=2,
    mlp_ratio=2.0,
    audio_width=16,
    audio_heads=2,
    exchange_width=16,
    exchange_heads=2,
    frame_tokens=2,
    text_width=16,
    text_heads=2,
    vocabulary=32,
    window=(2, 2, 1),
    time_every=2,
)
WORLD = {"shot_words": True, "references": 2, "memory": True}
CASES = {
    **{name: {"attention": name} for name in KNOWN["attention"]},
    "world": WORLD,  # as experiments/configs/world.py
    "window of everything": {"attention": "window", "window": (0, 2, 2), **WORLD},
    "shortcuts": {"step_sizes": True},
    "to_audio": {"exchange": "to_audio", "clock": "index"},
    "to_video": {"exchange": "to_video", "text_attention": False},
    "apart": {"exchange": "none", "memory": True, "output": "v", "patch": 1},
}


def error(found, expected):
    """The largest difference, in units of the largest value."""
    expected = np.asarray(expected)
    assert tuple(found.shape) == expected.shape
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def randomised(module, seed=0):
    """The module with every stored value drawn anew, gates too."""
    rng = np.random.default_rng(seed)
    graphdef, state, rest = nnx.split(module, STORED, ...)
    state = jax.tree.map(
        lambda x: (1.0 if x.ndim < 1 else 0.0) + rng.normal(0, 0.2, x.shape).astype(np.float32),
        state,
    )
    return nnx.merge(graphdef, state, rest)


def in_torch(make, part, module):
    """The PyTorch module with the weights of ours."""
    config = dataclasses.asdict(module.config)
    twin = make({name: x for name, x in config.items() if name not in IGNORED[part]})
    arrays = {f"{part}/{k}": np.asarray(x) for k, x in flatten(nnx.state(module, STORED)).items()}
    names = name_map({name: x.shape for name, x in arrays.items()})
    twin.load_state_dict(
        {name[len(part) + 1 :]: torch.tensor(one.of(arrays)) for name, one in names.items()}
    )
    return twin.eval()


def tensors(tree):
    return jax.tree.map(lambda x: torch.tensor(np.asarray(x)), tree)


def inputs(config, seed=0):
    """Inputs of the network: two clips of two shots whose sides are no multiple of a patch."""
    rng = np.random.default_rng(seed)
    times = ClipFormat(frames=18, fps=8, shots=(13, 5)).latent_times()
    T, N = len(times["video"]), len(times["audio"])
    latents = {
        "video": rng.normal(size=(2, T, 4, 5, config.video_channels)),
        "audio": rng.normal(size=(2, N, config.audio_channels)),
    }
    levels = {"video": rng.uniform(size=(2, T)), "audio": rng.uniform(size=(2, N))}
    text = {
        "tokens": np.array([[1, 2, 31, 4], [5, 6, 0, 0]], np.int32),
        "mask": np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool),
        "shots": np.array([[0, 1, 2, 2], [1, 2, 0, 0]], np.int8),
        "slots": np.array([[0, 1, 0, 2], [0, 0, 0, 0]], np.int8),
    }
    if config.references:
        text["references"] = {
            "stills": rng.normal(size=(2, 2, 4, 4, 4, config.video_channels)).astype(np.float32),
            "voices": rng.normal(size=(2, 2, 6, config.audio_channels)).astype(np.float32),
            "present": np.array([[1, 1], [1, 0]], bool),
            "heard": np.array([[1, 0], [1, 1]], bool),
        }
    single = jax.tree.map(lambda x: np.asarray(x, np.float32), (latents, levels, times))
    return single[0], single[1], text, single[2]


@functools.cache
def ours(case):
    """(model, inputs, outputs) of a case."""
    config = dataclasses.replace(TINY, **CASES[case])
    model = randomised(STDiT(config, nnx.Rngs(0)))
    given = inputs(config)
    sizes = jax.tree.map(lambda level: level / 2, given[1])
    run = nnx.jit(lambda model, given, sizes: model(*given, COUPLE, sizes))
    return model, (*given, COUPLE, sizes), run(model, given, sizes)


def errors(case, file=sora_torch):
    """The error of each modality, of the network in a module of PyTorch."""
    model, given, expected = ours(case)
    with torch.inference_mode():
        twin = in_torch(file.STDiT, "model", model)
        found = twin(*tensors(given))
    return [error(found[m], expected[m]) for m in ("video", "audio")]


@pytest.mark.parametrize("case", CASES)
def test_the_network_is_the_same(case):
    assert max(errors(case)) <= TOLERANCE


# (piece of the file, what breaks it, a case that must notice)
MUTANTS = [
    ("EPSILON = 1e-6", "EPSILON = 1e-3", "pure"),
    ('approximate="tanh"', 'approximate="none"', "pure"),
    ("a * sin + b * cos", "a * sin - b * cos", "pure"),
    ("(planes - 2 * third, third, third)", "(third, planes - 2 * third, third)", "full"),
    ("side // 2 * (shifted and", "side // 2 * (not shifted and", "window"),
    ("(index >= 0).reshape", "(index >= -1).reshape", "window"),
    ("q = q * (q.shape[2] * q.shape[-1]) ** -0.5", "q = q * q.shape[-1] ** -0.5", "matrix"),
    ("(depth + 1) % c", "depth % c", "interleaved"),
    ("(number == 0) | own", "own", "world"),
    ("1, after))[:, None]", "0, after + 1))[:, None]", "world"),
    ("(B, R)) + slot", "(B, R))", "world"),
    ("v = v + (self.memory_gate * read)", "v = v + (couple * self.memory_gate * read)", "world"),
    ("INDEX_SECONDS[modality]", "INDEX_SECONDS['video']", "to_audio"),
    ("(short - n) / 2", "0 * n", "pure"),
    ("e + self.table[0], e + self.table[1]", "e + self.table[1], e + self.table[0]", "apart"),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant[0] for mutant in MUTANTS])
def test_a_broken_file_is_caught(mutant):
    piece, broken, case = mutant
    source = TEMPLATE.read_text(encoding="utf-8")
    assert source.count(piece) == 1
    file = types.ModuleType("broken")
    file.__dict__["__file__"] = str(TEMPLATE)
    exec(compile(source.replace(piece, broken), "broken.py", "exec"), file.__dict__)
    assert max(errors(case, file)) > 10 * TOLERANCE


@pytest.mark.parametrize("k", [1, 4])
def test_the_video_tokenizer_is_the_same(k):
    config = VideoTokenizerConfig(fine_width=8, coarse_width=8, frames_per_latent=k, haar=k > 1)
    tokenizer = randomised(VideoTokenizer(config, rngs=nnx.Rngs(0)))
    twin = in_torch(sora_torch.VideoTokenizer, "video_tokenizer", tokenizer)
    frames = np.random.default_rng(0).random((2, 10, 20, 24, 3), np.float32)
    with torch.inference_mode():
        latents = tokenizer.encode(frames)
        assert error(twin.encode(torch.tensor(frames)), latents) <= TOLERANCE
        found = twin.decode(torch.tensor(np.asarray(latents)))
        assert error(found, tokenizer.decode(latents)) <= TOLERANCE


def test_the_audio_tokenizer_is_the_same():
    config = AudioTokenizerConfig(width=16, iterations=2)
    tokenizer = randomised(AudioTokenizer(config, rngs=nnx.Rngs(0)))
    twin = in_torch(sora_torch.AudioTokenizer, "audio_tokenizer", tokenizer)
    samples = np.random.default_rng(0).normal(0, 0.1, (2, 6000)).astype(np.float32)
    with torch.inference_mode():
        latents = tokenizer.encode(samples)
        assert error(twin.encode(torch.tensor(samples)), latents) <= TOLERANCE
        found = twin.decode(torch.tensor(np.asarray(latents)), 6000)
        assert error(found, tokenizer.decode(latents, 6000)) <= 10 * TOLERANCE


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The shipped pipeline, and the folder of its export."""
    pipeline = load_pipeline()
    return pipeline, export_torch(pipeline, tmp_path_factory.mktemp("torch") / "nano")


def test_the_shipped_modules_are_the_same(shipped):
    pipeline, folder = shipped
    sora = sora_torch.Sora.load(folder)
    (take,) = draw_takes("val", [0])
    prompt = encode_prompts(pipeline.text_tokenizer, [take.captions[0]])
    clip = render(take)
    latents = {m: x[None] for m, x in pipeline.encode(clip).items()}
    levels = {m: np.full(x.shape[:2], 0.6, np.float32) for m, x in latents.items()}
    times = {m: t.astype(np.float32) for m, t in pipeline.format.latent_times().items()}
    given = (latents, levels, prompt, times)
    video, audio = sora.video_tokenizer, sora.audio_tokenizer
    with torch.inference_mode():
        expected, found = pipeline.model(*given), sora.model(*tensors(given))
        for m in latents:
            assert error(found[m], expected[m]) <= TOLERANCE, m
        frames = torch.tensor(as_floats(clip.frames, "frames"))[None]
        assert error(video.encode(frames), latents["video"]) <= TOLERANCE
        assert error(audio.encode(torch.tensor(clip.samples)[None]), latents["audio"]) <= TOLERANCE
        z, shown = tensors(latents), pipeline.decode({m: x[0] for m, x in latents.items()})
        assert error(video.decode(z["video"])[0], shown.frames) <= TOLERANCE
        scaled = latents["audio"] * pipeline.audio_tokenizer.scale + pipeline.audio_tokenizer.mean
        found, expected = (
            audio.decoder(torch.tensor(np.asarray(scaled))),
            pipeline.audio_tokenizer.decoder(scaled),
        )
        assert error(found, expected) <= TOLERANCE
        # 32 iterations of Griffin-Lim amplify rounding
        found = audio.decode(z["audio"], len(shown.samples))[0]
        assert error(found, shown.samples) <= 1e-3


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_a_seed_is_the_same_clip(shipped, method):
    pipeline, folder = shipped
    prompt, negative = "a large red ball is dropped and bounces twice", "a blue ball"
    config = SamplerConfig(method, steps=3, guidance=Guidance(text=2.5))
    clip = pipeline.generate(Request(prompt, seed=7, negative_prompt=negative, sampler=config))
    with torch.inference_mode():
        frames, samples = sora_torch.Sora.load(folder).generate(
            prompt, 7, 3, 2.5, method, negative_prompt=negative
        )
    assert error(frames, clip.frames) <= 10 * TOLERANCE
    assert error(samples, clip.samples) <= 1e-2


@pytest.mark.parametrize("name", ["start", "given"])
def test_start_and_given_belong_together(name):
    noise = {"video": torch.zeros(1, 2, 1, 1, 4), "audio": torch.zeros(1, 3, 4)}
    with pytest.raises(ValueError, match="start and given belong together; give both"):
        sora_torch.sample(None, noise, {}, {}, {}, {"steps": 1, "shift": 1.0}, **{name: noise})


def test_the_command_makes_a_clip_without_jax(shipped, tmp_path):
    pipeline, folder = shipped
    prompt = "a small blue ball is dropped and bounces once"
    script = (
        "import runpy, sys\n"
        "for name in ('jax', 'flax', 'sora_jax', 'kernels'):\n"
        "    sys.modules[name] = None\n"
        f"sys.argv = ['sora_torch.py', '--prompt={prompt}', '--steps=2', *sys.argv[1:]]\n"
        f"runpy.run_path({str(folder / 'sora_torch.py')!r}, run_name='__main__')\n"
    )

    def run(output):
        command = [sys.executable, "-c", script, f"--output={output}"]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    for name in ("clip.npz", "clip.mp4"):
        done = run(tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "17 frames at 8/s, 2.12 s of audio" in done.stdout
    found = np.load(tmp_path / "clip.npz")
    clip = pipeline.generate(Request(prompt, sampler=SamplerConfig(steps=2)))
    assert np.abs(found["frames"] / 255 - clip.frames).max() <= 0.51 / 255
    assert (tmp_path / "clip.mp4").stat().st_size > 1000
    wrong = run("clip.gif")
    assert wrong.returncode == 2 and "give a name that ends with .mp4 or .npz" in wrong.stderr


def test_prompts_are_the_same():
    for family, format in (("room", "nano"), ("story", "story3"), ("talk", "S")):
        words, length = FAMILIES[family].words, FAMILIES[family].text_length
        tokenizer = TextTokenizer.of_vocabulary(words, 512, length)
        captions = [c for take in draw_takes("val", range(8), family=family) for c in take.captions]
        captions += ["A zebra's hoof, twice!", ""]
        expected = encode_prompts(tokenizer, captions)
        shots = family == "story"
        for i, caption in enumerate(captions):
            found, unknown = sora_torch.tokenize(caption, words, 512, length)
            assert "zebra's" in unknown if "zebra" in caption else not unknown
            for name in ("tokens", "mask", "shots")[: 3 if shots else 2]:
                np.testing.assert_array_equal(found[name][0], expected[name][i], err_msg=caption)
        times = sora_torch.latent_times(FORMATS[format].to_dict())
        assert times.keys() == FORMATS[format].latent_times().keys()
        for name, t in FORMATS[format].latent_times().items():
            np.testing.assert_array_equal(times[name], t)


def test_noise_is_that_of_jax():
    key = jax.random.split(jax.random.key(2**32 - 1), 3)[2]
    ours = sora_torch.split(sora_torch.key_of(2**32 - 1), 3)[2]
    uniform = jax.random.uniform(key, (3, 5, 7))
    np.testing.assert_array_equal(sora_torch.uniform(ours, (3, 5, 7)), uniform)
    np.testing.assert_allclose(
        sora_torch.normal(ours, (500, 9)), jax.random.normal(key, (500, 9)), atol=3e-5
    )
