"""A directory goes on only with the run it holds, and says in one line what has changed and what to
do.
"""

import dataclasses
import fcntl
import json
from pathlib import Path

import pytest

from sora_jax.errors import UserError
from sora_jax.training.configs import read_values
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig
from sora_jax.training.start import NEW, Start, open_start
from sora_jax.training.tokenizer import identify_clips
from sora_jax.training.tokenizer_run import tokenizer_run
from sora_jax.training.workdir import open_workdir
from sora_jax.weights import Weights

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
MILESTONES = sorted((EXPERIMENTS / "recipes" / "milestones").glob("*tokenizer*.safetensors"))


@dataclasses.dataclass(frozen=True)
class Run:
    width: int = 8
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig(steps=200)


DATA = {
    "source": "made up",
    "count": 48,
    "tokenizers": {"video_tokenizer": "aaa"},
    "digest": "0123",
}


def refusal(path, run=Run(), start=NEW, data=DATA):
    with pytest.raises(UserError) as error:
        open_workdir(path, run, start, data)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_same_run_goes_on_and_another_does_not(tmp_path):
    path = tmp_path / "run"
    for _ in range(2):
        with open_workdir(path, Run(), NEW, DATA) as workdir:
            workdir.begin()
    before = (path / "config.json").read_text()

    longer = refusal(path, Run(train=TrainConfig(steps=300)))
    assert f"{path} holds a run of 200 steps, not 300" in longer
    assert (
        "config.train.steps=200" in longer
        and f"init_from={path}/weights.safetensors in another workdir" in longer
    )

    other = refusal(path, data=DATA | {"digest": "4567"})
    assert other.startswith(
        f"the data of the run in {path} have changed: dataset.digest (0123, now 4567); bring back"
    )
    other = refusal(path, data=DATA | {"count": 50, "tokenizers": {"video_tokenizer": "bbb"}})
    assert "dataset.count (48, now 50), dataset.tokenizers.video_tokenizer (aaa, now bbb)" in other

    both = refusal(path, Run(width=9, train=TrainConfig(steps=300)))
    assert "another config: train.steps (200, now 300), width (8, now 9)" in both
    assert "init_from (None, now fff)" in refusal(
        path, start=Start("f", Weights({}, {}, {}, "fff"))
    )
    assert (path / "config.json").read_text() == before


def test_how_often_a_run_is_saved_may_change(tmp_path):
    with open_workdir(tmp_path, Run(), NEW, DATA) as workdir:
        workdir.begin()
    saving = TrainConfig(steps=200, checkpoint_every=7, checkpoint_minutes=1.0, keep=9)
    open_workdir(tmp_path, Run(train=saving), NEW, DATA).close()
    logging = TrainConfig(steps=200, log_every=7)
    assert "train.log_every (20, now 7)" in refusal(tmp_path, Run(train=logging))


def test_leaving_damaged_clips_out_is_the_same_run(tmp_path):
    """A run that stops at such a clip was until then the run that leaves it out."""
    run = lambda **changed: dataclasses.make_dataclass("Run", ["data", "optim", "train"])(
        {"clips": 3, "skip_damaged": False} | changed, OptimConfig(), TrainConfig()
    )
    with open_workdir(tmp_path, run(), NEW, DATA) as workdir:
        workdir.begin()
    open_workdir(tmp_path, run(skip_damaged=True), NEW, DATA).close()
    assert "data.clips (3, now 4)" in refusal(tmp_path, run(clips=4))


def with_data(path, **changed):
    data = {"clips": 3, "path": path} | changed
    return dataclasses.make_dataclass("Run", ["data", "optim", "train"])(
        data, OptimConfig(), TrainConfig()
    )


def test_data_that_moved_are_the_same_data(tmp_path):
    """Another folder, another spelling of the same, and the folders of a mixture."""
    with open_workdir(tmp_path / "run", with_data("/scratch/a"), NEW, DATA) as workdir:
        workdir.begin()
    for path in ("/scratch/b", "../a", ""):
        open_workdir(tmp_path / "run", with_data(path), NEW, DATA).close()
    assert "data.clips (3, now 4)" in refusal(tmp_path / "run", with_data("/scratch/b", clips=4))
    assert "dataset.digest" in refusal(
        tmp_path / "run", with_data("/scratch/b"), data=DATA | {"digest": "4567"}
    )
    mixture = lambda path: with_data("", sets=[{"source": "video_folder", "path": path}])
    with open_workdir(tmp_path / "mixed", mixture("/scratch/a"), NEW, DATA) as workdir:
        workdir.begin()
    open_workdir(tmp_path / "mixed", mixture("/scratch/b"), NEW, DATA).close()


def test_a_run_older_than_the_fit_goes_on(tmp_path):
    """The digest of the data says how frames were fitted."""
    with open_workdir(tmp_path, with_data("a"), NEW, DATA) as workdir:
        workdir.begin()
    open_workdir(tmp_path, with_data("a", fit="crop"), NEW, DATA).close()
    boxed = with_data("a", fit="letterbox")
    assert "dataset.digest" in refusal(tmp_path, boxed, data=DATA | {"digest": "4567"})


def test_a_run_that_began_while_this_one_waited_is_seen(tmp_path, monkeypatch):
    """Another command begins its run and ends between this one's look and its lock."""
    lock, begun = fcntl.flock, []

    def late(file, how):
        lock(file, how)
        if not begun:
            begun.append(True)
            other = {"config": {"width": 9}, "fingerprint": ""}
            (tmp_path / "config.json").write_text(json.dumps(other))

    monkeypatch.setattr(fcntl, "flock", late)
    assert "holds a run with another config" in refusal(tmp_path)


def test_two_runs_at_once_in_one_directory(tmp_path):
    with open_workdir(tmp_path, Run(), NEW, DATA):
        assert f"another process is training in {tmp_path}" in refusal(tmp_path)
    open_workdir(tmp_path, Run(), NEW, DATA).close()


def test_a_directory_is_anyones_until_training_begins(tmp_path):
    open_workdir(tmp_path, Run(), NEW, DATA).close()
    with open_workdir(
        tmp_path, Run(9, train=TrainConfig(steps=3)), NEW, DATA | {"digest": "4567"}
    ) as workdir:
        workdir.begin()
    assert (
        json.loads((tmp_path / "config.json").read_text())["config"]["dataset"]["digest"] == "4567"
    )
    (tmp_path / "config.json").write_text("not JSON")
    assert "is not a run's configuration" in refusal(tmp_path)


@dataclasses.dataclass(frozen=True)
class Part:
    family: str = "room"
    label: str = ""  # added later


@dataclasses.dataclass(frozen=True)
class Mixture:
    sets: tuple[Part, ...] = (Part(),)
    boxes: float = 1.0  # added later


@dataclasses.dataclass(frozen=True)
class Mixed(Run):
    data: Mixture = Mixture()


def test_a_field_that_was_added_later_has_its_default_in_older_runs(tmp_path):
    with open_workdir(tmp_path, Mixed(), NEW, DATA) as workdir:
        workdir.begin()
    record = json.loads((tmp_path / "config.json").read_text())
    del record["config"]["data"]["boxes"], record["config"]["data"]["sets"][0]["label"]
    (tmp_path / "config.json").write_text(json.dumps(record))
    open_workdir(tmp_path, Mixed(), NEW, DATA).close()
    other = refusal(tmp_path, Mixed(data=Mixture(boxes=2.0)))
    assert other.startswith(f"{tmp_path} holds a run with another config: data.boxes (1.0, now 2")
    assert "data.sets" in refusal(tmp_path, Mixed(data=Mixture(sets=(Part(label="a"),))))


@pytest.mark.parametrize("file", MILESTONES, ids=lambda file: file.stem)
def test_the_committed_runs_go_on_with_the_code_of_today(file, tmp_path):
    run = tokenizer_run(read_values(EXPERIMENTS / "configs" / f"{file.stem}.py"))
    open_workdir(tmp_path, run, open_start(run.kind, None, file), identify_clips(run.data)).close()
