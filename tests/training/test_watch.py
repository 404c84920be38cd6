"""What a run shows of itself: speed, memory, a window of the profiler, pictures; none of it changes
the run.
"""

import numpy as np
import pytest
import toy_run
from test_fit import same

from sora_jax.training import metrics
from sora_jax.training.loop import Every, TrainConfig, fit
from sora_jax.training.watch import ProfileConfig, SampleConfig
from sora_jax.training.workdir import Workdir


def events(workdir):
    """Tags of all that TensorBoard would show, with their steps."""
    from tensorboardX.proto.event_pb2 import Event

    found = set()
    for path in (workdir / "tensorboard").glob("events*"):
        data, at = path.read_bytes(), 0
        while at < len(data):  # records: length, its checksum, the event, its checksum
            size = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + size])
            found |= {
                (value.tag, event.step, value.HasField("image")) for value in event.summary.value
            }
            at += 16 + size
    return found


def test_speed_and_memory_stand_beside_the_losses(tmp_path):
    toy_run.run(tmp_path, 6, watch={"flops": metrics.StepFlops(1e6, 2e5, 1e9)})
    first, *rows = metrics.read(tmp_path / "metrics.jsonl")
    assert "step_seconds" not in first and len(rows) == 5  # it compiles
    for row in rows:
        assert row["clips_per_second"] == pytest.approx(32 / row["step_seconds"], rel=1e-4)
        assert row["flops_per_second"] == pytest.approx(1e6 / row["step_seconds"], rel=1e-4)
        assert row["mfu"] == pytest.approx(1e-3 / row["step_seconds"], rel=1e-4)
        assert row["optimizer_mfu"] == pytest.approx(2e-4 / row["step_seconds"], rel=1e-4)
        assert 1e7 < row["peak_memory"] < 1e12


def test_pictures_and_a_profile_change_nothing(tmp_path):
    shown = []

    def pictures(state):
        shown.append(int(state.step))
        return {"clip_0": np.full((4, 6, 3), 200, np.uint8)}

    plain, _ = toy_run.run(tmp_path / "plain", 8)
    watch = {"pictures": Every(pictures, 3), "profile": ProfileConfig(start=2, steps=3)}
    watched, _ = toy_run.run(tmp_path / "watched", 8, watch=watch)
    same(plain, watched)
    assert shown == [3, 6, 8]
    assert {(tag, step) for tag, step, image in events(tmp_path / "watched") if image} == {
        ("clip_0", step) for step in shown
    }
    traces = list((tmp_path / "watched" / "tensorboard").glob("plugins/profile/*/*"))
    assert traces and not list((tmp_path / "plain" / "tensorboard").glob("plugins/profile/*/*"))


@pytest.mark.parametrize(
    ("start", "steps", "window"),
    [(2, 3, (2, 4)), (1, 1, (1, 1)), (5, 9, (5, 8)), (0, 5, None), (9, 1, None)],
)
def test_the_profile_covers_its_steps(tmp_path, monkeypatch, start, steps, window):
    """From before its first step until after its last, or the run's."""
    begun, ended, done = [], [], []
    monkeypatch.setattr("jax.profiler.start_trace", lambda folder: begun.append(len(done) + 1))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: ended.append(len(done)))
    state, step_fn = toy_run.setup(8)

    def counted(state, batch):
        result = step_fn(state, batch)
        done.append(1)
        return result

    with Workdir(tmp_path, {}) as workdir:
        fit(
            state,
            counted,
            toy_run.batches(),
            TrainConfig(steps=8, log_every=4),
            workdir,
            profile=ProfileConfig(start, steps),
        )
    assert (begun, ended) == (([window[0]], [window[1]]) if window else ([], []))


def test_one_compilation_of_the_step(tmp_path):
    """A process compiles the step once, whatever is logged and saved, and once more only after a
    restart.
    """
    for steps in (10, 20):
        state, step_fn = toy_run.setup(20)
        with Workdir(tmp_path, {}) as workdir:
            fit(
                state,
                step_fn,
                toy_run.batches(),
                TrainConfig(steps=steps, log_every=3, checkpoint_every=4),
                workdir,
            )
        assert step_fn._cache_size() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ProfileConfig(start=-1),
        lambda: ProfileConfig(steps=0),
        lambda: SampleConfig(every=1, prompts=()),
        lambda: SampleConfig(every=1, prompts=("a ball", " ")),
        lambda: SampleConfig(steps=0),
    ],
)
def test_what_cannot_be_shown_is_refused(wrong):
    with pytest.raises(ValueError, match=r"(profile|sample)\..*; give"):
        wrong()
