"""Runs a command: `python -m sora_jax sample --prompt="a red ball"`, or `sora-jax sample ...`.

Without a command it lists all commands. They are the modules of `experiments` in a checkout, and of
`sora_jax.experiments` in an installed wheel.
"""

import importlib.util
import os
import sys

from sora_jax.cli import HELP
from sora_jax.config import nearest


def main() -> None:
    """Replaces this process by the command that the first argument names, and passes it the other
    arguments. Exits with status 2 if there is no such command.
    """
    package = "experiments"
    if importlib.util.find_spec("sora_jax.experiments"):
        package = "sora_jax.experiments"
    name, *arguments = sys.argv[1:] or ["__main__"]
    if name in HELP:
        name = "__main__"
    if name != "__main__":
        known = importlib.import_module(f"{package}.__main__").commands()
        if name not in known:
            print(f"error: {name} is no command; {nearest(name, known)}", file=sys.stderr)
            sys.exit(2)
    os.execv(sys.executable, [sys.executable, "-m", f"{package}.{name}", *arguments])


if __name__ == "__main__":
    main()
