"""JAX's interpreter of Pallas kernels for TPUs, in which faults show: memory starts with NaN, reads
outside arrays raise, and races are found.
"""

import contextlib
from collections.abc import Iterator

from jax._src.pallas.mosaic.interpret import interpret_pallas_call
from jax.experimental.pallas import tpu as pltpu

from kernels import pallas_call

WATCHFUL = pltpu.InterpretParams(
    detect_races=True, uninitialized_memory="nan", out_of_bounds_reads="raise"
)


@contextlib.contextmanager
def without_races() -> Iterator[None]:
    """Runs kernels in the interpreter, and asserts at the end that the last one had no race."""
    pltpu.reset_tpu_interpret_mode_state()
    with pallas_call.interpreted(WATCHFUL):
        yield
    races = interpret_pallas_call.races
    pltpu.reset_tpu_interpret_mode_state()
    assert races is not None and not races.races_found
