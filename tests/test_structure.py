"""Limits of the code: lengths of files and functions, imports inside functions, lambdas."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("sora_jax", "experiments", "benchmarks", "kernels")
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
FILE, COMMAND, FUNCTION = 400, 120, 80  # lines
INNER_IMPORTS, LAMBDAS = 40, 3  # in all, and in 1,000 lines
# Exceptions, each with its reason
LONG_FILES = {
    "experiments/sample.py": "flags and their help are a hundred lines",
    "experiments/soak.py": "kills processes, and nobody would call it from Python",
    "kernels/conv_prologue/pallas_tpu.py": "both passes share the tiling and its blocks",
    "kernels/temporal_attention/pallas_tpu.py": "both passes share the layout of a tile",
    "kernels/temporal_attention/triton.py": "both passes share functions of the device",
    "sora_jax/export/sora_torch.py": "is copied to users of PyTorch as one file",
}
LONG_FUNCTIONS = {
    "kernels/temporal_attention/pallas_tpu.py::_backward_kernel": "one program of the device",
    "kernels/temporal_attention/triton.py::backward_kernel": "one program of the device",
}


def nodes(sources: dict[str, str], *kinds: type) -> Iterator[tuple[str, ast.AST]]:
    """(file, node) of each node of these kinds."""
    for name, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, kinds):
                yield name, node


def functions(sources: dict[str, str]) -> Iterator[tuple[str, ast.AST]]:
    return nodes(sources, ast.FunctionDef, ast.AsyncFunctionDef)


def long_files(sources: dict[str, str]) -> set[str]:
    commands = {name for name in sources if Path(name).parent.name == "experiments"}
    return {
        name
        for name, text in sources.items()
        if text.count("\n") > (COMMAND if name in commands else FILE)
    }


def long_functions(sources: dict[str, str]) -> set[str]:
    return {
        f"{name}::{node.name}"
        for name, node in functions(sources)
        if node.end_lineno - node.lineno + 1 > FUNCTION
    }


def inner_imports(sources: dict[str, str]) -> set[str]:
    """FILE:LINE of each import statement inside a function."""
    return {
        f"{name}:{node.lineno}"
        for name, function in functions(sources)
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }


def lambdas(sources: dict[str, str]) -> float:
    """Lambdas in 1,000 lines."""
    lines = sum(text.count("\n") for text in sources.values())
    return 1000 * len(list(nodes(sources, ast.Lambda))) / lines


def test_files_are_short():
    assert long_files(SOURCES) == set(LONG_FILES), "divide a file by subject"


def test_functions_are_short():
    assert long_functions(SOURCES) == set(LONG_FUNCTIONS), "divide a function"


def test_imports_stand_at_the_top():
    found = inner_imports(SOURCES)
    assert len(found) <= INNER_IMPORTS, f"{len(found)} imports inside functions: {sorted(found)}"


def test_lambdas_are_few():
    assert lambdas(SOURCES) <= LAMBDAS


def test_sections_of_docstrings_stand_apart():
    """After an empty line, or the site shows them as running text."""
    joined = re.compile(r"\S\n +(?:Args|Returns|Raises|Yields):\n")
    found = {name for name, text in SOURCES.items() if joined.search(text.replace('"""\n', "\n"))}
    assert not found and joined.search("    Some text.\n    Raises:\n")


def test_each_limit_is_seen():
    body = "    import os\n    x = lambda: 0\n" + "    x()\n" * (FUNCTION - 3)
    sources = {"sora_jax/a.py": f"def f():\n{body}"}
    assert not long_functions(sources) and not long_files(sources)
    assert inner_imports(sources) == {"sora_jax/a.py:2"} and lambdas(sources) == 1000 / FUNCTION
    longer = {"experiments/b.py": f"def g():\n{body}    x()\n" + "\n" * (COMMAND - FUNCTION)}
    assert long_functions(longer) == {"experiments/b.py::g"}
    assert long_files(longer) == {"experiments/b.py"}
    assert not long_files({"experiments/configs/b.py": longer["experiments/b.py"]})


def test_every_folder_of_code_is_a_package():
    """Otherwise the wheel lacks it."""
    folders = {Path(name).parent for name in SOURCES}
    assert {f for f in folders if f"{f.as_posix()}/__init__.py" not in SOURCES} == set()
