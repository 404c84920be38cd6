"""The memory that large films need."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from sora_jax import media
from sora_jax.media.worker import Worker
from sora_jax.modality import FORMATS


def peak_of(path: str, whole: bool) -> float:
    """Returns the largest memory in MiB of a process that reads a file."""
    if whole:
        media.read_video(path, seconds=FORMATS["nano"].seconds + 1)
    else:
        media.read_fitted(path, FORMATS["nano"])
    # Not ru_maxrss, which a child inherits from the process that started it.
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 2**10


@pytest.mark.slow
@pytest.mark.parametrize(
    "codec, pixel_format", [("libx264", "yuv420p"), ("libx265", "yuv420p10le")]
)
def test_sixty_frames_a_second_of_4k(tmp_path, codec, pixel_format):
    path = tmp_path / "phone.mp4"
    options = {"preset": "ultrafast", "crf": "40", "x265-params": "log-level=error:bframes=4"}
    with av.open(str(path), "w") as file:
        video = file.add_stream(codec, rate=60, options=options)
        video.width, video.height, video.pix_fmt = 3840, 2160, pixel_format
        frame = av.VideoFrame(3840, 2160, pixel_format)
        for i in range(32):
            for plane in frame.planes:
                plane.update(bytes([i % 4]) * plane.buffer_size)
            frame.pts, frame.time_base = i, Fraction(1, 60)
            file.mux(video.encode(frame))
        file.mux(video.encode())
    for whole, most in ((False, 600), (True, 1000)):
        with Worker() as worker:
            peak = worker.call(peak_of, str(path), whole)
        assert peak < most, (whole, peak)
