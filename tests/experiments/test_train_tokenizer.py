"""Training a tokenizer: its held-out scores, and going on from a file that holds statistics beside
the parameters.
"""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from sora_jax import mp4, weights
from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.evaluation import suites
from sora_jax.evaluation.round_trip import psnr, videos_through
from sora_jax.modality import FORMATS
from sora_jax.oracles.examples import ground_truth
from sora_jax.oracles.reading import Reading
from sora_jax.tokenizers.audio import AudioTokenizerConfig
from sora_jax.tokenizers.video import VideoTokenizerConfig
from sora_jax.training.state import split_module
from sora_jax.training.tokenizer import train_tokenizer, trained
from sora_jax.training.tokenizer_run import KINDS, TokenizerRun, tokenizer_run
from sora_jax.training.tokenizer_scores import held_out_psnr
from sora_jax.tree import flatten

ROOT = Path(__file__).parents[2]
CONFIGS = {
    "video_tokenizer": VideoTokenizerConfig(8, 16, 1, 1, 1, 1),
    "audio_tokenizer": AudioTokenizerConfig(
        bands=16, width=16, encoder_blocks=1, decoder_blocks=1, iterations=2
    ),
}


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_a_stored_tokenizer_is_a_start(tmp_path, kind):
    make = lambda seed: KINDS[kind].module(CONFIGS[kind], rngs=nnx.Rngs(seed))
    old = make(1)
    old.scale[...] = 3.0 * old.scale[...]
    weights.save_weights(tmp_path / "w", kind, nnx.state(old, weights.STORED), CONFIGS[kind], {})
    new = make(2)
    params, merge = split_module(new)
    again = merge(
        weights.fill(params, trained(weights.load_weights(tmp_path / "w", kind).params, new))
    )
    assert float(again.scale[...]) == 1.0
    got, wanted = (flatten(nnx.state(x, nnx.Param)) for x in (again, old))
    for name in wanted:
        np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)


@pytest.mark.slow
def test_held_out_psnr_is_that_of_the_evaluation():
    """One definition: what the trainer prints for a tokenizer is what experiments.evaluate reads,
    over the same clips.
    """
    tokenizer = KINDS["video_tokenizer"].module(CONFIGS["video_tokenizer"], rngs=nnx.Rngs(0))
    scores = held_out_psnr(tokenizer, FORMATS["nano"], clips=2)
    made = videos_through(tokenizer, ground_truth("val", range(2), FORMATS["nano"]))
    suite = suites.SUITES["tokenizers"]
    values = [suites.values(suite, clip, Reading(clip)) for clip in made]
    assert scores["clip_psnr"] != scores["box_psnr"]
    for name, metric in (("clip_psnr", "psnr"), ("box_psnr", "psnr_balls")):
        assert scores[name] == pytest.approx(np.mean([of[metric] for of in values]), abs=1e-3)
    # By hand, for a clip: all pixels.
    frames = made[0].reference.frames
    decoded = np.asarray(tokenizer.decode(tokenizer.encode(frames[None])))[0].clip(0, 1)
    by_hand = -10 * np.log10(np.square(decoded - frames).mean())
    assert psnr(made[0]) == pytest.approx(by_hand, abs=1e-2)


def test_psnr_without_a_pixel_or_an_error_is_left_out():
    """Scenes of `talk` have no balls, so nothing is in their boxes; an exact copy has no error."""
    tokenizer = KINDS["video_tokenizer"].module(CONFIGS["video_tokenizer"], rngs=nnx.Rngs(0))
    assert set(held_out_psnr(tokenizer, FORMATS["nano"], 1, "talk")) == {"clip_psnr"}
    tokenizer.encode = tokenizer.decode = lambda frames: frames
    assert held_out_psnr(tokenizer, FORMATS["nano"], 1) == {}


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_the_kind_says_whose_configuration_it_is(kind):
    """Both kinds have keys that the other has not, and one class holds either."""
    (other,) = set(CONFIGS) - {kind}
    values = {"kind": kind, "tokenizer": dataclasses.asdict(CONFIGS[kind])}
    assert tokenizer_run(values) == TokenizerRun(kind, CONFIGS[kind])
    with pytest.raises(UserError, match=r"unknown key config\.tokenizer\.\w+; "):
        tokenizer_run(values | {"tokenizer": dataclasses.asdict(CONFIGS[other])})
    with pytest.raises(UserError, match="config lacks tokenizer"):
        tokenizer_run({"kind": kind})
    with pytest.raises(ValueError, match=f"kind='{kind}' with a .*; its kind is {other}"):
        TokenizerRun(kind, CONFIGS[other])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"source": "nowhere"}, "config.data: source='nowhere'; use 'playhouse' or 'video_folder'"),
        ({"source": "video_folder"}, "config.data: source='video_folder' needs a path"),
        ({"path": "videos"}, "config: data: source='playhouse' reads no path='videos'; leave it"),
        ({"clips": 0}, "config.data: clips=0; give at least 1"),
        ({"family": "rooms"}, "config.data: family='rooms'; use one of room"),
    ],
)
def test_data_that_cannot_be_are_refused(data, said):
    with pytest.raises(UserError, match=re.escape(said)):
        tokenizer_run({"kind": "audio_tokenizer", "tokenizer": {}, "data": data})


@pytest.mark.slow
def test_the_command_continues(tmp_path):
    def run(workdir, *flags):
        command = [
            sys.executable,
            "-m",
            "experiments.train_tokenizer",
            "--config=experiments/configs/audio_tokenizer.py",
            f"--workdir={tmp_path / workdir}",
            "--config.train.steps=2",
            "--config.train.batch_size=2",
            "--config.data.clips=4",
            *flags,
        ]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)

    assert run("a").returncode == 0
    start = tmp_path / "a" / "weights.safetensors"
    done = run("b", f"--init_from={start}")
    assert done.returncode == 0, done.stderr
    _, made = weights.load_audio_tokenizer(tmp_path / "b" / "weights.safetensors")
    assert (
        made.metadata["run"]["init_from"]
        == weights.load_weights(start, "audio_tokenizer").fingerprint
    )
    other = run("b")
    assert other.returncode == 2 and "init_from" in other.stderr


CONFIG = """
from ml_collections import ConfigDict
def get_config():
    data = {"source": "video_folder", "path": PATH}
    return ConfigDict({"kind": KIND, "tokenizer": TOKENIZER, "data": data,
                       "train": {"steps": 2, "batch_size": 2}})
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_the_command_trains_on_videos(tmp_path, kind):
    videos = tmp_path / "videos"
    for i in range(4):
        sound = None if i == 1 else 0.1 * (i + 1) * np.sin(np.arange(34000) * 0.1)
        mp4.write_mp4(videos / f"{i}.mp4", Clip(np.full((17, 32, 32, 3), 0.2 * i), sound, 8))
    settings = {"KIND": kind, "TOKENIZER": dataclasses.asdict(CONFIGS[kind]), "PATH": str(videos)}
    text = CONFIG
    for name, value in settings.items():
        text = text.replace(name, repr(value))
    (tmp_path / "config.py").write_text(text)

    def run():
        command = [
            sys.executable,
            "-m",
            "experiments.train_tokenizer",
            f"--config={tmp_path / 'config.py'}",
            f"--workdir={tmp_path / 'run'}",
        ]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)

    done = run()
    assert done.returncode == 0 and "4 files: clips" in done.stderr, done.stderr
    made = weights.load_weights(tmp_path / "run" / "weights.safetensors", kind)
    picture = np.asarray(Image.open(tmp_path / "run" / "round_trip.png"))
    assert picture.shape[2] == 3 and picture[40:].std() > 10
    assert made.metadata["held_out"] and made.metadata["run"]["data"]["path"] == "videos"
    assert made.metadata["run"]["dataset"]["set"].startswith("videos_") and str(
        tmp_path
    ) not in str(made.metadata)
    (videos / "3.mp4").unlink()
    done = run()
    assert (
        done.returncode == 2
        and "the data of the run in" in done.stderr
        and len(list((tmp_path / "run/clips/video_folder").iterdir())) == 1
    )


@pytest.mark.slow
def test_the_command_trains_on_a_source_of_ones_own(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "experiments.train_tokenizer",
            "--import=docs/examples/own_source.py",
            "--config=experiments/configs/audio_tokenizer.py",
            f"--workdir={tmp_path / 'run'}",
            "--config.data.source=sweep",
            "--config.data.clips=3",
            "--config.train.steps=2",
            "--config.train.batch_size=2",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    made = weights.load_weights(tmp_path / "run" / "weights.safetensors", "audio_tokenizer")
    assert made.metadata["run"]["dataset"] == {"source": "sweep", "split": "train"}
    assert made.metadata["held_out"]["companded_error"] > 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"sets": [{"family": "room"}, {"family": "room"}]}, "room@nano twice"),
        ({"sets": [{"family": "room"}], "family": "court"}, "family='court' beside sets"),
        ({"sets": [{"family": "room", "weight": 0.0}]}, "weight=0.0; give a number above 0"),
        ({"sets": [{"famly": "room"}]}, "did you mean 'family'"),
    ],
)
def test_a_wrong_mixture_is_refused(data, words):
    with pytest.raises(UserError, match=re.escape(words)):
        tokenizer_run({"kind": "video_tokenizer", "tokenizer": {}, "data": data})


@pytest.mark.slow
def test_a_mixture_of_formats_trains_and_scores_each_set(tmp_path):
    sets = [
        {"family": "room", "clips": 4},
        {"family": "story_2", "format": "story2", "clips": 2, "batch_size": 1, "weight": 2.0},
    ]
    values = {
        "kind": "audio_tokenizer",
        "tokenizer": dataclasses.asdict(CONFIGS["audio_tokenizer"]),
        "data": {"sets": sets},
        "train": {"steps": 3, "batch_size": 2},
    }
    made = train_tokenizer(tokenizer_run(values), tmp_path / "run")
    assert {name.split("/")[0] for name in made.scores} == {"room@nano", "story_2@story2"}
    written = weights.load_weights(made.weights, "audio_tokenizer").metadata["run"]["dataset"]
    assert set(written) == {"room@nano", "story_2@story2"}
