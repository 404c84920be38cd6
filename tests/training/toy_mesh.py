"""The run of toy_run.py on a mesh of all devices, by one process or by several: python toy_mesh.py
--workdir=W --steps=N [...].
"""

import time

import jax
import toy_run
from absl import flags
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sora_jax.cli import run_main
from sora_jax.parallel import processes
from sora_jax.parallel.mesh import BATCH, MeshConfig
from sora_jax.training.loop import TrainConfig, fit
from sora_jax.training.step import make_step
from sora_jax.training.workdir import Workdir

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "")
flags.DEFINE_integer("steps", None, "")
flags.DEFINE_float("pause", 0.0, "seconds before each batch")
flags.DEFINE_integer("batches", 10**6, "after so many this process is interrupted")
flags.DEFINE_string("coordinator", None, "")
flags.DEFINE_integer("num_processes", None, "")
flags.DEFINE_integer("process_id", None, "")


class Tagged:
    """A Grain iterator of arrays as one of {set: batch}, which `GlobalBatches` takes."""

    def __init__(self, inner):
        self.inner, self.save, self.get_state, self.set_state = (
            inner,
            inner.save,
            inner.get_state,
            inner.set_state,
        )

    def __next__(self):
        return {"toy": {"x": next(self.inner)}}


class Slow:
    def __init__(self, inner):
        self.inner, self.save, self.get_state, self.set_state = (
            inner,
            inner.save,
            inner.get_state,
            inner.set_state,
        )

    def __next__(self):
        time.sleep(FLAGS.pause)
        FLAGS.batches -= 1
        if FLAGS.batches < 0:
            raise KeyboardInterrupt
        return next(self.inner)["toy"]["x"]


def main(_):
    processes.join(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
    with processes.leaving_on_error():
        mesh = MeshConfig(data=1, fsdp=jax.device_count()).make()
        begin, loss_fn, optimizer = toy_run.parts(FLAGS.steps)
        where = lambda x: NamedSharding(
            mesh, P("fsdp") if x.ndim and x.shape[0] % mesh.size == 0 else P()
        )
        placement = jax.tree.map(where, jax.eval_shape(begin)), NamedSharding(mesh, P(BATCH))
        state = jax.jit(begin, out_shardings=placement[0])()
        batches = Tagged(toy_run.batches(share=processes.rows_here(placement[1], 8)))
        if processes.several():
            batches = processes.GlobalBatches(batches, {"x": placement[1]}, {"toy": 8})
        config = TrainConfig(steps=FLAGS.steps, log_every=1, checkpoint_every=toy_run.SAVE_EVERY)
        with processes.together():
            workdir = Workdir(FLAGS.workdir, {"steps": FLAGS.steps})
        with workdir:
            state = fit(
                state, make_step(loss_fn, optimizer, placement), Slow(batches), config, workdir
            )
        assert len(state.params.middle.kernel.value.sharding.device_set) == jax.device_count()
        print("done", int(state.step))


if __name__ == "__main__":
    run_main(main)
