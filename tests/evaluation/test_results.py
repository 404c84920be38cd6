"""A folder of results is one measurement's."""

import pytest

from sora_jax.errors import UserError
from sora_jax.evaluation.results import claim

IDENTITY = {
    "model": "0123456789ab",
    "num_prompts": 64,
    "sampler": {"steps": 30, "guidance": {"text": 2.0}},
}


def test_only_the_same_measurement_goes_on(tmp_path):
    # stopped before its first result: no reason to refuse the next
    claim(tmp_path, IDENTITY | {"num_prompts": 7})
    claim(tmp_path, IDENTITY)
    (tmp_path / "scores.json").write_text("{}")
    claim(tmp_path, IDENTITY)
    changes = {
        "model": "f" * 12,
        "num_prompts": 8,
        "sampler": {"steps": 30, "guidance": {"text": 3.0}},
    }
    for key, name in zip(changes, ("model", "num_prompts", "sampler.guidance.text"), strict=True):
        with pytest.raises(
            UserError, match=rf"holds another measurement: {name} \(.*now .*give another folder"
        ):
            claim(tmp_path, IDENTITY | {key: changes[key]})
    assert (tmp_path / "scores.json").read_text() == "{}"


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and holds no measurement"):
        claim(tmp_path, IDENTITY)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
