"""The language of sweeps, and the trials that a sweep plans."""

import dataclasses
import json

import pytest
from toy_sweep import write_sweep

from sora_jax.ablations import trial
from sora_jax.ablations.study import open_study, read_study, read_trial
from sora_jax.ablations.sweep import chain, param, prod, read_sweep, seeds, zip
from sora_jax.errors import UserError


def values(variants):
    return [dict(one.values) for one in variants]


def test_five_words():
    a, b = param("a", [1, 2]), param("x.b", {"small": 3, "large": 4})
    assert values(a) == [{"a": 1}, {"a": 2}] and [one.arm for one in b] == ["small", "large"]
    assert values(prod(a, b)) == [
        {"a": 1, "x.b": 3},
        {"a": 1, "x.b": 4},
        {"a": 2, "x.b": 3},
        {"a": 2, "x.b": 4},
    ]
    assert values(zip(a, b)) == [{"a": 1, "x.b": 3}, {"a": 2, "x.b": 4}]
    assert values(chain(a, b)) == [{"a": 1}, {"a": 2}, {"x.b": 3}, {"x.b": 4}]
    both = prod(zip(a, b), seeds(2))
    assert [one.arm for one in both] == ["a=1, small", "a=1, small", "a=2, large", "a=2, large"]
    assert [one.values["train.seed"] for one in both] == [0, 1, 0, 1]
    with pytest.raises(UserError, match="zip of 2, 3 variants"):
        zip(a, param("c", [1, 2, 3]))


def test_trials_have_their_values_seeds_and_a_fingerprint_of_their_own(tmp_path):
    trials, notes = trial.plan(read_sweep(write_sweep(tmp_path)))
    assert [one.name for one in trials] == [
        "depth=1 seed 0",
        "depth=1 seed 1",
        "depth=2 seed 0",
        "depth=2 seed 1",
    ]
    assert [one.run.model.depth for one in trials] == [1, 1, 2, 2] and not notes
    assert [one.run.train.seed for one in trials] == [0, 1, 0, 1]
    assert len({one.fingerprint for one in trials}) == 4 and len({one.data for one in trials}) == 1
    again, _ = trial.plan(read_sweep(write_sweep(tmp_path)))
    assert [one.fingerprint for one in again] == [one.fingerprint for one in trials]
    text = json.dumps(trials[0].to_dict())
    assert trial.Trial.from_dict(json.loads(text)).fingerprint == trials[0].fingerprint


def test_a_field_that_is_added_later_leaves_fingerprints(tmp_path, monkeypatch):
    """What is equal to its default is not part of a fingerprint; what is not, is."""
    (one, *_), _ = trial.plan(read_sweep(write_sweep(tmp_path)))
    before = one.fingerprint
    known = trial.comparable

    def with_new_field(identity):
        found = known(identity)
        found["model"]["later"] = 0
        return found

    monkeypatch.setattr(trial, "comparable", with_new_field)
    assert one.fingerprint == before
    monkeypatch.undo()
    for section, field, value in (("model", "patch", 1), ("validation", "draws", 2)):
        part = dataclasses.replace(getattr(one.run, section), **{field: value})
        run = dataclasses.replace(one.run, **{section: part})
        assert dataclasses.replace(one, run=run).fingerprint != before
    assert dataclasses.replace(one, dataset={"count": 1}).fingerprint != before
    moved = dataclasses.replace(one.run.data, path=str(tmp_path / "moved"))
    run = dataclasses.replace(one.run, data=moved)
    assert dataclasses.replace(one, run=run).fingerprint == before


def test_trials_that_are_the_same_are_trained_once(tmp_path):
    doubled = 'chain(param("model.depth", [1]), param("model.depth", {"shallow": 1}))'
    trials, notes = trial.plan(read_sweep(write_sweep(tmp_path, doubled)))
    assert len(trials) == 1
    assert notes == ["shallow seed 0 is depth=1 seed 0 again, and is trained once"]


@pytest.mark.parametrize(
    "trials, more, message",
    [
        ('param("model.dept", [1])', "", "unknown key config.model.dept; did you mean 'depth'"),
        ('param("model.depth", [0])', "", "depth=0; give at least 1"),
        ("[]", "", "trials is empty"),
        ('param("model.depth", [1])', 'match="length",', "match='length'; use one of steps"),
        (
            'chain(param("model.depth", {"a": 1}), param("model.depth", {"a": 2}))',
            "",
            "two arms are named a, and differ in model.depth",
        ),
        (
            'param("model.depth", [1])',
            "measure='val/video_los',",
            "measure='val/video_los' is no metric of depth=1; did you mean 'val/video_loss'",
        ),
    ],
)
def test_sweeps_that_cannot_be_are_refused(tmp_path, trials, more, message):
    with pytest.raises(UserError, match=message) as error:
        trial.plan(read_sweep(write_sweep(tmp_path, trials, more)))
    assert "\n" not in str(error.value)


def test_files_that_are_no_sweep(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UserError, match=r"no sweep .*absent.py; give a file such as those of exp"):
        read_sweep(tmp_path / "absent.py")
    with pytest.raises(UserError, match=r"no sweep .*empy.py; did you mean .*empty.py\?$"):
        read_sweep(tmp_path / "empy.py")
    with pytest.raises(UserError, match=r"has no get_sweep\(\)"):
        read_sweep(tmp_path / "empty.py")
    with pytest.raises(UserError, match="Sweep has no parameter 'alwayz'; did you mean 'always'"):
        read_sweep(write_sweep(tmp_path, more="alwayz={}"))
    sweep = write_sweep(tmp_path)
    with pytest.raises(UserError, match="no size gup; did you mean 'gpu'"):
        trial.plan(read_sweep(sweep), "gup")
    trials, _ = trial.plan(read_sweep(sweep), "gpu")
    assert {one.run.train.batch_size for one in trials} == {4}


def test_the_folder_of_a_study(tmp_path):
    """It keeps the trials; it is of one sweep, and copies what is published beside the sweep."""
    sweep, folder = write_sweep(tmp_path), tmp_path / "study"
    fingerprint = trial.plan(read_sweep(sweep))[0][0].fingerprint
    published = sweep.with_suffix("") / f"{fingerprint}.json"
    published.parent.mkdir()
    curves = {"val/loss": [[1, 3.0], [2, 2.0]], "val/audio_loss": [[2, 1.0]]}
    published.write_text(json.dumps({"arm": "depth=1", "curves": curves}))
    study, trials, _ = open_study(sweep, folder)
    assert study.question == "Does a second pair of blocks help?"
    (record,) = study.records()
    assert (record["arm"], record["measure"], record["score"]) == ("depth=1", "val/loss", 2.0)
    assert record["curve"] == [[1, 3.0], [2, 2.0]] and read_study(folder) == study
    assert read_trial(folder, fingerprint).run == trials[0].run
    assert open_study(sweep, folder)[0] == study
    # with another measure the records are read anew
    write_sweep(tmp_path, more="measure='val/audio_loss',")
    (record,) = open_study(sweep, folder)[0].records()
    assert (record["measure"], record["score"]) == ("val/audio_loss", 1.0)
    write_sweep(tmp_path, more="measure='val/video_loss',")
    with pytest.raises(UserError, match="has no curve of val/video_loss; delete it, and run again"):
        open_study(sweep, folder)[0].records()
    write_sweep(tmp_path)
    other = write_sweep(tmp_path, name="other")
    with pytest.raises(UserError, match="holds the study tiny, not other; give another workdir"):
        open_study(other, folder)
    with pytest.raises(UserError, match="holds the study tiny, not tiny at gpu"):
        open_study(sweep, folder, "gpu")
    with pytest.raises(UserError, match="is not empty and holds no study"):
        open_study(sweep, tmp_path)
    with pytest.raises(UserError, match="no trial 12 in"):
        read_trial(folder, "12")
    with pytest.raises(UserError, match="no study in"):
        read_study(tmp_path)
