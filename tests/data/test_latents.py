"""Latents on disk: exact records, resumable writing, refusals, and a loader that resumes
bitwise.
"""

import json
import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from flax import nnx

from sora_jax.data.latents.loader import make_loader
from sora_jax.data.latents.precompute import precompute, refuse_others
from sora_jax.data.latents.record import identity, open_set, pack, unpack
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.models.text_encoder import TextTokenizer

TINY = ClipFormat(frames=5, fps=8, height=16, width=16)
FINGERPRINTS = {"video_tokenizer": "0123456789ab", "audio_tokenizer": "ba9876543210"}
TOKENIZE = TextTokenizer(("clip", "number", "of"), buckets=64, length=8)


class Video(nnx.Module):
    """Every eighth pixel of every fourth frame: what an encoder gives, without one."""

    def __init__(self, gain=1.0):
        self.gain = nnx.Param(jnp.asarray(gain))

    def encode(self, frames, shots):
        return jnp.tile(frames[:, ::4, ::8, ::8, :1], (1, 1, 1, 1, 16)) * self.gain[...]


class Audio(nnx.Module):
    def encode(self, samples):
        padded = jnp.pad(samples, ((0, 0), (0, -samples.shape[1] % 640)))
        return padded.reshape(len(samples), -1, 640)[..., :64]


class Source:
    """Clips whose pixels are their number; stops with an error at `fails_at`, as a machine does."""

    def __init__(self, count, batch_size=4, fails_at=None):
        self.count, self.batch_size, self.fails_at = count, batch_size, fails_at
        self.format, self.identity, self.started = TINY, {"source": "numbers", "split": "train"}, []

    def __len__(self):
        return self.count

    def __call__(self, start=0):
        self.started.append(start)
        for first in range(start, self.count, self.batch_size):
            numbers = range(first, min(first + self.batch_size, self.count))
            if self.fails_at is not None and self.fails_at in numbers:
                raise KeyboardInterrupt
            values = np.array(numbers, np.float32) / 1024
            yield {
                "frames": np.broadcast_to(
                    values[:, None, None, None, None], (len(numbers), 5, 16, 16, 3)
                ),
                "samples": np.broadcast_to(values[:, None], (len(numbers), TINY.samples)),
                "has_audio": np.array([i % 3 > 0 for i in numbers]),
                "captions": [(f"clip number {i}", f"number of clip {i}") for i in numbers],
                "keys": [f"n/{i}" for i in numbers],
            }


def make(directory, count=22, **options):
    source = Source(count, **options)
    made = precompute(
        source, Video(), Audio(), directory, FINGERPRINTS, shard_clips=8, progress=False
    )
    return made, source


def contents(directory):
    records, _ = open_set(directory)
    return [unpack(records[i]) for i in range(len(records))]


def test_records_are_exact():
    rng = np.random.default_rng(0)
    video, audio = (
        rng.normal(size=(5, 8, 8, 16)).astype(np.float16),
        rng.normal(size=(54, 64)).astype(np.float16),
    )
    back = unpack(pack(video, audio, ["größe", "b"], np.bool_(False), "k/1"))
    np.testing.assert_array_equal(back["video"], video)
    np.testing.assert_array_equal(back["audio"], audio)
    assert (back["captions"], back["has_audio"], back["key"]) == (["größe", "b"], False, "k/1")


def test_every_clip_once_in_order(tmp_path):
    made, _ = make(tmp_path / "set")
    assert (made["count"], made["complete"], len(made["shards"])) == (22, True, 3)
    found = contents(tmp_path / "set")
    assert [r["key"] for r in found] == [f"n/{i}" for i in range(22)]
    for i, record in enumerate(found):
        assert record["video"].shape == (2, 2, 2, 16) and record["audio"].shape == (16, 64)
        assert (record["video"] == np.float16(i / 1024)).all() and record["audio"][
            0, 0
        ] == np.float16(i / 1024)
        assert record["has_audio"] == (i % 3 > 0) and record["captions"][0] == f"clip number {i}"


def test_an_interrupted_run_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "set", fails_at=21)
    with pytest.raises(UserError, match="unfinished"):
        open_set(tmp_path / "set")
    first = (tmp_path / "set" / "latents-00000.array_record").stat().st_mtime_ns
    made, source = make(tmp_path / "set")
    assert source.started == [16] and made["complete"], "whole shards must be kept"
    assert (tmp_path / "set" / "latents-00000.array_record").stat().st_mtime_ns == first
    make(tmp_path / "whole")
    for a, b in zip(contents(tmp_path / "set"), contents(tmp_path / "whole"), strict=True):
        assert (
            a["key"] == b["key"]
            and (a["video"] == b["video"]).all()
            and (a["audio"] == b["audio"]).all()
        )
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "set").iterdir()}
    assert make(tmp_path / "set")[1].started == [], "a finished set is left alone"
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "set").iterdir()} == before


def test_a_finished_set_grows(tmp_path):
    make(tmp_path / "set", 10)
    made, source = make(tmp_path / "set", 20)
    assert made["count"] == 20 and source.started == [8]
    assert [r["key"] for r in contents(tmp_path / "set")] == [f"n/{i}" for i in range(20)]
    with pytest.raises(UserError, match="holds 20 clips"):
        make(tmp_path / "set", 10)


def test_nothing_of_others_is_overwritten(tmp_path):
    make(tmp_path / "set", 8)
    with pytest.raises(UserError, match="tokenizers"):
        other = FINGERPRINTS | {"video_tokenizer": "ffffffffffff"}
        precompute(
            Source(8), Video(), Audio(), tmp_path / "set", other, shard_clips=8, progress=False
        )
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        make(tmp_path / "papers", 8)
    with pytest.raises(UserError, match="NaN"):
        precompute(
            Source(8), Video(np.nan), Audio(), tmp_path / "nan", FINGERPRINTS, progress=False
        )


def test_identity_tells_contents_apart(tmp_path):
    """Same path, same count, same tokenizers, another clip; and a set that was only copied or
    touched.
    """
    make(tmp_path / "set", 10)
    first = identity(tmp_path / "set")
    assert first.keys() == {"source", "split", "count", "tokenizers", "digest"}
    os.utime(tmp_path / "set" / "latents-00001.array_record", (1, 1))
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    assert identity(tmp_path / "set") == identity(tmp_path / "copy") == first
    shard = tmp_path / "set" / "latents-00001.array_record"
    writer = ArrayRecordWriter(str(shard), "group_size:1,uncompressed")
    for record in contents(tmp_path / "copy")[8:]:
        writer.write(
            pack(
                record["video"] + np.float16(1),
                record["audio"],
                record["captions"],
                True,
                record["key"],
            )
        )
    writer.close()
    other = identity(tmp_path / "set")
    assert {k for k in first if other[k] != first[k]} == {"digest"}
    make(tmp_path / "copy", 20)
    assert {k for k in first if identity(tmp_path / "copy")[k] != first[k]} == {
        "count",
        "digest",
    }


def test_others_are_refused_before_anything_is_made(tmp_path):
    assert refuse_others(tmp_path / "set", {"source": "numbers"}) is None
    make(tmp_path / "set", 8)
    assert refuse_others(tmp_path / "set", {"source": "numbers"})["count"] == 8
    with pytest.raises(
        UserError, match="set holds latents with source numbers, not letters; delete it, or write"
    ):
        refuse_others(tmp_path / "set", {"source": "letters"})


def test_refusals_on_reading(tmp_path):
    make(tmp_path / "set", 8)
    open_set(tmp_path / "set", FINGERPRINTS, TINY)
    with pytest.raises(UserError, match="made by the audio_tokenizer ba9876543210, not 000"):
        make_loader(
            tmp_path / "set", TOKENIZE, 2, 0, fingerprints=FINGERPRINTS | {"audio_tokenizer": "000"}
        )
    with pytest.raises(UserError, match="the format 5 frames of 16 x 16 at 8/s, not 9 frames"):
        open_set(tmp_path / "set", format=ClipFormat(frames=9, fps=8, height=16, width=16))
    with pytest.raises(UserError, match="no latents"):
        open_set(tmp_path / "nowhere")
    with pytest.raises(UserError, match="fewer than a batch"):
        make_loader(tmp_path / "set", TOKENIZE, 9, 0, repeat=1)
    description = tmp_path / "set" / "dataset.json"
    good = description.read_text()
    description.write_text(json.dumps(json.loads(good) | {"count": 9}))
    with pytest.raises(UserError, match="8 clips, not the 9"):
        open_set(tmp_path / "set")
    description.write_text(good[:50])
    with pytest.raises(UserError, match="cannot be read"):
        open_set(tmp_path / "set")
    description.write_text(good)
    (tmp_path / "set" / "latents-00000.array_record").unlink()
    with pytest.raises(UserError, match="cannot be opened"):
        open_set(tmp_path / "set")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("latents") / "set"
    make(directory)
    return directory


def loader(directory, seed=0, **options):
    return make_loader(directory, TOKENIZE, 4, seed, **options)


def equal(a, b):
    """The arrays of clips are the same; `times` belong to the format."""
    others = {"times", "references"}
    names = a.keys() - others
    return names == b.keys() - others and all(np.array_equal(a[k], b[k]) for k in names)


def rows_of(batch):
    return {name: x for name, x in batch.items() if name not in ("times", "references")}


def numbers(batch):
    return [round(float(v) * 1024) for v in batch["video"][:, 0, 0, 0, 0]]


def test_batches_for_the_model(directory):
    batch = next(loader(directory))
    assert {m: t.tolist() for m, t in batch["times"].items()} == {
        m: t.astype(np.float32).tolist() for m, t in TINY.latent_times().items()
    }
    assert {k: (v.shape, v.dtype.name) for k, v in rows_of(batch).items()} == {
        "video": ((4, 2, 2, 2, 16), "float32"),
        "audio": ((4, 16, 64), "float32"),
        "tokens": ((4, 8), "int32"),
        "text_mask": ((4, 8), "bool"),
        "text_shots": ((4, 8), "int8"),
        "text_slots": ((4, 8), "int8"),
        "has_audio": ((4,), "bool"),
    }
    for i, number in enumerate(numbers(batch)):
        assert batch["has_audio"][i] == (number % 3 > 0)
        options, _ = TOKENIZE([f"clip number {number}", f"number of clip {number}"])
        assert (batch["tokens"][i] == options).all(1).any()


def test_a_batch_larger_than_the_set_is_noted_once(directory, capsys, caplog):
    for _ in range(2):
        make_loader(directory, TOKENIZE, 1_000, 0)
    noted = capsys.readouterr().err
    assert noted == (
        f"note: the latents in {directory} hold 22 clips, fewer than a batch of 1000, so batches "
        "repeat clips; set config.train.batch_size to at most 22, or make more clips "
        "(config.data.clips)\n"
    )
    assert not caplog.text


def test_a_pass_shows_every_clip_once(directory):
    stream = loader(directory)
    seen = [number for _ in range(11) for number in numbers(next(stream))]
    assert sorted(seen[:22]) == sorted(seen[22:]) == list(range(22)), "passes run into each other"
    assert seen[:22] != seen[22:] and seen[:22] != list(range(22))
    ordered = loader(directory, shuffle=False, repeat=1)
    assert [number for batch in ordered for number in numbers(batch)] == list(range(20)), (
        "only full batches"
    )
    assert numbers(next(loader(directory, seed=1))) != numbers(next(loader(directory, seed=0)))


def test_both_captions_are_used(directory):
    stream = loader(directory)
    first = [row[0] for _ in range(30) for row in next(stream)["tokens"]]
    assert 40 < first.count(TOKENIZE.ids["clip"]) < 80


def test_processes_share_each_batch_out(directory):
    """Two that read two rows each: disjoint, in a pass every clip once, and beside each other the
    batches of one, captions too.
    """
    one, *two = (
        loader(directory, seed=3),
        *(loader(directory, seed=3, rows=rows) for rows in ([0, 1], [2, 3])),
    )
    for _ in range(11):  # two passes of 22 clips
        batch, shares = next(one), [next(stream) for stream in two]
        assert not set(numbers(shares[0])) & set(numbers(shares[1]))
        assert equal(
            batch,
            {name: np.concatenate([share[name] for share in shares]) for name in rows_of(batch)},
        )
    assert [stream.get_state() for stream in two] == [one.get_state()] * 2, (
        "the position is every one's"
    )
    fresh = [loader(directory, seed=3, rows=rows) for rows in ([0, 1, 2, 3], [1, 3])]
    for stream in fresh:
        stream.set_state(two[1].get_state())
    batch, whole, odd = next(one), *(next(stream) for stream in fresh)
    assert equal(batch, whole) and equal({name: x[1::2] for name, x in rows_of(batch).items()}, odd)
    ordered = [loader(directory, shuffle=False, repeat=1, rows=rows) for rows in ([0, 1], [2, 3])]
    seen = [[number for batch in stream for number in numbers(batch)] for stream in ordered]
    assert not set(seen[0]) & set(seen[1]) and sorted(seen[0] + seen[1]) == list(range(20))


def damaged(directory, to, number, record=None):
    """A copy of a set in which one record is another's bytes, or holds NaN; the size of its file is
    the same.
    """
    shutil.copytree(directory, to)
    found = contents(directory)
    shard = to / f"latents-{number // 8:05d}.array_record"
    writer = ArrayRecordWriter(str(shard), "group_size:1,uncompressed")
    for i in range(number // 8 * 8, min(number // 8 * 8 + 8, len(found))):
        r = found[i]
        video = np.full_like(r["video"], np.nan) if i == number else r["video"]
        writer.write(
            record
            if record and i == number
            else pack(video, r["audio"], r["captions"], r["has_audio"], r["key"])
        )
    writer.close()
    return to


@pytest.mark.parametrize(
    ("record", "reason"),
    [(None, r"clip 5 \(n/5\) of .*: NaN or infinity"), (b"\xff" * 9, "clip 5 of ")],
)
def test_a_damaged_clip_is_named_or_left_out(directory, tmp_path, caplog, record, reason):
    bad = damaged(directory, tmp_path / "bad", 5, record)
    stream = loader(bad, shuffle=False)
    assert numbers(next(stream)) == [0, 1, 2, 3]
    with pytest.raises(
        UserError, match=reason + ".*; bring the file back, or .* config.data.skip_damaged=true"
    ):
        next(stream)
    stream = loader(bad, shuffle=False, skip_damaged=True)
    assert [numbers(next(stream)) for _ in range(2)] == [[0, 1, 2, 3], [4, 6, 6, 7]]
    assert "the next one takes its place" in caplog.text


def test_a_file_lost_under_a_run_is_named(directory, tmp_path):
    lost = shutil.copytree(directory, tmp_path / "lost")
    stream = loader(lost, shuffle=False)
    os.truncate(lost / "latents-00001.array_record", 100)
    with pytest.raises(
        UserError, match=r"clip (8|9|1\d) of .* cannot be used: .*; bring the file back"
    ):
        for _ in range(5):
            next(stream)


def test_resume_is_bitwise(directory):
    stream = loader(directory, seed=5)
    for _ in range(7):  # into the second pass
        next(stream)
    state = json.loads(json.dumps(stream.get_state()))  # as a checkpoint keeps it
    following = [next(stream) for _ in range(6)]
    stream.set_state(state)
    assert all(equal(next(stream), batch) for batch in following)
    fresh = loader(directory, seed=5)
    fresh.set_state(state)
    assert all(equal(next(fresh), batch) for batch in following)
