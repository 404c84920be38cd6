"""Lists the commands: python -m experiments."""

import ast
import sys
from pathlib import Path

from sora_jax.cli import HELP, piped, prepare_streams
from sora_jax.config import nearest

FOLDER = Path(__file__).parent
ORDER = ("sample", "evaluate", "calibrate", "train", "train_tokenizer", "precompute", "build_data")


def commands() -> dict[str, str]:
    """Returns {name: first paragraph of its docstring} of the commands in this package. Those in
    ORDER come first.
    """
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        if "run_main(main)" in source and not path.name.startswith("_"):
            text = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
            found[path.stem] = text
    return dict(sorted(found.items(), key=lambda item: (*ORDER, item[0]).index(item[0])))


def main() -> None:
    prepare_streams()
    if sys.argv[1:] and sys.argv[1] not in HELP:
        near = nearest(sys.argv[1].lstrip("-"), commands())
        print(f"error: {sys.argv[1]} is no command; {near}", file=sys.stderr)
        sys.exit(2)
    with piped():
        print("Commands, each with --help:\n")
        for name, text in commands().items():
            print(f"  python -m experiments.{name:16s} {text}")
        if (FOLDER.parent / "benchmarks").is_dir():
            print("\nAlso python -m benchmarks.run --help, and the tables in WORKSPACE.md.")


if __name__ == "__main__":
    main()
