"""A directory goes on only with the run it holds, and says in one line what has changed and what to
do.
"""

import dataclasses
import json

import pytest

from sora_jax.errors import UserError
from sora_jax.training.loop import TrainConfig
from sora_jax.training.workdir import open_workdir


@dataclasses.dataclass(frozen=True)
class Run:
    width: int = 8
    train: TrainConfig = TrainConfig(steps=200)


DATA = {
    "source": "made up",
    "count": 48,
    "tokenizers": {"video_tokenizer": "aaa"},
    "digest": "0123",
}


def refusal(path, run=Run(), init_from=None, data=DATA):
    with pytest.raises(UserError) as error:
        open_workdir(path, run, init_from, data)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_same_run_goes_on_and_another_does_not(tmp_path):
    path = tmp_path / "run"
    for _ in range(2):
        with open_workdir(path, Run(), None, DATA) as workdir:
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
    assert "init_from (None, now fff)" in refusal(path, init_from="fff")
    assert (path / "config.json").read_text() == before


def test_leaving_damaged_clips_out_is_the_same_run(tmp_path):
    """A run that stops at such a clip was until then the run that leaves it out."""
    run = lambda **changed: dataclasses.make_dataclass("Run", ["data", "train"])(
        {"clips": 3, "skip_damaged": False} | changed, TrainConfig()
    )
    with open_workdir(tmp_path, run(), None, DATA) as workdir:
        workdir.begin()
    open_workdir(tmp_path, run(skip_damaged=True), None, DATA).close()
    assert "data.clips (3, now 4)" in refusal(tmp_path, run(clips=4))


def test_a_directory_is_anyones_until_training_begins(tmp_path):
    open_workdir(tmp_path, Run(), None, DATA).close()
    with open_workdir(
        tmp_path, Run(9, TrainConfig(steps=3)), None, DATA | {"digest": "4567"}
    ) as workdir:
        workdir.begin()
    assert (
        json.loads((tmp_path / "config.json").read_text())["config"]["dataset"]["digest"] == "4567"
    )
    (tmp_path / "config.json").write_text("not JSON")
    assert "is not a run's configuration" in refusal(tmp_path)
