"""Runs from configurations, from Python."""

import pytest

from sora_jax.errors import UserError
from sora_jax.registry import CONFIGS
from sora_jax.training.configs import load_run

VALUES = {"model": {"depth": 1}, "train": {"steps": 3}}


@pytest.fixture
def registered():
    @CONFIGS.register
    def small():
        return VALUES

    yield "small"
    CONFIGS.pop("small")


def test_overrides_leave_the_configuration_as_it_was(registered):
    assert load_run(registered, {"train.steps": 9, "data.clips": 5}).train.steps == 9
    assert load_run(registered, {"config.train.steps": 9}).train.steps == 9
    assert load_run(registered).train.steps == 3 and VALUES["train"] == {"steps": 3}


@pytest.mark.parametrize(
    "overrides, said",
    [
        ({"train.step": 9}, r"unknown key train\.step; did you mean 'train\.steps'"),
        ({"config.steps": 9}, r"unknown key steps; did you mean 'train\.steps' or"),
        ({"learning_rate": 1e-3}, r"unknown key learning_rate; did you mean 'optim\.lr'\?"),
        ({"train.learning_rate": 1e-3}, r"did you mean 'optim\.lr'\?"),
        ({"modle": 1}, r"unknown key modle; did you mean 'model'\?"),
        ({"zzzz": 1}, r"unknown key zzzz; known: adapt, data, .*, train"),
        ({"train.steps.x": 9}, "steps of small has no keys of its own"),
        ({"train": {"steps": 9}}, "train is given a section; .* train.steps"),
    ],
)
def test_a_wrong_override_is_told(registered, overrides, said):
    with pytest.raises(UserError, match=said):
        load_run(registered, overrides)


@pytest.mark.parametrize(
    "text, said",
    [
        (None, "no configuration .*mine.py; give a file"),
        ("def get_config(:", "mine.py fails: SyntaxError"),
        ("x = 1", "has no get_config"),
        ("def get_config(): return {}['model']", "mine.py fails: KeyError"),
        ("def get_config(): return {'tokenizer': {}}", "is of no model, only tokenizer"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path, text, said):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=said):
        load_run(tmp_path / "mine.py")
