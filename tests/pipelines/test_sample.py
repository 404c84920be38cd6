"""The command: what it writes, what it refuses, and that a refusal is one line, exit status 2 and
no file.
"""

import dataclasses
import json
import re

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from experiments import sample
from sora_jax import cli, media, mp4
from sora_jax.clip import Clip
from sora_jax.media import remux
from sora_jax.oracles import verdict
from sora_jax.pipelines import record
from sora_jax.pipelines.generated import Generated

PROMPT = "a large red ball is thrown to the left and bounces twice"


@pytest.fixture
def command(folder, tmp_path):
    """Runs the command with the tiny weights; returns the names of the files in its output
    folder.
    """

    def run(*arguments, output="out"):
        given = {
            f"--weights={folder}/nano.safetensors",
            f"--video_tokenizer={folder}/video.safetensors",
            f"--audio_tokenizer={folder}/audio.safetensors",
            f"--output_dir={tmp_path / output}",
            "--steps=2",
        }
        names = {a.split("=")[0] for a in arguments}
        with flagsaver.flagsaver():
            flags.FLAGS(["sample", *(g for g in given if g.split("=")[0] not in names), *arguments])
            sample.main(["sample"])
        return sorted(p.name for p in (tmp_path / output).iterdir())

    return run


@pytest.fixture
def refusal(command, tmp_path, capsys, monkeypatch):
    """Runs the command as a shell would, and returns the one line it ends with."""

    def run(*arguments):
        monkeypatch.setattr("absl.app.run", lambda main, flags_parser=None: main(["sample"]))
        with pytest.raises(SystemExit) as stop:
            cli.run_main(lambda _: command(*arguments))
        assert stop.value.code == 2
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
        lines = [
            line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")
        ]
        assert len(lines) == 1
        return lines[0]

    return run


def test_a_prompt_writes_a_clip_a_sheet_and_a_record(command, tmp_path, capsys):
    stem = "000-a-large-red-ball-is-thrown-seed"
    names = command(
        f"--prompt={PROMPT}",
        "--num_samples=2",
        "--seed=7",
        "--guidance=3",
        "--guidance_audio=1.5",
        "--sampler=heun",
    )
    assert names == sorted(
        f"{stem}{seed}{suffix}"
        for seed in (7, 8)
        for suffix in (".json", ".latents.npz", ".mp4", ".png")
    )
    path = tmp_path / "out" / f"{stem}8.mp4"
    record = json.loads(path.with_suffix(".json").read_text())
    assert (record["prompt"], record["seed"], record["frames"], record["fps"]) == (PROMPT, 8, 17, 8)
    assert (
        record["settings"]["sampler"]["method"] == "heun"
        and record["settings"]["sampler"]["steps"] == 2
    )
    assert record["settings"]["sampler"]["guidance"] == {
        "text": 3.0,
        "video": None,
        "audio": 1.5,
        "couple": 1.0,
        "reference": 1.0,
    }
    assert {"count", "balls", "heard_impacts"} <= record["oracles"].keys()
    assert {"sample", "decode", "oracles", "write"} <= record["timings"].keys()
    inside = mp4.read_metadata(path)
    assert (inside["prompt"], inside["seed"], inside["model"]) == (
        PROMPT,
        8,
        record["model"],
    ) and inside["config"]["width"] == 32
    video = media.read_video(path)
    assert video.frames.shape == (17, 16, 16, 3) and video.samples is not None
    with Image.open(path.with_suffix(".png")) as sheet:
        assert sheet.width > 1000
    out = capsys.readouterr().out
    assert str(path) in out
    facts = {
        line["fact"]: line for line in record["verdict"]["facts"] if line["ball"] in (None, "red")
    }
    assert list(facts) == [
        "balls",
        "persistent",
        "colour",
        "size",
        "launch",
        "direction",
        "bounces",
    ]
    assert facts["bounces"]["asked"] == 2 and facts["bounces"]["met"] == (
        facts["bounces"]["seen"] == 2
    )
    assert "prompt not met: " in out and re.search(r"  bounces +2 ", out)

    # nothing is overwritten: the name gets a number
    names = command(f"--prompt={PROMPT}", "--seed=8")
    assert f"{stem}8-2.mp4" in names and json.loads(path.with_suffix(".json").read_text()) == record


def test_a_file_of_prompts(command, tmp_path):
    (tmp_path / "prompts.txt").write_text("a small blue ball\n\n  a large green ball \n")
    names = command(f"--prompts_file={tmp_path}/prompts.txt")
    assert [n for n in names if n.endswith(".mp4")] == [
        "000-a-small-blue-ball-seed0.mp4",
        "001-a-large-green-ball-seed0.mp4",
    ]


def test_conditions_are_read_fitted_and_said(command, tmp_path, capsys):
    noise = np.random.default_rng(0)
    Image.fromarray(noise.integers(0, 255, (30, 50, 3), np.uint8)).save(tmp_path / "still.png")
    command(f"--first_frame={tmp_path}/still.png", "--prompt=a zebra")
    said = capsys.readouterr().err
    assert "50 x 30 cropped to its central square and resized to 16 x 16" in said
    assert "outside the vocabulary, which the model never learned: zebra" in said

    mp4.write_mp4(
        tmp_path / "own.mp4",
        Clip(noise.integers(0, 255, (80, 24, 24, 3), np.uint8), noise.normal(0, 0.1, 40_000), 25),
    )
    names = command(f"--given_video={tmp_path}/own.mp4", output="video")
    record = json.loads((tmp_path / "video" / names[0]).read_text())
    assert record["settings"]["task"] == "given_video" and any(
        "resized" in note for note in record["notes"]
    )
    names = command(f"--given_audio={tmp_path}/own.mp4", output="audio")
    assert (
        json.loads((tmp_path / "audio" / names[0]).read_text())["settings"]["task"] == "given_audio"
    )


def test_a_given_video_keeps_its_container(command, tmp_path, capsys):
    frames = np.random.default_rng(0).integers(0, 255, (20, 24, 24, 3), np.uint8)
    mp4.write_mp4(tmp_path / "own.mp4", Clip(frames, None, 8))
    remux.write(tmp_path / "own.mkv", tmp_path / "own.mp4", np.zeros(40_000, np.float32), {})
    names = command(f"--given_video={tmp_path}/own.mkv")
    assert names == [f"000-given-video-seed0.{kind}" for kind in ("json", "mkv", "png")]
    assert "audio of 2.50 s made in 2 windows" in capsys.readouterr().err
    read = media.read_video(tmp_path / "out" / "000-given-video-seed0.mkv")
    np.testing.assert_array_equal(read.frames, media.read_video(tmp_path / "own.mkv").frames)


def test_clips_are_made_of_clips(command, tmp_path, capsys):
    """Storyboard, edit, remix, loop, in-between and backward, as a user gives them."""
    (tmp_path / "story.txt").write_text(
        "[STYLE cinematic | AMBIENCE crickets | CAST @uma | BALL green]\n"
        "[SHOT 1 | 1.1 s | wide | static | room a] @uma leaves for room d.\n"
        "[SHOT 2 | 0.6 s | wide | static | room d] @uma switches the lamp off.\n"
    )
    board = f"--storyboard={tmp_path}/story.txt"

    def record(name):
        return json.loads(next((tmp_path / name).glob("*.json")).read_text())

    def clip(name):
        return next((tmp_path / name).glob("*.mp4"))

    command(board, output="story")
    assert record("story")["frames"] == 14
    command(board, f"--edit={clip('story')}", "--edit_shot=1", "--seed=3", output="edit")
    assert record("edit")["settings"]["task"] == "edited" and record("edit")["frames"] == 14
    command("--prompt=a red ball", output="clip")
    given = clip("clip")
    command("--prompt=a blue ball", f"--remix={given}", "--strength=0.4", output="remix")
    command("--prompt=a red ball", "--loop", "--seconds=1", output="loop")
    command(f"--in_between={given},{given}", "--seconds=0.5", output="between")
    command(f"--extend_backward={given}", "--seconds=1", output="before")
    frames = {name: record(name)["frames"] for name in ("remix", "loop", "between", "before")}
    assert frames == {"remix": 17, "loop": 24, "between": 17 + 3 + 17, "before": 8 + 17}
    assert "encoded" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_clip_is_continued_twice(command, tmp_path, capsys):
    first = command("--prompt=a red ball")[2]
    second = command(f"--continue_clip={tmp_path}/out/{first}", "--seconds=1", output="second")[2]
    third = command(f"--continue_clip={tmp_path}/second/{second}", "--seconds=0.3", output="third")
    said = capsys.readouterr().err
    assert (
        "0.3 s become 0.5 s: a clip grows by whole latents of 0.5 s" in said
        and "become 1 s" not in said
    )
    assert said.count("opened from the latents beside") == 2 and "encoded" not in said
    record = json.loads((tmp_path / "third" / third[0]).read_text())
    assert record["frames"] == 17 + 8 + 4 and "opened from the latents" in record["notes"][0]
    assert len(media.read_video(tmp_path / "third" / third[2]).frames) == 29


def test_refusals(refusal, folder, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "story.txt").write_text(
        "[STYLE cinematic | AMBIENCE crickets | CAST @uma]\n[SHOT 2"
    )
    p = f"--prompt={PROMPT}"
    for arguments, words in (
        (["--prompt= "], "--prompt is empty"),
        ([], "nothing to generate"),
        ([p, "--seconds=3"], "extend a clip (--continue_clip), or train on another"),
        ([p, "--size=32x32"], "ask for one of these, or train on another format"),
        ([p, "--prompts_file=x"], "--prompt and --prompts_file exclude each other; give one"),
        ([p, "--storyboard=x"], "--prompt and --storyboard exclude each other; give one"),
        ([f"--storyboard={tmp_path}/story.txt"], "story.txt: the storyboard cannot be read: shot"),
        ([p, "--remix=absent.mp4"], "--remix=absent.mp4: no such file"),
        ([p, "--in_between=absent.mp4,absent.mp4"], "--in_between=absent.mp4: no such file"),
        ([p, "--strength=0.3"], "--strength: strength=0.3 is that of a remix"),
        ([p, "--loop", "--given_audio=absent.wav"], "no such file"),
        (["--prompts_file=absent.txt"], "no such file"),
        ([f"--prompts_file={tmp_path}/blank.txt"], "holds no prompt"),
        ([p, "--weights=absent.safetensors"], "--weights=absent.safetensors: no such file"),
        ([p, f"--weights={folder}/audio.safetensors"], "of kind audio_tokenizer, not st_dit"),
        ([p, f"--weights={tmp_path}/text.png"], "not a readable safetensors file"),
        ([p, f"--first_frame={tmp_path}/text.png"], "not a readable image"),
        ([p, f"--given_video={tmp_path}/text.png"], "cannot read"),
        ([p, "--given_audio=absent.wav"], "no such file"),
        (["--continue_clip=absent.mp4"], "no such file"),
        ([p, "--character=mika"], "--character=mika; give each once, as @mika=FOLDER"),
        ([p, f"--character=@mika={tmp_path}"], "has no front.png, left.png"),
        ([p, f"--output_dir={tmp_path}/text.png/out"], "Not a directory"),
        # Paths are looked at before anything is loaded: these weights cannot be read, and that is
        # not what is said.
        (
            [p, f"--weights={tmp_path}/text.png", f"--output_dir={tmp_path}/text.png/out"],
            "--output_dir: cannot write into ",
        ),
        (
            [p, f"--weights={tmp_path}/text.png", "--given_audio=absent.wav"],
            "--given_audio=absent.wav: no such file",
        ),
        # So strong a guidance that its numbers overflow: there is no clip, and nothing is written.
        ([p, "--guidance=3e38"], "latents made with seed 0 are NaN or infinite"),
    ):
        line = refusal(*arguments)
        assert words in line, (arguments, line)


def test_nothing_seen_and_nothing_heard_is_no_agreement(pipeline, tmp_path):
    format = pipeline.format
    latents = {
        "video": np.zeros((5, 2, 2, 16), np.float32),
        "audio": np.zeros((format.audio_latents, 64), np.float32),
    }
    provenance = {"prompt": PROMPT, "seed": 0, "task": "text", "negative_prompt": "", "sampler": {}}
    grey = Generated(
        np.full((17, 16, 16, 3), 0.5, np.float32),
        np.zeros(format.samples, np.float32),
        format.fps,
        format=format,
        latents=latents,
        provenance=provenance,
    )
    report, reading = record.write(tmp_path / "grey.mp4", grey), grey.reading
    sync = report["oracles"]["sync"]
    assert (
        sync["f1_100ms"] is None and sync["unscored"] == "no impact is in the video or in the audio"
    )
    assert verdict.say_impacts(reading) == "no impact seen; no impact heard"
    assert verdict.say_balls(reading) == "no ball" and not any(
        line["met"] for line in report["verdict"]["facts"]
    )
    assert record.say_reading(grey) == "no ball; no impact seen; no impact heard"
    talk = dataclasses.replace(grey, family="talk")
    assert record.say_reading(talk) == ""
    assert not {"balls", "seen_impacts", "sync"} & set(
        record.write(tmp_path / "talk.mp4", talk)["oracles"]
    )


def test_facts_that_no_oracle_reads_are_said_and_not_counted():
    lines = [
        {"ball": None, "fact": "style", "asked": "anime", "seen": "anime", "met": True},
        {"ball": None, "fact": "voice", "asked": "red", "seen": None, "met": None},
    ]
    facts = [{"reason": None, **lines[0]}, {"reason": "the clip has no audio", **lines[1]}]
    told = record.facts_table({"met": True, "facts": facts, "family": "film"})
    assert told.startswith("prompt met: 1 of 1 facts")
    assert "not read: the clip has no audio" in told.splitlines()[-1]
