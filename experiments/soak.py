r"""Kill a training run repeatedly and check that nothing is lost.

    python -m experiments.soak \
        --train="--config=experiments/configs/playhouse_nano.py --config.data.path=runs/latents" \
        --minutes=60 --every=5 --together --output=runs/soak

It runs experiments.train twice from scratch with the flags of --train. The run in OUTPUT/whole
is undisturbed. The run in OUTPUT/killed gets SIGKILL every --every minutes and is started
again each time; after --minutes it continues undisturbed to its end. Nothing was lost if both
runs have bitwise equal losses in every row of their metrics, and end with the same weights.

OUTPUT/soak.json has the verdict (`same`), and each kill with the steps that were repeated
after it. OUTPUT/soak.png shows the losses. The exit status is 1 if anything differs. The same
command continues a stopped test.

The training must take longer than --minutes. After a kill it repeats the steps since its last
checkpoint; --train="... --config.train.checkpoint_minutes=2" makes them fewer.
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags
from tqdm import tqdm

from sora_jax import environment, files, weights
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.training import metrics

_TRAIN = flags.DEFINE_string(
    "train", None, "Flags of experiments.train without --workdir, as one string. Required."
)
_MINUTES = flags.DEFINE_float(
    "minutes", 60, "Minutes during which the second run is killed.", lower_bound=0
)
_EVERY = flags.DEFINE_float("every", 5, "Minutes between two kills.", lower_bound=0.01)
_TOGETHER = flags.DEFINE_boolean(
    "together", False, "Train both runs at once, each on half of the CPU cores. For CPUs only."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for both runs and the result: new, or that of a stopped test. Required."
)


def start(workdir: Path, cores: set[int]) -> subprocess.Popen:
    """Starts experiments.train in `workdir`, on the CPU cores whose numbers are in `cores`, and
    returns the process. Its output is appended to WORKDIR.log.
    """
    command = [
        sys.executable,
        "-m",
        "experiments.train",
        f"--workdir={workdir}",
        *shlex.split(_TRAIN.value),
    ]
    with workdir.with_suffix(".log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    # Set before the child has imported jax, which then sizes its thread pool to these cores.
    os.sched_setaffinity(process.pid, cores)
    return process


def finish(process: subprocess.Popen, workdir: Path) -> None:
    """Waits for the training in `workdir` to end. Raises UserError if it fails."""
    if process.wait():
        last = workdir.with_suffix(".log").read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise UserError(
            f"experiments.train ended with status {process.returncode} in {workdir}: "
            f"{' '.join(last)}; see {workdir}.log"
        )


def last_step(workdir: Path) -> int:
    """Returns the last step in metrics.jsonl of the run in `workdir`; 0 before the first row."""
    return max((int(row["step"]) for row in metrics.read(workdir / "metrics.jsonl")), default=0)


def saved_step(workdir: Path) -> int:
    """Returns the step of the newest complete checkpoint of the run in `workdir`; 0 without one."""
    folder = workdir / "checkpoints"
    return (
        max((int(p.name) for p in folder.iterdir() if p.name.isdigit()), default=0)
        if folder.is_dir()
        else 0
    )


@contextlib.contextmanager
def ended(process: subprocess.Popen | None) -> Iterator[None]:
    """Context manager: kills a child process that still runs when the context ends, for example by
    an error, Ctrl-C or SIGTERM (which `main` turns into an exit).
    """
    try:
        yield
    finally:
        if process and process.poll() is None:
            # SIGKILL, not SIGTERM: a run that stops gracefully writes a row of metrics, which the
            # undisturbed run would lack.
            process.kill()
            process.wait()


def disturb(workdir: Path, cores: set[int], kills: list[dict], record: Path) -> None:
    """Runs a training to its end, with SIGKILL every --every minutes until --minutes are spent.

    Each kill is appended to `kills`, and to the file `record`.

    Args:
        workdir: directory of the run.
        cores: numbers of the CPU cores that it may use.
        kills: the kills so far, a list to append to. Each is {"minute", "step": last step in the
            metrics, "saved": step of the newest checkpoint}.
        record: JSON file of the kills.

    Raises:
        UserError: the training failed.
    """
    with tqdm(
        total=_MINUTES.value,
        initial=min(_EVERY.value * len(kills), _MINUTES.value),
        unit="min",
        desc="killed run",
    ) as bar:
        while True:
            process = start(workdir, cores)
            with ended(process):
                try:
                    if _EVERY.value * (len(kills) + 1) > _MINUTES.value:
                        bar.set_description("killed run: to its end")
                        process.wait()
                    else:
                        process.wait(60 * _EVERY.value)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills.append(
                        {
                            "minute": round(_EVERY.value * (len(kills) + 1), 2),
                            "step": last_step(workdir),
                            "saved": saved_step(workdir),
                        }
                    )
                    files.write(record, json.dumps(kills) + "\n")
                    bar.update(_EVERY.value)
                    bar.set_postfix(step=kills[-1]["step"], again_from=kills[-1]["saved"])
                    continue
                return finish(process, workdir)


def compare(undisturbed: Path, killed: Path) -> dict:
    """Compares the losses of two finished runs row by row, and their weights.

    `undisturbed` and `killed` are the directories of the runs.

    Returns:
        JSON values: "same" (whether losses and weights are equal), "rows_that_differ",
        "rows_of_one_run_only", "largest_difference" of a loss, and others.
    """
    rows = [
        {row["step"]: row["loss"] for row in metrics.read(path / "metrics.jsonl")}
        for path in (undisturbed, killed)
    ]
    both = sorted(rows[0].keys() & rows[1].keys())
    differ = [step for step in both if rows[0][step] != rows[1][step]]
    prints = [
        weights.load_weights(path / "weights.safetensors", "st_dit").fingerprint
        for path in (undisturbed, killed)
    ]
    return {
        "steps": max(both),
        "rows": len(both),
        "rows_of_one_run_only": len(rows[0].keys() ^ rows[1].keys()),
        "rows_that_differ": len(differ),
        "largest_difference": max(
            (abs(rows[0][step] - rows[1][step]) for step in differ), default=0.0
        ),
        "first_loss": rows[0][both[0]],
        "last_loss": rows[0][both[-1]],
        "weights_whole": prints[0],
        "weights_killed": prints[1],
        "same": not differ and rows[0].keys() == rows[1].keys() and prints[0] == prints[1],
    }


def draw(undisturbed: Path, killed: Path, kills: list[dict], path: Path) -> None:
    """Draws the losses of two runs to the png file `path`, with a line at each kill and a band over
    the steps repeated after it.

    `undisturbed` and `killed` are the directories of the runs, and `kills` the list of `disturb`.
    """
    from matplotlib.figure import Figure  # slow, and needed once, at the end

    figure = Figure((9, 3.6), layout="constrained")
    axes = figure.subplots()
    for folder, label, width, color in (
        (undisturbed, "undisturbed", 3.5, "#b8c4d6"),
        (killed, f"killed {len(kills)} times", 1, None),
    ):
        rows = metrics.read(folder / "metrics.jsonl")
        steps, losses = ([row[name] for row in rows] for name in ("step", "loss"))
        axes.plot(steps, losses, label=label, lw=width, color=color)
    for i, kill in enumerate(kills):
        axes.axvline(kill["step"], color="#c0392b", lw=0.7, ls=":", label=None if i else "SIGKILL")
        axes.axvspan(
            kill["saved"],
            kill["step"],
            color="#c0392b",
            alpha=0.1,
            lw=0,
            label=None if i else "done again",
        )
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main(_: Sequence[str]) -> int:
    if not _TRAIN.value or not _OUTPUT.value:
        raise UserError("give --train (flags of experiments.train) and --output (a directory)")
    if "--workdir" in _TRAIN.value:
        raise UserError(
            "--train holds a --workdir; leave it out: --output has a directory for each of the "
            "two runs"
        )
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    output = Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    undisturbed, killed, record = output / "whole", output / "killed", output / "kills.json"
    kills = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2 or 1
    first, second = (
        (set(cores[:half]), set(cores[-half:])) if _TOGETHER.value else (set(cores), set(cores))
    )

    process = start(undisturbed, first)
    with ended(process):
        if not _TOGETHER.value:
            finish(process, undisturbed)
        disturb(killed, second, kills, record)
        finish(process, undisturbed)

    result = compare(undisturbed, killed) | {
        "kills": kills,
        "steps_done_again": sum(kill["step"] - kill["saved"] for kill in kills),
        "minutes_between_kills": _EVERY.value,
        "hardware": f"{len(second)} CPU cores" if _TOGETHER.value else environment.hardware(),
        "train": _TRAIN.value,
    }
    files.write(output / "soak.json", json.dumps(result, indent=2) + "\n")
    draw(undisturbed, killed, kills, output / "soak.png")
    verdict = "nothing was lost" if result["same"] else "THE RUNS DIFFER"
    print(
        f"{len(kills)} kills in {result['steps']} steps, {result['steps_done_again']} steps "
        f"done again; {result['rows']} rows of losses, "
        f"{result['rows_that_differ']} differ; weights {result['weights_whole']} and "
        f"{result['weights_killed']}: {verdict}\n{output / 'soak.json'}"
    )
    return 0 if result["same"] else 1


if __name__ == "__main__":
    run_main(main)
