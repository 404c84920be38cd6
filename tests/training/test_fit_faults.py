"""Faults of a run: damaged checkpoints, a full disk or memory, not finite numbers, missing data."""

import errno
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_run
from test_fit import Interrupting, losses, same

from sora_jax.errors import UserError
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.parallel import processes
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.loop import TrainConfig, fit
from sora_jax.training.workdir import Workdir


@pytest.mark.slow
@pytest.mark.parametrize("damage", [
    ("state/manifest.ocdbt", lambda data: data[: len(data) // 2]),
    ("state/d/*", lambda data: bytes(len(data))),
    ("data/*.json", lambda data: data[:-2]), ("state/_METADATA", lambda data: b"{}"),
], ids=lambda damage: damage[0])  # fmt: skip
def test_a_damaged_checkpoint_is_named_and_the_last_good_one_taken(tmp_path, damage, caplog):
    pattern, spoil = damage
    whole, _ = toy_run.run(tmp_path / "whole", 25)
    with pytest.raises(KeyboardInterrupt):
        toy_run.run(tmp_path / "cut", 25, iterator=Interrupting(toy_run.batches(), 22))
    (file, *_) = (tmp_path / "cut" / "checkpoints" / "20").glob(pattern)
    file.write_bytes(spoil(file.read_bytes()))
    resumed, _ = toy_run.run(tmp_path / "cut", 25)
    same(whole, resumed)
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    assert "the checkpoint of step 20 cannot be read" in caplog.text
    assert [p.name.split("_")[0] for p in (tmp_path / "cut" / "unreadable").iterdir()] == ["20"]
    assert sorted(int(p.name) for p in (tmp_path / "cut" / "checkpoints").iterdir()) == [20, 25]


def test_where_every_checkpoint_is_damaged_nothing_is_moved(tmp_path):
    toy_run.run(tmp_path, 20)
    before = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    for manifest in (tmp_path / "checkpoints").glob("*/state/manifest.ocdbt"):
        manifest.write_bytes(b"")
    with (
        Checkpoints(tmp_path / "checkpoints") as checkpoints,
        pytest.raises(UserError, match=r"step 20: .*; step 10: .*; use a new workdir"),
    ):
        checkpoints.restore(toy_run.setup(20)[0], toy_run.batches())
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == before


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_the_checkpoint_before(tmp_path, monkeypatch):
    """Writing fails as it does on a full disk, from the second save on."""
    full = []

    def save(self, step, *arguments, **options):
        if step >= 20:
            full.append(step)
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, step, *arguments, **options)

    from sora_jax.training.checkpoint import ocp

    original = ocp.training.Checkpointer.save_checkpointables_async
    whole, _ = toy_run.run(tmp_path / "whole", 25)
    monkeypatch.setattr(ocp.training.Checkpointer, "save_checkpointables_async", save)
    with pytest.raises(
        UserError,
        match=r"the checkpoint of step 20 could not be written to .* \(No space left on "
        r"device\); make room",
    ):
        toy_run.run(tmp_path / "cut", 25)
    monkeypatch.undo()
    assert full == [20] and [p.name for p in (tmp_path / "cut" / "checkpoints").iterdir()] == ["10"]
    same(whole, toy_run.run(tmp_path / "cut", 25)[0])


@pytest.mark.parametrize(
    ("bad_row", "bad_step", "kept"), [(8 * 22, 23, 20), (8 * 19, 20, 10), (0, 1, None)]
)
def test_nan_stops_the_run_and_is_not_saved(tmp_path, bad_row, bad_step, kept):
    """Rows come in order, eight to a batch; a bad batch in a step that saves (20) must not reach
    the disk.
    """
    with pytest.raises(UserError, match=rf"step {bad_step}: loss is nan.*optim\.lr"):
        toy_run.run(tmp_path, 40, iterator=toy_run.batches(bad=bad_row, shuffle=False))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest == kept
        if kept:
            restored = checkpoints.restore(toy_run.setup(40)[0], toy_run.batches())
            assert all(np.isfinite(x).all() for x in jax.tree.leaves(restored.params))


def test_nan_inside_a_long_window_names_its_step(tmp_path):
    state, step_fn = toy_run.setup(40)
    config = toy_run.TrainConfig(steps=40, log_every=40)
    with Workdir(tmp_path, {}) as workdir, pytest.raises(UserError, match="step 7: loss is nan"):
        fit(state, step_fn, toy_run.batches(bad=8 * 6, shuffle=False), config, workdir)


class Clips:
    """Ten records of made-up latents in the layout of experiments.precompute; `bad` holds NaN in
    one number of its sound.
    """

    def __init__(self, directory, bad=None):
        from array_record.python.array_record_module import ArrayRecordWriter

        from sora_jax.data.latents.record import DESCRIPTION, pack

        self.directory = directory
        directory.mkdir(exist_ok=True)
        writer = ArrayRecordWriter(str(directory / "shard"), "group_size:1,uncompressed")
        for i in range(10):
            rng = np.random.default_rng(i)
            video, audio = rng.normal(size=(2, 2, 2, 4)), rng.normal(size=(16, 4))
            audio[3, 2] = np.nan if i == bad else audio[3, 2]
            writer.write(pack(video, audio, ["a ball"], True, f"take/{i}"))
        writer.close()
        format = {"frames": 5, "fps": 8, "height": 16, "width": 16}
        (directory / DESCRIPTION).write_text(
            json.dumps(
                {
                    "format": format,
                    "tokenizers": {},
                    "count": 10,
                    "complete": True,
                    "shards": ["shard"],
                }
            )
        )

    def train(self, workdir, steps=24, **options):
        from sora_jax.data.latents.loader import make_loader
        from sora_jax.training.optim import OptimConfig, make_optimizer
        from sora_jax.training.state import new_state
        from sora_jax.training.step import make_step

        def loss_fn(params, batch, key):
            noise = jax.random.normal(key, batch["audio"].shape)
            return jnp.square(params["w"] * batch["audio"] - noise).mean() + jnp.square(
                params["w"] - batch["video"]
            ).mean(), {"target": 0.0}

        optimizer = make_optimizer(OptimConfig(lr=1e-2), steps)
        tokenize = TextTokenizer(("clip",), buckets=8, length=4)
        batches = make_loader(self.directory, tokenize, 2, seed=0, shuffle=False, **options)
        config = TrainConfig(steps=steps, log_every=1, checkpoint_every=2)
        with Workdir(workdir, {}) as opened:
            return fit(
                new_state({"w": jnp.zeros(())}, optimizer, 0),
                make_step(loss_fn, optimizer),
                batches,
                config,
                opened,
            )


@pytest.mark.slow
def test_a_poisoned_clip_is_named_and_mended_the_run_is_as_if_it_had_never_been(tmp_path):
    """Clip 7 is in the fourth batch, whose step is not taken; so is the third's row kept, and the
    checkpoint of step 2.
    """
    whole = Clips(tmp_path / "good").train(tmp_path / "whole")
    said = (
        r"clip 7 \(take/7\) of the latents in .*: NaN or infinity; bring .*; "
        r"stopped at step 3, and the same command continues from step 2"
    )
    with pytest.raises(UserError, match=said):
        Clips(tmp_path / "latents", bad=7).train(tmp_path / "cut")
    assert sorted(losses(tmp_path / "cut")) == [1, 2, 3]
    same(whole, Clips(tmp_path / "latents").train(tmp_path / "cut"))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


@pytest.mark.slow
def test_left_out_from_the_middle_of_a_run_a_poisoned_clip_is_left_out_as_from_its_start(tmp_path):
    poisoned = Clips(tmp_path / "latents", bad=7)
    whole = poisoned.train(tmp_path / "whole", skip_damaged=True)
    with pytest.raises(UserError, match="clip 7"):
        poisoned.train(tmp_path / "cut")
    same(whole, poisoned.train(tmp_path / "cut", skip_damaged=True))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_data_that_runs_out_is_said(tmp_path):
    state, step_fn = toy_run.setup(40)
    short = iter(toy_run.grain.MapDataset.source(toy_run.Rows()).batch(8).to_iter_dataset())
    with Workdir(tmp_path, {}) as workdir, pytest.raises(UserError, match="ran out at step 25"):
        fit(state, step_fn, short, toy_run.TrainConfig(steps=40), workdir)


def test_out_of_memory_is_said_and_not_taken_for_a_lost_process(tmp_path, monkeypatch):
    def full(state, batch):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.")

    monkeypatch.setattr(processes, "several", lambda: True)
    state, _ = toy_run.setup(4)
    with (
        Workdir(tmp_path, {}) as workdir,
        pytest.raises(UserError, match=r"step 1: out of memory .*batch_size") as error,
    ):
        fit(state, full, toy_run.batches(), TrainConfig(steps=4), workdir)
    assert not processes.is_lost(error.value)
