r"""Compares two sets of benchmark rows. The exit status is 1 if a median time grew by over 5 %.

    python -m benchmarks.compare BEFORE AFTER
    python -m benchmarks.compare benchmarks/results/nvidia_h200@4099323 \
        benchmarks/results/nvidia_h200

BEFORE and AFTER are files or folders of rows, as `python -m benchmarks.run` writes them;
PATH@COMMIT keeps only the rows of that commit. For each case, implementation and direction,
the command prints both medians in ms and the change in %. The rows measured last are compared.
Rows of different devices are an error.
"""

import sys

from benchmarks import results
from sora_jax.errors import UserError

ALLOWED = 0.05


def main(*places: str) -> int:
    """Compares the rows of two paths, prints both medians, and returns the exit status: 1 if a
    median time grew by more than ALLOWED, else 0.

    Raises:
        UserError: there are not two paths, or their rows cannot be compared.
    """
    if len(places) != 2:
        raise UserError(
            f"two places are compared, and {len(places)} given; write python -m "
            "benchmarks.compare BEFORE AFTER"
        )
    lines, regressions = compare(*(results.latest(results.read(place)) for place in places))
    print("\n".join(lines))
    if regressions:
        print(
            f"slower by more than {100 * ALLOWED:.0f} %: {', '.join(regressions)}", file=sys.stderr
        )
    return 1 if regressions else 0


def compare(before: dict[tuple, dict], after: dict[tuple, dict]) -> tuple[list[str], list[str]]:
    """Compares two sets of rows, each {(suite, case, impl, direction): row}.

    Returns:
        (lines, regressions): a line for each row in either set, and the names of the rows that are
        slower by more than ALLOWED.

    Raises:
        UserError: the sets have no row in common, or a row's devices or timers differ.
    """
    common = [key for key in before if key in after]
    if not common:
        raise UserError(
            "the two have no case, implementation and direction in common; measure the same "
            "suites for both"
        )
    lines, regressions = [], []
    for key in common:
        old, new = before[key], after[key]
        if old["device"] != new["device"] or old["timer"] != new["timer"]:
            raise UserError(
                f"{'/'.join(key)} was measured on {old['device']} ({old['timer']}) and on "
                f"{new['device']} ({new['timer']}); compare alike with alike"
            )
        change = new["p50_ms"] / old["p50_ms"] - 1
        slower = change > ALLOWED
        lines.append(
            f"{'/'.join(key):70s} {old['p50_ms']:10.4f} -> {new['p50_ms']:10.4f} ms "
            f"{100 * change:+7.1f} %{'  SLOWER' * slower}"
        )
        regressions += ["/".join(key)] * slower
    for key in [*before, *after]:
        if key not in common:
            lines.append(f"{'/'.join(key):70s} only {'before' if key in before else 'after'}")
    return lines, regressions


if __name__ == "__main__":
    sys.exit(results.command(__doc__, main, sys.argv[1:]))
