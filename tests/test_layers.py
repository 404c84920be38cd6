"""Imports run one way: benchmarks and experiments use sora_jax, sora_jax uses kernels, and kernels
stands alone.
"""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parent.parent
ALLOWED = {
    "kernels": {"kernels"},
    "sora_jax": {"sora_jax", "kernels"},
    "experiments": {"experiments", "sora_jax", "kernels"},
    "benchmarks": {"benchmarks", "experiments", "sora_jax", "kernels"},
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_arrows_run_one_way():
    wrong = []
    for package, allowed in ALLOWED.items():
        for path in (ROOT / package).rglob("*.py"):
            wrong += [
                f"{path.relative_to(ROOT)} imports {name}"
                for name in imports(path)
                if name in ALLOWED and name not in allowed
            ]
    assert not wrong


def test_tensorflow_is_never_imported():
    wrong = [
        p
        for package in ALLOWED
        for p in (ROOT / package).rglob("*.py")
        if "tensorflow" in set(imports(p))
    ]
    assert not wrong
