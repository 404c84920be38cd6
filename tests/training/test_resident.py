"""Training from latents on the device: the ordinary run, by calls of many steps, within a time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_resident
from test_fit import same
from toy_resident import BATCH, COUNT, TOKENIZE, Audio, Source, Video, latent_set, parts

from sora_jax.errors import UserError
from sora_jax.training import resident
from sora_jax.training.latent_set import Order, gather, repeated, shapes
from sora_jax.tree import flatten
from sora_jax.weights import load_weights

ROOT = Path(__file__).parents[2]
STEPS = 20


@pytest.fixture(scope="module")
def latents():
    return latent_set()


@pytest.fixture(scope="module")
def steps_fn():
    return resident.make_steps(parts()[1])


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The clips of the same source as the ordinary loop reads them."""
    from sora_jax.data.latents import precompute, record

    directory = tmp_path_factory.mktemp("latents") / "set"
    precompute.precompute(Source(), Video(), Audio(), directory, {}, shard_clips=8, progress=False)
    found, _ = record.open_set(directory)
    return [record.unpack(found[i]) for i in range(len(found))]


def ordinary_batches(records, order, steps):
    """The batches of the ordinary loop, of the clips and captions that the order names."""
    from sora_jax.data.latents.loader import _Batch

    for clips, draws in zip(*order.indices(0, steps), strict=True):
        examples = [dict(records[i]) for i in clips]
        for example, draw in zip(examples, draws, strict=True):
            example["caption"] = example["captions"][draw % len(example["captions"])]
        batch = _Batch(TOKENIZE, times={})(examples)
        yield {name: x for name, x in batch.items() if name != "times"}


def close(a, b):
    for (path, x), (_, y) in zip(
        jax.tree.leaves_with_path(a), jax.tree.leaves_with_path(b), strict=True
    ):
        if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(
                x, y, rtol=1e-6, atol=1e-6, err_msg=jax.tree_util.keystr(path)
            )


def test_the_batches_are_those_of_the_ordinary_loop(latents, records):
    order = Order(COUNT, BATCH, seed=0)
    clips, draws = order.indices(0, STEPS)
    for step, expected in enumerate(ordinary_batches(records, order, STEPS)):
        batch = gather(latents, clips[step], draws[step])
        assert batch.pop("references") == expected.pop("references") == {}
        assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
            k: (v.shape, v.dtype) for k, v in expected.items()
        }
        for name in expected:
            np.testing.assert_array_equal(
                batch[name], expected[name], err_msg=f"{name} of step {step}"
            )


def test_the_run_is_that_of_the_ordinary_step(latents, records, steps_fn):
    begin, step_of = parts()
    order, rows = Order(COUNT, BATCH, seed=0), []
    step, state = step_of(STEPS), begin()
    for batch in ordinary_batches(records, order, STEPS):
        state, metrics = step(state, batch)
        rows.append(metrics)
    found, metrics = steps_fn(begin(), latents, order.indices(0, STEPS), STEPS)
    assert int(found.step) == STEPS
    close(state, found)
    for name in ("loss", "grad_norm", "target"):
        np.testing.assert_allclose(metrics[name], [row[name] for row in rows], rtol=1e-6, atol=1e-7)
    assert np.ptp(metrics["loss"]) > 0.01
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), begin().params, found.params)
    assert min(jax.tree.leaves(moved)) > 1e-3


def test_chunks_do_not_matter(latents, steps_fn):
    begin, order, runs = parts()[0], Order(COUNT, BATCH, seed=0), []
    for chunk in (5, 20):
        rows = []
        state = resident.train(
            begin(),
            steps_fn,
            latents,
            order,
            STEPS,
            chunk=chunk,
            log=lambda *row, rows=rows: rows.append(row),
        )
        assert [step for step, _ in rows] == list(range(chunk, STEPS + 1, chunk))
        runs.append((state, np.mean([values["loss"] for _, values in rows])))
    close(runs[0][0], runs[1][0])
    np.testing.assert_allclose(runs[0][1], runs[1][1], rtol=1e-6)


def test_steps_compiled_beforehand_are_the_same(latents, steps_fn):
    """Compiled from shapes alone, for the set with its clips repeated up to a larger count."""
    begin, more = parts()[0], COUNT + 3
    whole, order = repeated(latents, more), Order(more, BATCH, seed=0)
    assert len(whole) == more
    np.testing.assert_array_equal(whole.video[COUNT:], latents.video[:3])
    batch = gather(whole, *(rows[0] for rows in order.indices(0, 1)))
    shaped = shapes(batch, more, latents.tokens.shape[1])
    expected = jax.tree.leaves(jax.eval_shape(lambda: whole))
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(shaped)] == [
        (x.shape, x.dtype) for x in expected
    ]
    compiled = resident.compile_steps(steps_fn, jax.eval_shape(begin), shaped, BATCH, chunk=5)
    runs = []
    for steps in (steps_fn, compiled):
        runs.append(resident.train(begin(), steps, whole, order, STEPS, chunk=5))
    same(*runs)


def test_a_run_goes_on_from_any_step(latents, steps_fn):
    begin, order = parts()[0], Order(COUNT, BATCH, seed=0)
    whole = resident.train(begin(), steps_fn, latents, order, STEPS, chunk=5)
    kept = []

    def save(state, step):
        kept.append((step, state))

    resident.train(
        begin(), steps_fn, latents, order, STEPS, chunk=5, save=save, save_every_seconds=0
    )
    assert [step for step, _ in kept] == [10, 15, 20]
    same(whole, kept[-1][1])
    for step, state in kept[:2]:
        assert int(state.step) == step
        same(whole, resident.train(state, steps_fn, latents, order, STEPS, chunk=5))


def test_the_learning_rate_falls_over_the_steps_that_are_given(latents):
    """`total` is traced: one compilation serves runs of every length, each with its schedule."""
    begin, step_of = parts()
    compiled = []

    def counted(total):
        compiled.append(total)
        return step_of(total)

    steps_fn, order = resident.make_steps(counted), Order(COUNT, BATCH, seed=0)
    ends = [
        resident.train(begin(), steps_fn, latents, order, steps, chunk=5) for steps in (5, 10, 40)
    ]
    assert len(compiled) == 1
    for steps, found in zip((5, 10, 40), ends, strict=True):
        state = begin()
        clips, draws = order.indices(0, steps)
        step = step_of(steps)
        for at in range(steps):
            state, _ = step(state, gather(latents, clips[at], draws[at]))
        close(state, found)


class Later:
    """Ones, which are there from a time on: to look at them waits until then."""

    def __init__(self, clock, ready, count):
        self.clock, self.ready, self.count = clock, ready, count

    def __array__(self, *arguments, **options):
        self.clock.now = max(self.clock.now, self.ready)
        return np.ones(self.count, np.float32)


class Clock:
    """A `time`, and a device on which call i of `steps` takes `seconds(i)`.

    The first call compiles for 28 s before.
    """

    def __init__(self, seconds):
        self.now, self.seconds, self.calls, self.free = 100.0, seconds, 0, 0.0

    def monotonic(self):
        return self.now

    def steps(self, state, latents, order, total):
        self.now += 28.0 if self.calls == 0 else 0.0
        self.free = max(self.free, self.now) + self.seconds(self.calls)
        self.calls += 1
        chunk = len(order[0])
        metrics = {name: Later(self, self.free, chunk) for name in ("loss", "grad_norm")}
        return type(state)(state.params, state.opt_state, state.step + chunk, state.key), metrics


def timed(
    monkeypatch, latents, seconds, steps, deadline=None, save=None, save_seconds=0.0, **options
):
    """(last step, seconds of training, [(step of a save, seconds), ...]) by such a clock."""
    clock, saves = Clock(seconds), []
    monkeypatch.setattr(resident, "time", clock)

    def save(state, step):
        assert int(state.step) == step
        clock.now += save_seconds
        saves.append((step, clock.now - 100.0))

    order, deadline = Order(COUNT, BATCH, seed=0), None if deadline is None else 100.0 + deadline
    run = (parts()[0](), clock.steps, latents, order, steps)
    state = resident.train(*run, chunk=5, deadline=deadline, save=save, **options)
    return int(state.step), clock.free - 100.0, saves


def test_a_deadline_is_kept(monkeypatch, latents):
    """The first call compiles and is no measure: it ends at 30 s, ten further ones at 50 s."""

    def even(call):
        return 2.0

    assert timed(monkeypatch, latents, even, 1000, 51.9) == (55, 50.0, [(55, 50.0)])
    assert timed(monkeypatch, latents, even, 1000, 52.0)[:2] == (60, 52.0)
    assert timed(monkeypatch, latents, even, 25, 51.9)[:2] == (25, 38.0), "no longer than the steps"
    assert timed(monkeypatch, latents, even, 25, -1.0) == (0, -100.0, []), (
        "no call after the deadline"
    )
    step, end, _ = timed(monkeypatch, latents, lambda call: 2.0 if call < 6 else 9.0, 1000, 60.0)
    assert step >= 40 and end <= 60.0 + 9.0, "later by less than a call"


def test_saves_come_no_more_often_than_asked_and_keep_no_call_waiting(monkeypatch, latents):
    """A save of 1.5 s happens beside a call of 2 s."""
    asked = {"save_every_seconds": 7.0, "save_seconds": 1.5}
    step, end, saves = timed(monkeypatch, latents, lambda call: 2.0, 60, **asked)
    assert (step, end) == (60, 28.0 + 12 * 2.0)
    assert [step for step, _ in saves] == [10, 40, 60] and saves[1][1] - saves[0][1] >= 7.0
    assert timed(monkeypatch, latents, lambda call: 2.0, 1000, 51.9, **asked)[:2] == (55, 50.0)


def test_a_deadline_is_kept_on_a_device(latents, steps_fn):
    begin, order, ends = parts()[0], Order(COUNT, BATCH, seed=0), []
    state = begin()
    seconds = resident.step_seconds(state, steps_fn, latents, order, chunk=20)
    assert 0 < seconds < 0.1 and int(state.step) == 0
    begun = time.monotonic()
    state = resident.train(
        state,
        steps_fn,
        latents,
        order,
        10**7,
        chunk=20,
        deadline=begun + 1.0,
        log=lambda *_: ends.append(time.monotonic()),
    )
    longest = max(np.diff(ends))
    assert 0.5 < time.monotonic() - begun < 1.0 + longest + 0.1
    assert int(state.step) == 20 * len(ends) and len(ends) > 5
    assert (
        resident.steps_within(1.05, 0.01, 20) == 100 and resident.steps_within(0.1, 0.01, 20) == 20
    )


def test_the_next_call_is_handed_over_before_the_last_is_looked_at(latents, monkeypatch):
    """So the device never waits; but for the first two calls, by which calls are timed."""
    events = []
    get = jax.device_get
    monkeypatch.setattr(resident.jax, "device_get", lambda x: events.append("look") or get(x))
    clock = Clock(lambda call: 1.0)

    def steps(*arguments):
        events.append("call")
        return clock.steps(*arguments)

    resident.train(parts()[0](), steps, latents, Order(COUNT, BATCH, seed=0), 25, chunk=5)
    assert events == [
        "call",
        "look",
        "call",
        "look",
        "call",
        "call",
        "look",
        "call",
        "look",
        "look",
    ]


def killed_while_it_writes(path):
    """Kills a run when it writes weights where some are. True if it was amid that."""
    process = subprocess.Popen([sys.executable, toy_resident.__file__, str(path)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if path.exists() and list(path.parent.glob(".*.part")):
                break
            time.sleep(0.0002)
        assert process.poll() is None, "the run ended by itself"
    finally:
        os.kill(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait()
    return bool(list(path.parent.glob(".*.part")))


@pytest.mark.slow
def test_a_killed_run_leaves_weights_that_load(tmp_path):
    path = tmp_path / "weights.safetensors"
    amid = killed_while_it_writes(path)
    found = load_weights(path, "st_dit")
    assert amid and found.metadata["steps"] >= 10 and found.metadata["steps"] % 5 == 0
    expected = {name: x.shape for name, x in flatten(parts(width=2048)[0]().params).items()}
    assert {name: x.shape for name, x in flatten(found.params).items()} == expected


def spoiled(step_of, name, at):
    """The same step, whose metric `name` is nan at step `at`."""

    def spoiled_of(total):
        step = step_of(total)

        def changed(state, batch):
            new, metrics = step(state, batch)
            return new, metrics | {name: jnp.where(new.step == at, jnp.nan, metrics[name])}

        return changed

    return spoiled_of


@pytest.mark.parametrize(
    ("name", "at", "kept"),
    [("loss", 13, "at step 10 is kept"), ("grad_norm", 3, "nothing was saved yet")],
)
def test_what_is_not_finite_is_named_and_not_saved(latents, name, at, kept):
    begin, step_of = parts()
    saved = []

    def save(state, step):
        saved.append(step)

    steps_fn, order = resident.make_steps(spoiled(step_of, name, at)), Order(COUNT, BATCH, seed=0)
    with pytest.raises(
        UserError, match=rf"^step {at}: {name} is nan; stopped, and .*{kept}; try a lower optim.lr"
    ) as error:
        resident.train(
            begin(), steps_fn, latents, order, 30, chunk=5, save=save, save_every_seconds=0
        )
    assert "\n" not in str(error.value) and max(saved, default=0) < at


def test_what_does_not_fit_is_said(latents, steps_fn):
    begin = parts()[0]
    with pytest.raises(ValueError, match="not of the 22 clips"):
        resident.train(begin(), steps_fn, latents, Order(21, BATCH, 0), 20, chunk=5)
    with pytest.raises(
        UserError, match=r"from step 0 to step 23 .* calls of 5 steps; give 25 steps"
    ):
        resident.train(begin(), steps_fn, latents, Order(COUNT, BATCH, 0), 23, chunk=5)


def test_it_needs_no_package_that_a_bare_machine_lacks():
    """Nor does what it is used with: the program of a run, rendered clips, and the tokenizers."""
    program = (
        "import sys\n"
        "for name in ('grain', 'array_record', 'tensorflow_datasets', 'av', 'ml_collections'):\n"
        "    sys.modules[name] = None\n"
        "import sora_jax.training.resident, sora_jax.training.program\n"
        "from sora_jax.data import encode, sources\n"
        "from sora_jax.worlds.playhouse import render, sound\n"
        "from sora_jax.models.st_dit import STDiT\n"
        "from sora_jax import weights\n"
        "weights.load_video_tokenizer(), weights.load_audio_tokenizer()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
