"""Windows over a stream: what is given, where it goes, and that the clocks of picture and sound
stay together.
"""

import dataclasses

import numpy as np
import pytest

from sora_jax.errors import UserError
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.pipelines import windows

FORMS = [FORMATS["nano"], FORMATS["S"], ClipFormat(frames=13, fps=10), FORMATS["phyworld"]]


def stream(latents, format):
    """A stream whose latents hold their own index."""
    audio = -(-windows.stream_samples(latents, format) // 640)
    return {
        "video": np.arange(1.0, latents + 1)[:, None],
        "audio": np.arange(1.0, audio + 1)[:, None],
    }


@pytest.mark.parametrize("format", FORMS)
@pytest.mark.parametrize("latents", [1, 2, 3, 4, 5, 9, 10, 23])
def test_a_window_overlaps_and_is_on_the_clock(format, latents):
    window = windows.next_window(latents, format)
    given = np.flatnonzero(window.video_given)
    stream_given = window.video_start + given
    assert stream_given[-1] == latents - 1 and given[-1] < format.video_latents - 1
    assert (np.diff(given) == 1).all() and given[0] == (0 if window.video_start == 0 else 1)
    if latents > format.video_latents:
        assert len(given) >= format.video_latents // 2
    # Both clocks, put back on the stream's: latents are where the whole stream's clock has them.
    start = format.frames_per_latent * window.video_start / format.fps
    whole = dataclasses.replace(
        format, frames=windows.stream_frames(window.video_start + format.video_latents, format)
    ).latent_times()
    np.testing.assert_allclose(
        window.times["video"][1:] + start, whole["video"][window.video_start + 1 :], atol=1e-9
    )
    audio = (window.audio_start + np.arange(format.audio_latents) + 0.5) / 25
    np.testing.assert_allclose(window.times["audio"] + start, audio, atol=1e-9)
    # Sound is given up to the last whole latent before the picture ends, and only there.
    end = (window.audio_start + np.flatnonzero(window.audio_given)[-1] + 1) / 25
    seen = windows.stream_frames(latents, format) / format.fps
    assert seen - 0.04 - 1e-9 < end <= seen + 1e-9


@pytest.mark.parametrize("format", FORMS)
@pytest.mark.parametrize("latents, target", [(1, 4), (5, 6), (5, 7), (5, 23), (6, 14)])
def test_extension_keeps_the_stream_and_fills_the_rest(format, latents, target):
    calls = []

    def make(window, given):
        calls.append(window)
        for m, start in (("video", window.video_start), ("audio", window.audio_start)):
            known = getattr(window, f"{m}_given")
            index = start + 1.0 + np.arange(len(known))[:, None]
            np.testing.assert_array_equal(given[m], np.where(known[:, None], index, 0))
        return {
            m: start + 1.0 + np.arange(len(given[m]))[:, None]
            for m, start in (("video", window.video_start), ("audio", window.audio_start))
        }

    longer = windows.extend(stream(latents, format), format, target, make)
    # make() answers with the right index at every place, so the result must count on, with no
    # latent lost or doubled.
    for m, wanted in stream(target, format).items():
        np.testing.assert_array_equal(longer[m][: len(wanted)], wanted)
        assert len(longer[m]) == len(wanted)
    assert calls


def test_audio_latents_cut_by_the_old_end_are_made_anew():
    format = FORMATS["nano"]
    old = stream(5, format)
    assert len(old["audio"]) == 54  # 53.125 latents of sound
    old["audio"][-1] = -1
    seen = []

    def make(window, given):
        seen.append(given["audio"].min())
        return {m: np.full_like(x, 7) for m, x in given.items()}

    longer = windows.extend(old, format, 7, make)
    assert seen == [0] and longer["audio"][53, 0] == 7 and longer["audio"][52, 0] == 53


def test_nano_windows_start_on_whole_audio_latents():
    for format in (FORMATS["nano"], FORMATS["S"]):
        for latents in range(format.video_latents, 40):
            window = windows.next_window(latents, format)
            np.testing.assert_allclose(window.times["audio"], format.latent_times()["audio"])


def test_formats_too_short_to_overlap_are_refused():
    with pytest.raises(UserError, match="too short"):
        windows.next_window(2, ClipFormat(frames=5, fps=8))
