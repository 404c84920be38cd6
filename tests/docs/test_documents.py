"""The documents name what is there: paths, tests, modules, flags, configuration keys, make targets,
links.

`problems` reads one document; each of its checks is held against a broken document below.
"""

import ast
import functools
import importlib.util
import json
import re
from pathlib import Path

import pytest

from sora_jax import config as config_lib
from sora_jax import weights
from sora_jax.training.configs import read_values
from sora_jax.worlds.playhouse.spec import WORLD_VERSION

ROOT = Path(__file__).parents[2]
MAX_LINES, MAX_COLUMNS = 120, 100
PACKAGES = ("benchmarks", "experiments", "kernels", "sora_jax")
FOLDERS = (*PACKAGES, "docs", "tests", ".ci")
SUFFIXES = "py|pyi|md|json|jsonl|csv|png|npz|txt|toml|sbatch|yaml|cff"
MADE = ("build", "data", "outputs", "runs")  # by commands, where the reader runs them
# what a reader puts something in place of
PLACEHOLDER = re.compile(r"\b(COMMAND|DEVICE|DIR|FILE|NAME|NNNN|OP|SUITE|T|WORKDIR)\b")
DOCUMENTS = [
    *(ROOT / f"{name}.md" for name in ("README", "WORKSPACE", "CONTRIBUTING", "CHANGELOG")),
    ROOT / "sora_jax" / "shipped" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
# Not the changes: they name places as they were.
CURRENT = [*(path for path in DOCUMENTS if path.name != "CHANGELOG.md"), *NOTEBOOKS]


def read(path: Path) -> str:
    """The text of a document; of a notebook, that of its cells of prose."""
    text = path.read_text()
    if path.suffix != ".ipynb":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells) + "\n"


def blocks(text: str) -> list[str]:
    """The code blocks."""
    return re.findall(r"^```[^\n`]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```[^\n`]*\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    """The code in backticks outside of blocks; one may go over the end of a line."""
    found = re.findall(r"`((?:[^`\n]|\n(?!\n))+)`", prose(text))
    return [" ".join(span.split()) for span in found]


def commands(text: str) -> list[tuple[str, str]]:
    """(module, arguments) of each `python -m MODULE ARGUMENTS` in blocks and spans."""
    code = [*"\n".join(blocks(text)).replace("\\\n", " ").split("\n"), *spans(text)]
    return [
        match
        for line in code
        for match in re.findall(r"python -m ([\w.]+)((?:\"[^\"]*\"|[^;&#'\"])*)", line)
    ]


# Paths and modules


def _there(name: str) -> bool:
    """In the repository, or below tests/."""
    return (ROOT / name).exists() or (ROOT / "tests" / name).exists()


def lost_paths(text: str) -> list[str]:
    """Paths of the repository that are not there, and tests that their files do not hold."""
    lost = []
    for span in spans(text):
        name, _, test = span.partition("::")
        first, slash, _ = name.partition("/")
        known = first in FOLDERS and slash
        looks = known or re.fullmatch(rf"[\w.-]+/[\w./-]+\.({SUFFIXES})|[A-Z]+\.(md|cff)", name)
        if not looks or not re.fullmatch(r"[\w./-]+", name) or first in MADE:
            continue
        if PLACEHOLDER.search(name):
            continue
        if not _there(name):
            lost.append(f"no path {name}")
        elif test and f"def {test}(" not in _source(name):
            lost.append(f"no test {test} in {name}")
    return lost


def _source(name: str) -> str:
    path = ROOT / name
    return (path if path.exists() else ROOT / "tests" / name).read_text()


def _file(module: str) -> Path | None:
    """The file of a module of this repository."""
    path = ROOT / module.replace(".", "/")
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.exists()), None)


def in_checkout(name: str) -> str:
    """The name in the checkout of a name in the wheel, which has all packages below `sora_jax`."""
    inner = name.removeprefix("sora_jax.")
    return inner if inner.partition(".")[0] in PACKAGES else name


def lost_names(text: str) -> list[str]:
    """Dotted names of this repository, such as `experiments.train`, that are not there."""
    lost = []
    for span in map(in_checkout, spans(text)):
        if not re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", span) or PLACEHOLDER.search(span):
            continue
        parts = span.split(".")
        depth = max(n for n in range(1, len(parts) + 1) if _file(".".join(parts[:n])))
        source = _file(".".join(parts[:depth])).read_text()
        if depth < len(parts) and not re.search(rf"\b{parts[depth]}\b", source):
            lost.append(f"no name {span}")
    return lost


def lost_modules(text: str) -> list[str]:
    """Modules after `python -m` that are not there."""
    modules = {
        in_checkout(module) for module, _ in commands(text) if not PLACEHOLDER.search(module)
    }
    return [
        f"no module {module}"
        for module in sorted(modules)
        if not (
            _file(module)
            if module.partition(".")[0] in PACKAGES
            else importlib.util.find_spec(module)
        )
    ]


# Flags and configurations


@functools.cache
def flags_of(module: str) -> frozenset[str]:
    """The flags that a command defines, itself or by what it imports of the commands."""
    found, todo = {"help", "import", "version"}, [module]
    seen = set()
    while todo:
        name = todo.pop()
        file = _file(name)
        if name in seen or file is None:
            continue
        seen.add(name)
        source = file.read_text()
        found.update(re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", source))
        found.update(re.findall(r"add_argument\(\s*\"--(\w+)\"", source))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module in ("benchmarks", "experiments"):
                todo += [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                ("benchmarks.", "experiments.")
            ):
                todo.append(node.module)
    return frozenset(found)


@functools.cache
def every_flag() -> frozenset[str]:
    """The flags of all commands."""
    files = [file for package in PACKAGES[:3] for file in (ROOT / package).glob("*.py")]
    return frozenset().union(*(flags_of(f"{file.parent.name}.{file.stem}") for file in files))


@functools.cache
def keys_of(config: str | None) -> frozenset[str]:
    """The keys of a configuration file; of all in experiments/configs where none is given."""
    if config is None:
        files = (ROOT / "experiments" / "configs").glob("[!_]*.py")
        return frozenset().union(*(keys_of(str(file)) for file in files))
    return frozenset(config_lib.flatten(read_values(ROOT / config)))


def lost_flags(text: str) -> list[str]:
    """Flags that their command does not define, or, named alone, no command; keys that the
    configuration does not have.
    """
    alone = [span for span in spans(text) if span.startswith("--")]
    lost = []
    for module, arguments in [*commands(text), *((None, span) for span in alone)]:
        if module is not None and module.partition(".")[0] not in PACKAGES:
            continue
        known = flags_of(module) if module else every_flag()
        arguments = re.sub(r'"[^"]*"', "", arguments)  # flags of another command among them
        given = re.search(r"--config=(experiments/configs/\w+\.py)", arguments)
        for flag, keys in re.findall(r"(?<!\S)--(\w+)((?:\.\w+)*)", arguments):
            if not {flag, flag.removeprefix("no")} & known:
                lost.append(f"no flag --{flag} of {module or 'any command'}")
            elif keys and (key := keys[1:]) not in keys_of(given and given[1]):
                lost.append(f"no key {key} in {given[1] if given else 'any configuration'}")
    return lost


def lost_targets(text: str) -> list[str]:
    """Targets of make that the Makefile lacks."""
    code = "\n".join([*blocks(text), *spans(text)])
    named = re.findall(r"^make ([\w-]+)", code, re.MULTILINE)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return [f"no target {name}" for name in named if name not in targets]


def broken_lines(text: str) -> list[str]:
    """Lines of commands that end in two backslashes: the shell does not go on after them."""
    lines = "\n".join(blocks(text)).split("\n")
    return [f"two backslashes: {line}" for line in lines if line.endswith("\\\\")]


# Links


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    titles = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def lost_links(text: str, folder: Path) -> list[str]:
    """Relative links whose file or heading is not there."""
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(text))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = folder / name
        if name and not path.exists():
            lost.append(f"no file for the link {target}")
        elif anchor and anchor not in _anchors(path.read_text() if name else text):
            lost.append(f"no heading for the link {target}")
    return lost


def problems(text: str, folder: Path = ROOT) -> list[str]:
    """All that a document names and that is not there."""
    checks = (lost_paths, lost_names, lost_modules, lost_flags, lost_targets, broken_lines)
    found = [problem for check in checks for problem in check(text)]
    return found + lost_links(text, folder)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CURRENT, ids=_name)
def test_what_a_document_names_is_there(path):
    found = problems(read(path), path.parent)
    assert not found, "; ".join(found)


def test_the_links_of_the_changes_hold():
    found = lost_links((ROOT / "CHANGELOG.md").read_text(), ROOT)
    assert not found, "; ".join(found)


@pytest.mark.parametrize(
    "text, says",
    [
        ("see `sora_jax/flow/los.py`", "no path sora_jax/flow/los.py"),
        ("see `training/test_fits.py`", "no path training/test_fits.py"),
        ("see `sorajax/flow/loss.py`", "no path sorajax/flow/loss.py"),
        ("see `LICENCE.md`", "no path LICENCE.md"),
        ("`tests/flow/test_loss.py::test_no`", "no test test_no in tests/flow/test_loss.py"),
        ("`experiments.trains` trains", "no name experiments.trains"),
        ("`sora_jax.weights.load_wights`", "no name sora_jax.weights.load_wights"),
        ("`python -m experiments.trane`", "no module experiments.trane"),
        ("`python -m no_such_module`", "no module no_such_module"),
        ("```\npython -m experiments.sample \\\n  --promt=x\n```\n", "no flag --promt of experi"),
        ("`python -m kernels.gpu_graph --operation=x`", "no flag --operation of kernels"),
        ("give `--given_vidio`", "no flag --given_vidio of any command"),
        ("`python -m experiments.train --config.train.stpes=2`", "no key train.stpes in any"),
        (
            "`python -m experiments.train_tokenizer "
            "--config=experiments/configs/video_tokenizer.py --config.mesh.fsdp=8`",
            "no key mesh.fsdp in experiments/configs/video_tokenizer.py",
        ),
        ("run `make tests`", "no target tests"),
        ("```\npython -m experiments.sample \\\\\n```\n", "two backslashes: python -m exper"),
        ("[map](WORKSPACES.md)", "no file for the link WORKSPACES.md"),
        ("[map](WORKSPACE.md#mop)", "no heading for the link WORKSPACE.md#mop"),
    ],
)
def test_what_is_not_there_is_told(text, says):
    (problem,) = problems(text)
    assert problem.startswith(says)


def test_what_a_document_may_say():
    text = (
        "`outputs/samples`, `experiments/COMMAND.py`, `scores.json`, `flow/loss`, `a/b`\n"
        "`python -m benchmarks.run --suite=all --noresume`, `--config.mesh.fsdp=8`, `make test`\n"
        '`python -m experiments.soak --train="--config=x --config.data.path=y" --every=5`\n'
        "[map](WORKSPACE.md#map), [paper](https://arxiv.org/abs/2411.02385)\n"
    )
    assert problems(text) == []


@pytest.mark.parametrize("name", ["README.md", "WORKSPACE.md"])
def test_the_first_pages_are_short(name):
    assert len((ROOT / name).read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize(
    "path", [*DOCUMENTS[:4], *sorted((ROOT / "docs").rglob("*.md")), *NOTEBOOKS], ids=_name
)
def test_lines_of_prose_are_short(path):
    """Tables and pictures are not prose."""
    lines = prose(read(path)).splitlines()
    long = [x for x in lines if len(x) > MAX_COLUMNS and not x.startswith(("|", "!"))]
    assert not long, "\n".join(long)


def test_every_decision_is_listed_once():
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))
    for name in listed:
        assert (folder / name).read_text().startswith(f"# {name[:4]}: ")


def test_the_changes_name_the_world_and_the_weights_as_they_are():
    """The first row of the table of versions."""
    (row,) = re.findall(r"^\| Unreleased .*", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert row.startswith(f"| Unreleased | {WORLD_VERSION} |")
    for kind, name in weights.KINDS.items():
        fingerprint = weights.load_weights(weights.shipped(name), kind).fingerprint
        assert f"{name.replace('_', ' ').replace('nano', '`nano`')} {fingerprint}" in row
