"""The names of `import sora_jax`: which, how fast, and that type checkers see the same."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sora_jax
from sora_jax.data.latents.precompute import precompute
from sora_jax.evaluation.calibrate import calibrate
from sora_jax.flow.loss import FlowConfig
from sora_jax.training.tokenizer import train_tokenizer

NAMES = {
    *("load_pipeline", "Pipeline", "Request", "SamplerConfig", "Guidance", "Clip", "ClipFormat"),
    *("FORMATS", "STDiT", "STDiTConfig", "Run", "load_run", "train", "evaluate"),
    "finetune",
    *("draw", "render", "FAMILIES", "ORACLES", "read_clip", "read_video", "fit_clip"),
    *("write_mp4", "UserError", "__version__"),
}


def test_the_names_are_these():
    """A name that goes or comes is a change of the public API."""
    assert set(sora_jax.__all__) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_is_there(name):
    assert getattr(sora_jax, name) is not None and name in dir(sora_jax)


def test_modules_are_found_too():
    program = "import sora_jax; print(sora_jax.registry.Registry.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "Registry\n", done.stderr


def test_an_unknown_name_is_an_attribute_error():
    known = "no attribute 'load_pipelin'; did you mean 'load_pipeline'?"
    with pytest.raises(AttributeError, match=re.escape(known)):
        _ = sora_jax.load_pipelin
    assert not hasattr(sora_jax, "_load_pipelin")


FUNCTIONS = [name for name in sorted(NAMES) if inspect.isfunction(getattr(sora_jax, name))]


@pytest.mark.parametrize("function", [*FUNCTIONS, precompute, calibrate, train_tokenizer])
def test_a_misspelt_keyword_names_the_nearest(function):
    function = getattr(sora_jax, function) if isinstance(function, str) else function
    *others, last = inspect.signature(function).parameters.values()
    if last.kind == last.VAR_KEYWORD:  # settings of finetune
        wrong, near = {"stpes": 1}, "steps"
    else:
        others, wrong, near = others[:1], {f"{last.name}x": 1}, last.name
    with pytest.raises(sora_jax.UserError) as told:
        function(*(one.name for one in others), **wrong)
    assert f"did you mean {near!r}?" in str(told.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: sora_jax.ClipFormat(frames=16),
        lambda: sora_jax.STDiTConfig(heads=7),
        lambda: sora_jax.Run(flow=FlowConfig(output="v")),
    ],
)
def test_constructors_raise_value_errors(make):
    """As is usual in Python. A UserError is none: a missing file is no wrong value."""
    with pytest.raises(ValueError):
        make()
    assert not issubclass(sora_jax.UserError, ValueError)


def test_no_name_is_that_of_a_module():
    """`import sora_jax.clip` sets `sora_jax.clip`: a function of that name would be hidden."""
    modules = {module.name for module in pkgutil.iter_modules(sora_jax.__path__)}
    assert not modules & NAMES


def test_type_checkers_see_the_same():
    tree = ast.parse((Path(sora_jax.__file__).parent / "__init__.pyi").read_text())
    stub = {
        alias.name: node.module.removeprefix("sora_jax.")
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert stub == sora_jax._MODULES
    for name, module in stub.items():
        assert hasattr(importlib.import_module(f"sora_jax.{module}"), name)


def test_the_import_is_quick_and_brings_no_jax():
    program = (
        "import sys, time; start = time.perf_counter(); import sora_jax; "
        "print(time.perf_counter() - start, 'jax' in sys.modules, 'numpy' in sys.modules)"
    )
    seconds = []
    for _ in range(3):  # a busy machine may delay one
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        took, *brought = done.stdout.split()
        assert brought == ["False", "False"]
        seconds.append(float(took))
        time.sleep(0.1)
    assert min(seconds) < 0.1
