"""Batches: on several devices, padded, and of the command; a clip of a batch is the clip alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_sample import PROMPT, command, refusal  # noqa: F401  fixtures

import sora_jax
from sora_jax import mp4
from sora_jax.flow import sampler
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.pipelines.generate import Pipeline
from sora_jax.pipelines.request import Request

HERE = Path(__file__).parent
SAMPLER = SamplerConfig(steps=2)
TEXTS = ("a small blue ball", "a large red ball is dropped", "a green ball rolls to the left")


@pytest.mark.slow
def test_eight_devices_make_the_clips_of_one(folder):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(HERE.parents[1]),
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "eight_devices.py"), str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *rows, last = map(json.loads, done.stdout.splitlines())
    assert last == {"devices": 8} and len(rows) == 4
    # Of 3, 9, 2 (padded to 16) and 3 clips, padded to a multiple of eight.
    assert [(row["clips"], row["shards"]) for row in rows] == [
        (3, [1]),
        (9, [2]),
        (2, [2]),
        (3, [1]),
    ]
    for row in rows:
        assert max(row["error"], row["continued"]) <= 1e-4, row


def test_three_prompts_are_three_clips(pipeline):
    requests = [Request(text, seed=i, sampler=SAMPLER) for i, text in enumerate(TEXTS)]
    singles = [pipeline.generate(request) for request in requests]
    batch = pipeline.generate_batch(requests)
    compiled = sampler._velocity._cache_size()
    batch += pipeline.generate_batch(requests[:2], size=3)  # padded
    assert sampler._velocity._cache_size() == compiled and len(batch) == 5
    for clip, alone in zip(batch, [*singles, *singles[:2]], strict=True):
        np.testing.assert_allclose(clip.frames, alone.frames, atol=1e-4)
        np.testing.assert_allclose(clip.samples, alone.samples, atol=1e-4)
        assert clip.provenance == alone.provenance
    assert np.abs(singles[0].frames - singles[1].frames).max() > 1e-2


def names(paths):
    return [name for name in paths if name.endswith(".mp4")]


def test_the_command_in_batches(command, pipeline, tmp_path, capsys):  # noqa: F811
    """Two prompts of two clips each in batches of three: the second is padded."""
    (tmp_path / "prompts.txt").write_text("a small blue ball\n\na large green ball\n")
    taken = tmp_path / "out" / "000-a-small-blue-ball-seed4.mp4"
    taken.parent.mkdir()
    taken.write_text("mine")
    flags = (f"--prompts_file={tmp_path}/prompts.txt", "--num_samples=2", "--seed=4")
    made = names(command(*flags, "--batch=3"))
    printed = capsys.readouterr().out
    blue, green = "a-small-blue-ball", "a-large-green-ball"
    stems = {f"000-{blue}-seed4-2": 0, f"000-{blue}-seed5": 1}
    stems |= {f"001-{green}-seed4": 2, f"001-{green}-seed5": 3}
    assert made == sorted([taken.name, *(f"{stem}.mp4" for stem in stems)])
    assert taken.read_text() == "mine"
    for stem, number in stems.items():
        prompt, seed = ("a small blue ball", "a large green ball")[number // 2], 4 + number % 2
        report = json.loads((tmp_path / "out" / f"{stem}.json").read_text())
        assert (report["prompt"], report["seed"]) == (prompt, seed)
        latents = np.load(tmp_path / "out" / f"{stem}.latents.npz")["latents_video"]
        alone = pipeline.generate(Request(prompt, seed=seed, sampler=SAMPLER))
        np.testing.assert_allclose(latents, alone.latents["video"], atol=1e-4)
        assert f"{tmp_path}/out/{stem}.mp4: " in printed
    assert printed.count(" with 2 more, ") == 3 and printed.count("oracles read: ") == 4


def test_a_batch_is_no_larger_than_asked(command, monkeypatch, tmp_path):  # noqa: F811
    """However many clips are asked for, those of one batch are held at a time."""
    made, original = [], Pipeline.generate_batch

    def counted(self, requests, show, size):
        made.append((len(requests), size, len(list((tmp_path / "out").glob("*.mp4")))))
        if len(made) == 2:
            raise KeyboardInterrupt
        return original(self, requests, show, size)

    monkeypatch.setattr(Pipeline, "generate_batch", counted)
    with pytest.raises(KeyboardInterrupt):
        command(f"--prompt={PROMPT}", "--num_samples=20000000", "--batch=3", "--steps=1")
    assert made == [(3, 3, 0), (3, 3, 3)]


def test_ctrl_c_leaves_whole_files(command, tmp_path, monkeypatch, request):  # noqa: F811
    """The signal comes while the mp4 of the second clip is written."""
    # A shell's background job ignores Ctrl-C, and so would this process if it were one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    opened, original = [], mp4.add_stream

    def interrupted(container, codec, **options):
        opened.append(codec)
        if len(opened) == 4:  # h264 and aac of each clip
            signal.raise_signal(signal.SIGINT)
        return original(container, codec, **options)

    monkeypatch.setattr(mp4, "add_stream", interrupted)
    with pytest.raises(KeyboardInterrupt):
        command(f"--prompt={PROMPT}", "--num_samples=3", "--batch=3")
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    stem = "000-a-large-red-ball-is-thrown-seed"
    first = [f"{stem}0{suffix}" for suffix in (".json", ".latents.npz", ".mp4", ".png")]
    assert left == [*first, f"{stem}1.latents.npz"]
    assert len(np.load(tmp_path / "out" / left[-1])["frames"]) == 17


@pytest.fixture
def shipped():
    """Flags of the shipped weights, whose card says which words they learned."""
    files = {"weights": "nano", "video_tokenizer": "video_tokenizer"}
    files["audio_tokenizer"] = "audio_tokenizer"
    folder = Path(sora_jax.__file__).parent / "shipped"
    return [f"--{flag}={folder}/{name}.safetensors" for flag, name in files.items()]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_prompt_of_a_file_is_refused_by_its_line(refusal, shipped, tmp_path, batch):  # noqa: F811
    (tmp_path / "prompts.txt").write_text("a red ball\n\n\nmy cat jumps\na blue ball\n")
    line = refusal(f"--prompts_file={tmp_path}/prompts.txt", f"--batch={batch}", *shipped)
    assert line.startswith(f"error: {tmp_path}/prompts.txt, line 4: the model learned no word")
    line = refusal("--prompt=my cat jumps", f"--batch={batch}", *shipped)
    assert line.startswith("error: --prompt: the model learned no word")


@pytest.mark.slow
def test_notes_on_words_name_the_line(command, shipped, tmp_path, capsys):  # noqa: F811
    (tmp_path / "prompts.txt").write_text("a rde ball\n\nmy cat jumps\n")
    flags = (f"--prompts_file={tmp_path}/prompts.txt", "--any_words", "--batch=2", *shipped)
    made = command(*flags, "--steps=1", "--negative_prompt=zebra")
    assert len(names(made)) == 2
    notes = [one for one in capsys.readouterr().err.splitlines() if one.startswith("note: ")]
    place = f"note: {tmp_path}/prompts.txt, line"
    learned = "words outside the vocabulary, which the model never learned"
    assert notes == [
        f"{place} 1: the prompt has {learned}: rde (did you mean red?)",
        f"note: the negative prompt has {learned}: zebra",
        f"{place} 3: the prompt has {learned}: my, cat, jumps",
    ]
