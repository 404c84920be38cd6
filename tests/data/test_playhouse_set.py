"""The playhouse set: what is read is bitwise what was drawn, and TensorFlow stays away."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from sora_jax.data import playhouse_set, tfds_sets
from sora_jax.data.sources import PlayhouseSource
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS
from sora_jax.worlds.playhouse.draw import draw

NANO = FORMATS["nano"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return playhouse_set.build(
        tmp_path_factory.mktemp("sets"), playhouse_set.PlayhouseConfig(num_train=12, num_val=4)
    )


def same(a, b):
    return (
        (a.split, a.index, a.scene, a.facts, a.captions)
        == (b.split, b.index, b.scene, b.facts, b.captions)
        and a.trajectory.contacts == b.trajectory.contacts
        and all(
            np.array_equal(x, y) for x, y in zip(a.trajectory.arcs, b.trajectory.arcs, strict=True)
        )
    )


@pytest.mark.parametrize("split, count", [("train", 12), ("val", 4)])
def test_takes_come_back_bitwise(directory, split, count):
    takes = playhouse_set.open_takes(directory, split)
    assert len(takes) == count
    assert all(same(takes[i], draw(split, i)) for i in range(count))
    assert not same(takes[0], takes[1])


def test_tracks_are_the_motion_at_the_frames(directory):
    record = tfds_sets.open_source(directory, "train", "playhouse")[3]
    motion = draw("train", 3).trajectory
    times = (np.arange(17) + 0.5) / 8
    np.testing.assert_array_equal(record["tracks"][..., :2], motion.positions(times))
    np.testing.assert_array_equal(record["tracks"][..., 2:], motion.velocities(times))


def test_a_take_without_contacts_has_a_record():
    take = draw("train", 0)
    still = playhouse_set.to_record(take, NANO) | {"contacts": np.zeros((0, 6))}
    assert playhouse_set.from_record(still).trajectory.contacts == ()


def test_tensorflow_is_never_imported(tmp_path):
    code = f"""
        import sys
        from sora_jax.data import playhouse_set, video_folder
        from sora_jax.data.latents import loader, precompute
        config = playhouse_set.PlayhouseConfig(num_train=2, num_val=1)
        directory = playhouse_set.build({str(tmp_path)!r}, config)
        take = playhouse_set.open_takes(directory, "val")[0]
        assert take.split == "val" and take.captions
        assert not any(name.split(".")[0] == "tensorflow" for name in sys.modules), "imported"
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_is_not_there(directory, tmp_path):
    with pytest.raises(UserError, match="no built set"):
        playhouse_set.open_takes(tmp_path)
    with pytest.raises(UserError, match="no split 'test'"):
        playhouse_set.open_takes(directory, "test")
    with pytest.raises(UserError, match="video_folder is needed"):
        tfds_sets.open_source(directory, "train", "video_folder")
    with pytest.raises(UserError, match="unknown format"):
        playhouse_set.PlayhouseConfig(format="huge")


def test_a_source_resumes_exactly():
    source = PlayhouseSource("train", NANO, num_clips=6, batch_size=4)
    whole, rest = list(source()), list(source(4))
    assert [b["keys"] for b in whole] == [
        [f"room/train/{i}" for i in range(4)],
        ["room/train/4", "room/train/5"],
    ]
    assert len(source) == 6 and rest[0]["keys"] == whole[1]["keys"]
    np.testing.assert_array_equal(rest[0]["frames"], whole[1]["frames"])
    np.testing.assert_array_equal(rest[0]["samples"], whole[1]["samples"])
    assert whole[0]["frames"].shape == (4, 17, 64, 64, 3) and whole[0]["samples"].shape == (
        4,
        34000,
    )
    assert all(same(take, draw("train", i)) for i, take in enumerate(whole[0]["takes"]))


def test_workers_draw_the_same(directory):
    """In a process of its own: workers are spawned."""
    code = """
        from sora_jax.worlds.playhouse.takes import draw_takes
        if __name__ == "__main__":
            alone = [t.scene for t in draw_takes("val", range(20))]
            assert [t.scene for t in draw_takes("val", range(20), workers=2)] == alone
    """
    path = directory / "workers.py"
    path.write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
