"""The commands that train: what they refuse, in one line."""

import subprocess
import sys

import pytest
from test_train_command import ROOT, latents, one_line, run  # noqa: F401


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "config", "flags", "needles"),
    [
        ("train", "playhouse_nano", [], ["--workdir is missing; give a directory"]),
        (
            "train",
            "playhouse_nano",
            ["--workdir=W", "--config.data.clips=0"],
            ["config.data: clips=0; give at least 1"],
        ),
        (
            "train",
            "audio_tokenizer",
            ["--workdir=W"],
            ["for the audio_tokenizer", "experiments.train_tokenizer"],
        ),
        (
            "train_tokenizer",
            "playhouse_nano",
            ["--workdir=W"],
            ["diffusion transformer", "experiments.train"],
        ),
        (
            "train_tokenizer",
            "audio_tokenizer",
            ["--workdir=W", "--config.data.clips=0"],
            ["clips=0; give at least 1"],
        ),
        ("train_tokenizer", "audio_tokenizer", [], ["--workdir is missing; give a directory"]),
    ],
)
def test_trainers_refuse_in_one_line(tmp_path, module, config, flags, needles):
    flags = [
        f"--config=experiments/configs/{config}.py",
        *(f.replace("=W", f"={tmp_path / 'run'}") for f in flags),
    ]
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{module}", *flags],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
    )
    one_line(done, *needles)
    assert done.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "needles"),
    [
        (["--config.model.widht=3"], ["did you mean 'width'"]),
        (["--config.model.attention=sparse"], ["config.model", "sparse"]),
        (["--config.flow.output=v"], ["model.output='x'", "flow.output='v'"]),
        (["--config.data.source=video_folder", "--config.data.path="], ["needs a path"]),
        (["--config.data.path=nowhere"], ["no latents in nowhere"]),
        (["--config.model.vocabulary=20"], ["has no room"]),
        (["--init_from=nowhere.safetensors"], ["no weights at nowhere.safetensors"]),
        (["--config.data.format=S"], ["experiments.precompute"]),
        (["--config.train.log_every=0"], ["config.train: log_every=0"]),
    ],
)
def test_bad_input_is_one_line(tmp_path, latents, flags, needles):  # noqa: F811
    one_line(run(tmp_path, latents, *flags), *needles)
