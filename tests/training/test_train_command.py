"""`python -m experiments.train`: the command trains, resumes, fine-tunes, and says in one line why
it cannot.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toy_latents import write_latents

from sora_jax import weights
from sora_jax.clip import Clip
from sora_jax.modality import FORMATS
from sora_jax.training import metrics
from sora_jax.tree import flatten

ROOT = Path(__file__).parents[2]
SMALL = [
    "depth=1",
    "width=48",
    "heads=2",
    "audio_width=32",
    "audio_heads=2",
    "exchange_width=32",
    "exchange_heads=2",
    "text_width=32",
    "text_heads=2",
    "text_layers=1",
    "unroll=1",
]


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    return write_latents(tmp_path_factory.mktemp("latents"), FORMATS["nano"])


def command(workdir, latents, *flags, steps=12):
    return [
        sys.executable,
        "-m",
        "experiments.train",
        "--config=experiments/configs/playhouse_nano.py",
        f"--workdir={workdir}",
        f"--config.data.path={latents}",
        f"--config.train.steps={steps}",
        "--config.train.batch_size=4",
        "--config.train.log_every=1",
        "--config.train.checkpoint_every=4",
        "--config.data.text_length=32",
        *(f"--config.model.{s}" for s in SMALL),
        *flags,
    ]


def run(*arguments, **options):
    return subprocess.run(
        command(*arguments, **options), capture_output=True, text=True, cwd=ROOT, timeout=600
    )


def arrays(path):
    return flatten(weights.load_weights(path, "st_dit").params)


def losses(workdir):
    return {
        row["step"]: (row["loss"], row["grad_norm"])
        for row in metrics.read(workdir / "metrics.jsonl")
    }


def one_line(done, *needles):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert any(
        line.startswith("error: ") and all(n in line for n in needles)
        for line in done.stderr.splitlines()
    ), done.stderr


@pytest.mark.slow
def test_trains_and_writes_weights_that_load(tmp_path, latents):
    done = run(tmp_path, latents)
    assert done.returncode == 0, done.stderr
    model, read = weights.load_model(tmp_path / "weights.safetensors")
    assert re.search(read.fingerprint, done.stdout)
    assert read.metadata["steps"] == 12 and read.metadata["tokenizers"] == {
        "video_tokenizer": "made up",
        "audio_tokenizer": "made up",
    }
    assert (
        read.metadata["curve"][-1][0] == 12
        and read.metadata["hardware"]
        and read.metadata["hours"] > 0
    )
    assert model.config.width == 48 and sorted(losses(tmp_path)) == list(range(1, 13))
    assert json.loads((tmp_path / "config.json").read_text())["config"]["model"]["width"] == 48
    assert any((tmp_path / "tensorboard").iterdir())

    before = (tmp_path / "weights.safetensors").read_bytes()
    one_line(
        run(tmp_path, latents, "--config.sample.every=5"),
        "config.sample.every=5",
        "the latents are of others; name their files",
    )
    one_line(run(tmp_path, latents, "--config.optim.lr=0.5"), "optim.lr (0.005, now 0.5)")
    assert (tmp_path / "weights.safetensors").read_bytes() == before


@pytest.mark.slow
def test_loss_falls(tmp_path, latents):
    done = run(
        tmp_path, latents, "--config.optim.lr=3e-3", "--config.train.checkpoint_every=0", steps=150
    )
    assert done.returncode == 0, done.stderr
    # The fixture's pictures have structure to learn; its sound is white. The median, since the loss
    # leaps with the level drawn.
    values = np.array([row["video_loss"] for row in metrics.read(tmp_path / "metrics.jsonl")])
    assert len(values) == 150 and np.median(values[-30:]) < 0.75 * np.median(values[:30])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["playhouse_nano", "playhouse_s"])
def test_every_config_resolves(tmp_path, name):
    """The file of weights is looked for once the configuration stands."""
    flags = [
        f"--config=experiments/configs/{name}.py",
        f"--workdir={tmp_path}",
        "--init_from=nowhere",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.train", *flags],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
    )
    one_line(done, "no weights at nowhere")


@pytest.mark.slow
def test_fine_tunes(tmp_path, latents):
    assert run(tmp_path / "a", latents, steps=4).returncode == 0
    start = f"--init_from={tmp_path / 'a' / 'weights.safetensors'}"
    done = run(tmp_path / "b", latents, start, "--config.optim.lr=1e-9", steps=4)
    assert done.returncode == 0, done.stderr
    a, b = (
        arrays(tmp_path / "a" / "weights.safetensors"),
        arrays(tmp_path / "b" / "weights.safetensors"),
    )
    assert all(np.allclose(a[name], b[name], atol=1e-3) for name in a)
    one_line(
        run(tmp_path / "c", latents, start, "--config.model.width=96"), "does not fit the model"
    )
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_goes_on_with_the_same_data_only(tmp_path, latents):
    """Latents that were touched are the same; latents that were replaced under the same path, with
    as many clips, are not.
    """
    from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

    data, workdir = shutil.copytree(latents, tmp_path / "data"), tmp_path / "run"
    assert run(workdir, data, steps=2).returncode == 0
    for file in data.iterdir():
        os.utime(file, (1, 1))
    done = run(workdir, data, steps=2)
    assert done.returncode == 0 and "continuing from step 2" in done.stderr, done.stderr
    before = {
        p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"
    }
    one_line(
        run(workdir, data, steps=4),
        "holds a run of 2 steps, not 4",
        f"init_from={workdir}/weights.safetensors",
    )
    records = ArrayRecordReader(str(data / "shard")).read_all()
    writer = ArrayRecordWriter(str(data / "shard"), "group_size:1")
    for record in reversed(records):
        writer.write(record)
    writer.close()
    one_line(run(workdir, data, steps=2), "the data of the run in", "dataset.digest")
    assert before == {
        p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"
    }


@pytest.mark.slow
def test_latents_of_a_family_bring_their_words_and_length(tmp_path, latents):
    from sora_jax.data.latents.record import DESCRIPTION
    from sora_jax.worlds.playhouse.families import FAMILIES

    film = shutil.copytree(latents, tmp_path / "film")
    there = json.loads((film / DESCRIPTION).read_text())
    family = {
        "source": "playhouse",
        "family": "film",
        "family_version": FAMILIES["film"].version,
        "style": "anime",
    }
    (film / DESCRIPTION).write_text(json.dumps({**there, **family}))
    done = run(tmp_path / "run", film, steps=2)
    assert done.returncode == 0, done.stderr
    assert "as their family of scenes needs, and not the 32 of config" in done.stderr
    card = weights.load_weights(tmp_path / "run" / "weights.safetensors", "st_dit").metadata
    assert card["data"].items() >= {**family, "count": 48}.items()
    assert tuple(card["words"]) == FAMILIES["film"].words
    assert card["text_length"] == FAMILIES["film"].text_length > 32 and {"camera", "voice"} <= set(
        card["words"]
    )


@pytest.mark.slow
def test_videos_are_cut_once_and_others_refused_before(tmp_path):
    """A touched video changes nothing.

    With one more video the run refuses, and cuts no clips first.
    """
    from sora_jax import mp4

    videos, workdir = tmp_path / "videos", tmp_path / "run"
    for i in range(3):
        mp4.write_mp4(
            videos / f"{i}.mp4", Clip(np.full((17, 32, 32, 3), 0.2 * i), np.zeros(34000), 8)
        )
        (videos / f"{i}.json").write_text(
            json.dumps({"seed": i, "prompt": "a red ball is dropped"})
        )
    flags = ["--config.data.source=video_folder", "--config.train.batch_size=2"]
    done = run(workdir, videos, *flags, steps=2)
    assert done.returncode == 0 and "0 without caption" in done.stderr, done.stderr
    made = lambda: {
        p: p.stat().st_mtime_ns for name in ("clips", "data") for p in (workdir / name).rglob("*")
    }
    before = made()
    os.utime(videos / "1.mp4", (1, 1))
    done = run(workdir, videos, *flags, steps=2)
    assert done.returncode == 0 and "continuing from step 2" in done.stderr and made() == before, (
        done.stderr
    )
    shutil.copy(videos / "1.mp4", videos / "9.mp4")
    one_line(run(workdir, videos, *flags, steps=2), "the data of the run in", "dataset.set")
    assert made() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["SIGINT", "SIGTERM"]
)
def test_stopped_by_a_signal(tmp_path, latents, number, status):
    """A signal between or amid steps: the step ends, is saved, one line says so, no traceback;
    SIGTERM is no failure.
    """
    process = subprocess.Popen(
        command(tmp_path, latents, steps=400), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 600
    while (
        max(losses(tmp_path), default=0) < 6
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=600)
    assert process.returncode == status and "Traceback" not in said, said
    reached = re.search(
        r"stopped at step (\d+), saved; the same command continues from there\n$", said
    )
    assert reached and (tmp_path / "checkpoints" / reached[1]).is_dir(), said
    assert max(losses(tmp_path)) == int(reached[1])


@pytest.mark.slow
def test_killed_and_resumed_is_bitwise(tmp_path, latents):
    """The real model and data: killed with SIGKILL once while saving and once between saves,
    resumed, compared by step.
    """
    assert run(tmp_path / "whole", latents, steps=24).returncode == 0
    cut = tmp_path / "cut"
    checkpoints = cut / "checkpoints"
    saving = lambda: (
        checkpoints.is_dir()
        and any("tmp" in p.name for p in checkpoints.iterdir())
        and (checkpoints / "4").is_dir()
    )
    # the run has trained on itself
    between = lambda: max(losses(cut), default=0) > last and max(losses(cut)) % 4 == 2
    for reached in (saving, between):
        last = max(losses(cut), default=0)
        process = subprocess.Popen(
            command(cut, latents, steps=24),
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 600
        while not reached() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        assert process.poll() is None, "the run ended before it was killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = run(cut, latents, steps=24)
    assert done.returncode == 0 and "continuing from step" in done.stderr
    assert losses(cut) == losses(tmp_path / "whole") and len(losses(cut)) == 24
    a, b = arrays(tmp_path / "whole" / "weights.safetensors"), arrays(cut / "weights.safetensors")
    assert all(np.array_equal(a[name], b[name]) for name in a)
