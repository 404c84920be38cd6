"""Run a recipe: all stations from nothing to scored weights.

    python -m experiments.recipe --recipe=experiments/recipes/world.py --dry_run
    python -m experiments.recipe --recipe=experiments/recipes/world.py --workdir=runs/world
    python -m experiments.recipe --recipe=experiments/recipes/world.py --workdir=runs/world \\
        --until=model

A recipe is a Python file with get_recipe(), which returns a list of stations; sora_jax/recipe.py
explains it. Each station is one command with a folder of its own in WORKDIR. The same command
skips the stations that are done and continues the one that was stopped. A station that trains may
name weights kept in the repository; its training then continues from them. WORKDIR/stations.json
has the seconds of each station, with hardware and commit.
"""

import shlex
from collections.abc import Sequence

from absl import flags

from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.recipe import Kitchen, read_recipe
from sora_jax.tables import plain

_RECIPE = flags.DEFINE_string("recipe", None, "Recipe, such as experiments/recipes/world.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the stations: new, or a begun one.")
_UNTIL = flags.DEFINE_string("until", None, "Name of the last station to run. Default: all.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the commands; run none.")


def main(_: Sequence[str]) -> None:
    if not _RECIPE.value:
        raise UserError("--recipe is missing; see python -m experiments.recipe --help")
    if not _WORKDIR.value and not _DRY_RUN.value:
        raise UserError("--workdir is missing; give a folder, or --dry_run")
    stations = read_recipe(_RECIPE.value)
    names = [station.name for station in stations]
    if _UNTIL.value is not None and _UNTIL.value not in names:
        raise UserError(f"--until={_UNTIL.value} is no station; give one of {', '.join(names)}")
    kitchen = Kitchen(stations, _WORKDIR.value or "WORKDIR")
    for station in stations[: names.index(_UNTIL.value or names[-1]) + 1]:
        if _DRY_RUN.value:
            print(shlex.join(["python", "-m", *kitchen.command(station)]))
        elif not kitchen.is_done(station):
            print(f"{station.name}: {shlex.join(kitchen.command(station))}", flush=True)
            kitchen.run(station)
    if not _DRY_RUN.value:
        rows = [
            (name, f"{entry['seconds'] / 60:.1f}", entry.get("hardware", "not ended"))
            for name, entry in kitchen.record.items()
        ]
        print(plain(("station", "minutes", "hardware"), rows))


if __name__ == "__main__":
    run_main(main)
