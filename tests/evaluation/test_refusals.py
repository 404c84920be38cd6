"""What is refused leaves a folder of results as it was, byte for byte."""

import functools

import pytest
from toy_board import Grey, files_of

from sora_jax.errors import UserError
from sora_jax.evaluation import suites
from sora_jax.evaluation.calibration_report import calibrate_into
from sora_jax.evaluation.run import evaluate
from sora_jax.evaluation.suites import Metric, Suite
from sora_jax.flow.sampler import SamplerConfig

SETTINGS = {"suites": ["own"], "num_prompts": 2, "batch": 2, "nearest_pool": 2, "sheets": 1}
REFUSED = (
    ({"seed": 1}, "another measurement: seed"),
    ({"num_prompts": 3}, "another measurement: clips"),
    ({"batch": 1}, "another measurement: batch"),
    ({"nearest_pool": 3}, "another measurement: pool"),
    ({"sheets": 0}, "another measurement: sheets"),
    ({"sampler": SamplerConfig(steps=7)}, "another measurement: sampler.steps"),
    ({"suites": ["own", "fact"]}, "no suite 'fact'; did you mean 'facts'"),
    ({"suites": "own"}, "suites is a str"),
    ({"num_prompts": 1}, "num_prompts=1; give at least 2"),
    ({"batch": 0}, "batch=0; give at least 1"),
    ({"nearest_pool": 0}, "nearest_pool=0; give at least 1"),
    ({"sheets": -1}, "sheets=-1; give at least 0"),
)


@pytest.fixture
def own(monkeypatch):
    def read(clip, reading):
        return float(len(clip.take.scene.balls))

    suite = Suite("own", suites.ROOM, {"balls": Metric("tracker", read)})
    monkeypatch.setitem(suites.SUITES, "own", suite)


def check_refused(call, folder, said):
    before = files_of(folder)
    with pytest.raises(UserError, match=said):
        call()
    assert files_of(folder) == before, said


def test_a_refused_evaluation_changes_no_file(tmp_path, own, no_tokenizers):
    folder, other = tmp_path / "results", Grey()
    evaluate(Grey(), folder, **SETTINGS)
    before = files_of(folder)
    assert {"measurement.json", "scores.json", "report.md", "scores/own.json"} < before.keys()
    for changed, said in REFUSED:
        refused = functools.partial(evaluate, Grey(), folder, **SETTINGS | changed)
        check_refused(refused, folder, said)
    other.fingerprints["model"] = "blue"
    check_refused(lambda: evaluate(other, folder, **SETTINGS), folder, "measurement: model")
    check_refused(lambda: calibrate_into(folder, 2), folder, "another measurement")
    evaluate(Grey(), folder, **SETTINGS)
    signed = {"made_with.json": files_of(folder)["made_with.json"]}  # with the date
    assert files_of(folder) == before | signed, "the same measurement"


def test_a_refused_evaluation_makes_no_file(tmp_path, own):
    (tmp_path / "notes.txt").write_text("mine")
    for changed, said in REFUSED:
        if not said.startswith("another"):
            with pytest.raises(UserError, match=said):
                evaluate(Grey(), tmp_path / "new", **SETTINGS | changed)
    said = "not empty and holds no measurement"
    check_refused(lambda: evaluate(Grey(), tmp_path, **SETTINGS), tmp_path, said)
    check_refused(lambda: calibrate_into(tmp_path, 2), tmp_path, said)
    assert list(tmp_path.iterdir()) == [tmp_path / "notes.txt"]
