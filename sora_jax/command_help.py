"""What --help prints: the command's docstring, its flags and, where it takes a config file, how
keys are overridden and which there are.

absl's own ends with status 1, as an error would, and knows nothing of the keys.
"""

import sys
from collections.abc import Sequence

from absl import flags

ASKED = ("--help", "-help", "--helpshort", "-h", "-?", "--helpfull")


def command_help(argv: Sequence[str]) -> str:
    """The help of the running command; argv as given, but without what is ASKED, and with
    --config=FILE where its keys are wanted too.

    Raises UserError for a config file that cannot be read.
    """
    text = [
        (sys.modules["__main__"].__doc__ or "").strip(),
        "Flags:\n" + flags.FLAGS.main_module_help().split("\n", 2)[2],
    ]
    if "config" in flags.FLAGS:
        text.append(_keys(argv))
    return "\n\n".join(text)


def _keys(argv: Sequence[str]) -> str:
    from sora_jax import config

    how = (
        "The keys of the config file are overridden one by one, after --config: --config=FILE "
        "--config.train.steps=200\n"
        "An unknown key fails with the nearest name; the values that a run had are saved in "
        "its directory."
    )
    given = any(arg.lstrip("-").partition("=")[0] == "config" for arg in argv)
    if not given:
        return f"{how}\nGive --config=FILE with --help to see the keys of that file."
    try:
        flags.FLAGS(argv)
    except flags.Error:  # whatever else is missing or wrong: the config has been read before
        pass
    values = config.flatten(config.from_flag(flags.FLAGS["config"]))
    return f"{how}\n\nIts keys and values:\n" + "\n".join(
        f"  --config.{key}={value}" for key, value in values.items()
    )
