"""How far the generation is, with an estimate of what is left that holds."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TextIO

from tqdm import tqdm


class Progress:
    """A bar for each job of a command.

    The first step of a command compiles its programs, which takes seconds to minutes and says
    nothing about the steps that follow: it stands apart as "compiling ...", and the estimate is
    made from the others.
    """

    def __init__(self, file: TextIO | None = None):
        """file: where to draw; None is stderr."""
        self._file, self._compiled = file, False

    @contextlib.contextmanager
    def job(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """Within, call what is given with (steps done, steps in all) after every step, as
        `Pipeline.generate` does.
        """
        wait = label if self._compiled else f"{label}: compiling ..."
        bar = tqdm(desc=wait, bar_format="{desc}", leave=False, file=self._file)

        def show(done: int, total: int) -> None:
            nonlocal bar
            if bar.total is None:
                bar.close()
                bar = tqdm(
                    desc=label, initial=done, total=total, unit="step", leave=False, file=self._file
                )
                self._compiled = True
            else:
                bar.update(done - bar.n)
            if done == total:  # what follows the last step compiles once more
                bar.set_description(f"{label}: decoding ...")

        try:
            yield show
        finally:
            bar.close()
