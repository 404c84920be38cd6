"""Registries: names, protocols, and modules that add to them."""

import abc
import os
import subprocess
import sys
from typing import Protocol

import pytest

from sora_jax.errors import UserError
from sora_jax.registry import CONFIGS, Registry, load_module, user_modules


class Shape(Protocol):
    name: str

    def area(self) -> float: ...


@pytest.fixture
def shapes():
    class Square:
        name = "square"

        def area(self):
            return 1.0

    return Registry("shape", Shape, [Square()])


def test_a_class_is_registered_as_an_instance_and_returned_as_it_was(shapes):
    @shapes.register
    class Disc:
        name = "disc"

        def area(self):
            return 3.0

    assert isinstance(Disc, type) and shapes["disc"].area() == 3.0
    assert list(shapes) == ["square", "disc"]


def test_a_function_has_its_own_name():
    patterns = Registry("pattern")

    @patterns.register
    def everywhere(x):
        return x

    assert patterns["everywhere"] is everywhere


def test_an_unknown_name_is_told_the_nearest(shapes):
    with pytest.raises(UserError, match="no shape 'squard'; did you mean 'square'"):
        shapes["squard"]
    assert shapes.get("squard") is None and "squard" not in shapes


def test_a_name_is_registered_once(shapes):
    said = rf"'square' is registered twice, by {__name__} and by {__name__}; rename one"
    with pytest.raises(UserError, match=said):
        shapes.register(type("Other", (), {"name": "square", "area": lambda self: 2.0}))


def test_a_missing_member_of_the_protocol_is_named(shapes):
    with pytest.raises(UserError, match=r"shape 'line' of .* lacks area; see .*Shape"):
        shapes.register(type("Line", (), {"name": "line"}))
    assert "line" not in shapes


def test_a_missing_abstract_method_is_named():
    class Filled(Protocol):
        name: str
        colour: str = "red"

        @abc.abstractmethod
        def area(self) -> float: ...

        @abc.abstractmethod
        def rim(self) -> float: ...

    shapes = Registry("shape", Filled)

    class Line(Filled):
        name = "line"

        def rim(self):
            return 1.0

    with pytest.raises(UserError, match=r"shape 'line' of .* lacks area; see .*Filled"):
        shapes.register(Line)
    assert not shapes

    @shapes.register
    class Disc(Line):
        name = "disc"

        def area(self):
            return 3.0

    assert shapes["disc"].colour == "red"


def test_a_value_at_fault_is_refused():
    def fault(shape):
        return "area is negative; give another" if shape.area() < 0 else None

    shapes = Registry("shape", Shape, fault=fault)
    shapes.register(type("Disc", (), {"name": "disc", "area": lambda self: 3.0}))
    with pytest.raises(UserError, match=r"shape 'hole' of .*: area is negative; give another"):
        shapes.register(type("Hole", (), {"name": "hole", "area": lambda self: -1.0}))
    assert list(shapes) == ["disc"]


def test_a_value_without_a_name_is_refused(shapes):
    with pytest.raises(UserError, match="has no name"):
        shapes.register(type("Line", (), {"area": lambda self: 0.0}))


@pytest.mark.parametrize(
    "text,said",
    [
        ("x = 1\nraise ValueError('no\\nbread')\n", r"ValueError: no bread.*mine\.py, line 2"),
        ("def f(:\n", r"SyntaxError.*mine\.py, line 1"),
        ("import nothing_of_that_name\n", r"ModuleNotFoundError.*mine\.py, line 1"),
    ],
)
def test_a_module_that_fails_is_told_with_its_line(tmp_path, text, said):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=said):
        load_module(str(tmp_path / "mine.py"))


def test_a_file_is_named_by_its_path(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from sora_jax.models.attention_patterns import ATTENTION\n"
        "@ATTENTION.register\ndef pure(tokens):\n    return None\n"
    )
    said = rf"'pure' is registered twice, by sora_jax\.models\.attention_patterns and by {path};"
    with pytest.raises(UserError, match=said):
        load_module(str(path))


def test_a_module_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot be imported"):
        load_module("no_such_module_of_mine")
    (tmp_path / "shapes.py").write_text("")
    with pytest.raises(UserError) as told:
        load_module(str(tmp_path / "shpaes.py"))
    missing, near = tmp_path / "shpaes.py", tmp_path / "shapes.py"
    assert str(told.value) == f"no file {missing} to import; did you mean {near}?"


def test_a_definition_that_is_executed_again_replaces_the_one_before(shapes):
    """As in a notebook, whose cells are run again."""
    cell = "class Disc:\n    name = 'disc'\n    def area(self): return {}\nshapes.register(Disc)"
    for area in (1.0, 2.0):
        exec(cell.format(area), {"shapes": shapes, "__name__": "__main__"})
        assert shapes["disc"].area() == area
    with pytest.raises(UserError, match="registered twice, by __main__ and by __main__"):
        exec(cell.format(3.0).replace("Disc", "Other"), {"shapes": shapes, "__name__": "__main__"})


def test_a_file_never_takes_the_place_of_another_module(tmp_path):
    import random

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "random.py").write_text(f"WHERE = {folder!r}\n")
        load_module(str(tmp_path / folder / "random.py"))
    assert sys.modules["random"] is random


def test_other_processes_load_what_registered_even_in_a_package(tmp_path, monkeypatch):
    pack = tmp_path / "my_pack"
    pack.mkdir()
    (pack / "__init__.py").write_text("from my_pack import shapes\n")
    (pack / "shapes.py").write_text(
        "from sora_jax.registry import CONFIGS\nfrom .size import SIZE\n\n"
        "@CONFIGS.register\ndef packed():\n    return {'size': SIZE}\n"
    )
    (pack / "size.py").write_text("SIZE = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    load_module("my_pack")
    try:
        assert "my_pack.shapes" in user_modules()
        program = (
            "import sys\nfrom sora_jax.registry import CONFIGS, load_modules\n"
            "load_modules(sys.argv[1:])\nprint(CONFIGS['packed']()['size'])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, *user_modules()],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        )
        assert done.stdout == "7\n", done.stderr
    finally:
        CONFIGS.pop("packed")


def test_a_file_is_loaded_once(tmp_path):
    (tmp_path / "counted.py").write_text(
        f"with open({str(tmp_path / 'log')!r}, 'a') as log:\n    log.write('x')\n"
    )
    for _ in range(2):
        load_module(str(tmp_path / "counted.py"))
    assert (tmp_path / "log").read_text() == "x"
