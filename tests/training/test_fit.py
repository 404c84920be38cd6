"""The loop: a run that is interrupted and resumed is bitwise the run that was not."""

import dataclasses
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_run

from sora_jax.errors import UserError
from sora_jax.training import loop, metrics
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.clock import Clock
from sora_jax.training.loop import Every, TrainConfig, fit
from sora_jax.training.workdir import Workdir


class Interrupting:
    """An iterator that fails after `count` batches, otherwise the one it wraps."""

    def __init__(self, inner, count):
        self.inner, self.left = inner, count
        self.save, self.set_state = inner.save, inner.set_state

    def __next__(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return next(self.inner)


def same(a, b):
    a, b = jax.tree.leaves_with_path(a), jax.tree.leaves_with_path(b)
    assert [p for p, _ in a] == [p for p, _ in b]
    for (path, x), (_, y) in zip(a, b, strict=True):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            assert jax.random.key_impl(x) == jax.random.key_impl(y)
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(
            np.asarray(x), np.asarray(y), err_msg=jax.tree_util.keystr(path)
        )


def losses(workdir):
    return {
        row["step"]: (row["loss"], row["grad_norm"], row["target"])
        for row in metrics.read(workdir / "metrics.jsonl")
    }


@pytest.mark.parametrize("accumulate", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_resume_is_bitwise(tmp_path, accumulate):
    whole, whole_data = toy_run.run(tmp_path / "whole", 30, accumulate=accumulate)
    with pytest.raises(
        KeyboardInterrupt, match="stopped at step 17; the same command continues from step 10"
    ):
        toy_run.run(
            tmp_path / "cut",
            30,
            iterator=Interrupting(toy_run.batches(), 17),
            accumulate=accumulate,
        )
    assert max(losses(tmp_path / "cut")) == 17
    resumed, resumed_data = toy_run.run(tmp_path / "cut", 30, accumulate=accumulate)
    same(whole, resumed)
    assert whole_data.get_state() == resumed_data.get_state()
    np.testing.assert_array_equal(next(whole_data), next(resumed_data))
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    assert sorted(losses(tmp_path / "cut")) == list(range(1, 31))


def test_run_that_is_done_does_nothing(tmp_path):
    done, _ = toy_run.run(tmp_path, 12)
    again, _ = toy_run.run(tmp_path, 12, iterator=Interrupting(toy_run.batches(), 0))
    same(done, again)


def test_checkpoint_holds_the_state_at_its_save(tmp_path):
    """The step after a save reuses the state's memory while the save is still being written."""
    state, step_fn = toy_run.setup(100, width=1024)
    data = toy_run.batches()
    state, _ = step_fn(state, next(data))
    jax.block_until_ready(state)
    expected = jax.tree.map(lambda x: np.array(x), state.params)
    position = data.get_state()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, data)
        for _ in range(5):
            state, _ = step_fn(state, next(data))
        jax.block_until_ready(state)
    blank, _ = toy_run.setup(100, width=1024)
    fresh = toy_run.batches()
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(blank, fresh)
    same(expected, restored.params)
    assert int(restored.step) == 1
    assert fresh.get_state() == position


def test_keeps_the_newest_checkpoints(tmp_path):
    toy_run.run(tmp_path, 45, keep=2)
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [40, 45]


def test_evaluation_is_written(tmp_path):
    state, step_fn = toy_run.setup(20)
    with Workdir(tmp_path, {}) as workdir:
        fit(
            state,
            step_fn,
            toy_run.batches(),
            toy_run.TrainConfig(steps=20),
            workdir,
            evaluate=Every(lambda s: {"step": s.step * 2.0}, 8),
        )
    rows = [row for row in metrics.read(tmp_path / "metrics.jsonl") if "val/step" in row]
    assert [(row["step"], row["val/step"]) for row in rows] == [(8, 16), (16, 32), (20, 40)]


def test_workdir_of_another_run(tmp_path):
    config = {"train": {"steps": 10, "seed": 0}, "model": {"width": 8}}
    with Workdir(tmp_path / "a", config) as first:
        with pytest.raises(UserError, match="another process"):
            Workdir(tmp_path / "a", config)
        first.begin()
        before = (tmp_path / "a" / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"model\.width \(8, now 9\), train\.steps \(10, now 20\)"):
        Workdir(tmp_path / "a", {"train": {"steps": 20, "seed": 0}, "model": {"width": 9}})
    assert (tmp_path / "a" / "config.json").read_bytes() == before
    with Workdir(tmp_path / "a", config) as again:
        assert again.fingerprint == first.fingerprint
    with Workdir(tmp_path / "c", config):
        (tmp_path / "c" / "data").mkdir()
    # training had not begun: its latents may be there
    with Workdir(tmp_path / "c", {"model": {"width": 9}}):
        pass
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        Workdir(tmp_path / "b", config)
    with pytest.raises(UserError, match="is a file"):
        Workdir(tmp_path / "b" / "thesis.txt", config)


def test_means_leave_out_what_does_not_apply():
    assert metrics.mean([{"a": 1.0, "b": float("nan")}, {"a": 3.0, "b": 4.0}]) == {
        "a": 2.0,
        "b": 4.0,
    }
    assert np.isnan(metrics.mean([{"a": float("nan")}])["a"])


def test_metrics_after_the_checkpoint_are_dropped(tmp_path):
    writer = metrics.Writer(tmp_path)
    for step in (1, 2, 3):
        writer.write(step, {"loss": step, "nothing": float("nan")})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    writer = metrics.Writer(tmp_path, step=2)
    writer.write(3, {"loss": jnp.float32(30)})
    writer.close()
    assert metrics.read(tmp_path / "metrics.jsonl") == [
        {"step": 1, "loss": 1},
        {"step": 2, "loss": 2},
        {"step": 3, "loss": 30},
    ]
    assert metrics.thin(metrics.read(tmp_path / "metrics.jsonl"), points=2) == [[2, 1.5], [3, 30.0]]


def test_the_clock_moves_no_row(tmp_path, monkeypatch, capsys):
    """Each save is due by the clock, and none falls inside a window.

    What is left of a run is told in days too.
    """
    monkeypatch.setattr(Clock, "eta_seconds", 90000.4)
    state, step_fn = toy_run.setup(10)
    with Workdir(tmp_path, {}) as workdir:
        fit(
            state,
            step_fn,
            toy_run.batches(),
            TrainConfig(steps=10, log_every=4, checkpoint_minutes=0.0, keep=9),
            workdir,
        )
    assert [row["step"] for row in metrics.read(tmp_path / "metrics.jsonl")] == [4, 8, 10]
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [4, 8, 10]
    assert "ETA 1 day, 1:00:00" in capsys.readouterr().err


def test_clock_leaves_pauses_out():
    seconds = [0.0]
    clock = Clock(100, now=lambda: seconds[0])
    seconds[0] = 4.0
    with clock.pause():
        seconds[0] = 11.0
    seconds[0] = 14.0
    assert clock.lap(14) == 7.0
    assert clock.step_seconds == 0.5
    assert clock.eta_seconds == 43.0


def test_what_compiles_is_no_measure_of_what_trains():
    seconds = [0.0]
    clock = Clock(100, now=lambda: seconds[0])
    seconds[0] = 60.0
    assert clock.restart(1) == 60.0
    # a row of the first step alone says nothing of speed
    assert clock.lap(1) == 0.0 and np.isnan(clock.step_seconds)
    seconds[0] = 62.0
    clock.lap(5)
    assert clock.step_seconds == 0.5


def test_the_host_runs_no_more_than_two_steps_ahead(tmp_path, monkeypatch):
    """So a signal is answered soon, however long the window."""
    waited = []

    def wait(entry):  # of the window, (step, metrics); a checkpoint waits for the state
        if isinstance(entry, tuple):
            waited.append(entry[0])

    monkeypatch.setattr(loop.jax, "block_until_ready", wait)
    state, step_fn = toy_run.setup(12)
    with Workdir(tmp_path, {}) as workdir:
        fit(state, step_fn, toy_run.batches(), TrainConfig(steps=12, log_every=6), workdir)
    assert waited == [1, 2, 3, 4, 7, 8, 9, 10]


def test_a_pause_begins_when_the_steps_have_ended(tmp_path):
    """Else a validation would wait for them, and their time would be taken for its own."""
    state, step_fn = toy_run.setup(6)

    @jax.jit
    def slowly(params):
        x = jnp.full((500, 500), 1e-3)
        x = jax.lax.fori_loop(0, 60, lambda _, x: jnp.sin(x @ x), x)
        return jax.tree.map(lambda p: p + 0 * x[0, 0].astype(p.dtype), params)

    def step(state, batch):
        state, metrics = step_fn(state, batch)
        return dataclasses.replace(state, params=slowly(state.params)), metrics

    ready = []

    def evaluate(state):
        ready.append(all(x.is_ready() for x in jax.tree.leaves(state.params)))
        return {}

    config = TrainConfig(steps=6, log_every=6)
    with Workdir(tmp_path, {}) as workdir:
        fit(state, step, toy_run.batches(), config, workdir, evaluate=Every(evaluate, 1))
    assert ready == [True] * 6


def test_a_second_signal_ends_the_process_at_once():
    program = (
        "import os, signal\nfrom sora_jax.training.stopping import stop_asked\nwith "
        "stop_asked() as asked:\n"
    )
    program += (
        "    os.kill(os.getpid(), signal.SIGTERM)\n    assert asked(1)\n    print('on', "
        "flush=True)\n"
    )
    program += "    os.kill(os.getpid(), signal.SIGINT)\n    print('not reached')\n"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == -signal.SIGINT and done.stdout == "on\n", done
