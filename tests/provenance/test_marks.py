"""The marks: found after each treatment, absent without, nearly invisible."""

import dataclasses

import numpy as np
import pytest

from sora_jax.errors import UserError
from sora_jax.evaluation import marks
from sora_jax.modality import FORMATS
from sora_jax.oracles.examples import render_takes
from sora_jax.provenance import code, picture_mark, sound_mark
from sora_jax.provenance.write import mark
from sora_jax.worlds.playhouse.draw import draw

KEY, PAYLOAD = b"a key of the tests", 0xC0FFEE42


def rendered(size, families=("room", "court")):
    """A clip of each family, rounded to 8 bits."""
    format = dataclasses.replace(FORMATS["nano"], height=size, width=size)
    clips = render_takes([draw("val", 3, family=f) for f in families], format, len(families))
    return [dataclasses.replace(c, frames=np.round(c.frames * 255).astype(np.uint8)) for c in clips]


@pytest.fixture(scope="module")
def plain():
    return {size: rendered(size) for size in (64, 256)}


@pytest.fixture(scope="module")
def published(plain):
    """The clips as files that leave, by size."""
    return {
        size: [marks.recoded(mark(clip, PAYLOAD, KEY)[0]) for clip in clips]
        for size, clips in plain.items()
    }


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("treatment", marks.PICTURE)
def test_the_picture_mark_survives_at_256_pixels(published, treatment):
    for clip in published[256]:
        detection = picture_mark.detect(marks.PICTURE[treatment](clip).frames, KEY)
        assert detection is not None and detection.payload == PAYLOAD


@pytest.mark.parametrize("treatment", ["as published", "h264 crf 23", "scaled to 200 %"])
def test_the_picture_mark_survives_at_64_pixels(published, treatment):
    for clip in published[64]:
        detection = picture_mark.detect(marks.PICTURE[treatment](clip).frames, KEY)
        assert detection is not None and detection.payload == PAYLOAD


@pytest.mark.parametrize("treatment", marks.SOUND)
def test_the_sound_mark_survives(published, treatment):
    for clip in published[64]:
        detection = sound_mark.detect(marks.SOUND[treatment](clip).samples, KEY)
        assert detection is not None and detection.payload == PAYLOAD


def test_the_place_of_the_mark_is_told(published):
    clip = published[256][0]
    crop = picture_mark.detect(clip.frames[:, 13:-13, 9:-9], KEY)
    assert crop is not None and "(51, 55)" in crop.place  # 64 - 13, 64 - 9
    half = picture_mark.detect(marks.scaled(clip, 0.5).frames, KEY)
    assert half is not None and "scaled by 0.5" in half.place
    late = sound_mark.detect(clip.samples[4000:], KEY)  # 0.25 s of the period of 0.64
    assert late is not None and late.place.startswith("begins at 0.392 s")


def test_a_cut_leaves_both_ends_of_the_sound_readable():
    """The end alone is too short, and the beginning too, so both offsets must have been found."""
    rng = np.random.default_rng(2)
    noise = (0.05 * rng.normal(size=48_000)).astype(np.float32)
    marked = sound_mark.embed(noise, PAYLOAD, KEY)
    cut = np.append(marked[:16_000], marked[16_000 + 5_120 - 2_000 :])
    level = sound_mark.levels(cut)
    best = sound_mark._likeliest(level, code.chips(KEY, "sound", sound_mark.CHIPS))[0]
    assert best[0] != best[1] and abs(best[2] - 125) < 12  # hops of 8 ms
    detection = sound_mark.detect(cut, KEY)
    assert detection is not None and detection.payload == PAYLOAD


def test_a_rehearsal_raises_what_h264_keeps():
    """Of a clip with much texture, on which the mark is hardest."""
    (clip,) = rendered(64, ("talk",))
    keyed = code.chips(KEY, "picture", picture_mark.CHIPS)

    def kept(embedded):
        frames = marks.recoded(dataclasses.replace(clip, frames=embedded), 23).frames
        x = dict(picture_mark.folds(frames, (1.0,)))[1.0]
        return code.score(picture_mark._chips_at(x, 0, 0), keyed.codeword(PAYLOAD))

    rehearsed = kept(mark(clip, PAYLOAD, KEY)[0].frames)
    assert rehearsed > code.threshold(0.5)
    assert rehearsed > kept(picture_mark.embed(clip.frames, PAYLOAD, KEY)) + 2.0


def test_frames_cut_from_the_clip_leave_the_picture_mark(published):
    for clip in published[64]:
        detection = picture_mark.detect(clip.frames[4:12], KEY)
        assert detection is not None and detection.payload == PAYLOAD


def test_marked_frames_are_45_db_from_the_unmarked(plain):
    for size, clips in plain.items():
        for clip in clips:
            marked, names = mark(clip, PAYLOAD, KEY)
            assert psnr(marked.frames, clip.frames) >= 45.0, size
            assert names == ("picture", "sound") and marked.samples.shape == clip.samples.shape


def test_no_unmarked_clip_and_no_other_key_is_taken_for_a_mark(plain, published):
    alarms, searches = 0, 0
    for clips in (*plain.values(), *published.values()):
        for clip in clips:
            alarms += marks._false_alarms(clip, 5)
            searches += 10
    assert alarms == 0 and searches == 80


def test_a_threshold_of_frequent_alarms_is_reached_by_unmarked_clips():
    """The bound is loose, but not by much: where it allows 2^32 false alarms, some are made."""
    noise = np.random.default_rng(0).normal(size=(len(picture_mark.COEFFICIENTS), 64, 64))
    found = [
        picture_mark.found([(1.0, noise)], code.chips(bytes([k]), "p", picture_mark.CHIPS), 1, 1e9)
        for k in range(8)
    ]
    assert any(found)


def test_flat_and_silent_clips_can_be_marked():
    frames = np.full((5, 64, 64, 3), 128, np.uint8)
    detection = picture_mark.detect(picture_mark.embed(frames, PAYLOAD, KEY), KEY)
    assert detection is not None and detection.payload == PAYLOAD
    marked = sound_mark.embed(np.zeros(32_000, np.float32), PAYLOAD, KEY)
    assert np.sqrt(np.mean(marked**2)) < 10 ** (-55 / 20)
    detection = sound_mark.detect(marked, KEY)
    assert detection is not None and detection.payload == PAYLOAD


def test_sound_of_other_rates_is_marked():
    noise = (0.05 * np.random.default_rng(5).normal(size=96_000)).astype(np.float32)
    marked = sound_mark.embed(noise, PAYLOAD, KEY, 48_000)
    detection = sound_mark.detect(marked, KEY, 48_000)
    assert detection is not None and detection.payload == PAYLOAD


def test_sides_that_are_no_multiple_of_a_block(plain):
    frames = plain[256][0].frames[:, :203, :117]
    detection = picture_mark.detect(picture_mark.embed(frames, 7, KEY), KEY)
    assert detection is not None and detection.payload == 7


@pytest.mark.parametrize(
    ("embed", "value", "message"),
    [
        (picture_mark.embed, np.zeros((1, 16, 64, 3), np.uint8), "at least 32 pixels"),
        (sound_mark.embed, np.zeros(9_000, np.float32), "at least 1 s"),
    ],
)
def test_what_is_too_small_for_a_mark_is_refused(embed, value, message):
    with pytest.raises(UserError, match=message):
        embed(value, PAYLOAD, KEY)


@pytest.mark.parametrize("payload", [-1, 2**32])
def test_a_payload_has_32_bits(payload):
    with pytest.raises(UserError, match="32 bits"):
        picture_mark.embed(np.zeros((1, 64, 64, 3), np.uint8), payload, KEY)
    with pytest.raises(UserError, match="32 bits"):
        sound_mark.embed(np.zeros(32_000), payload, KEY)


def test_nothing_is_found_in_what_is_too_small():
    assert picture_mark.detect(np.zeros((1, 16, 16, 3), np.uint8), KEY) is None
    assert sound_mark.detect(np.zeros(100), KEY) is None
