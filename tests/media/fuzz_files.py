"""Damaged files by the thousand: `python tests/media/fuzz_files.py --count=1000 --seed=0 DIR`.

Small whole files of every container are cut, have bits flipped, stretches overwritten, dropped or
doubled, and numbers in their headers replaced. Nothing is said about what is read from them: it is
a clip, or one line that names the file.
"""

import argparse
import collections
import pathlib
import sys
import time

import numpy as np
from films import click, quarters, write
from PIL import Image

from sora_jax import media
from sora_jax.errors import UserError
from sora_jax.media.worker import Worker
from sora_jax.modality import ClipFormat

SMALL = ClipFormat(frames=5, fps=8, height=32, width=32)
FILMS, SOUNDS, STILLS = (
    ("mp4", "mkv", "webm", "avi", "mov"),
    ("wav", "mp3"),
    ("png", "jpeg", "tiff"),
)
# numbers that a header would not hold if it were true
LIES = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x01000000)


def make_bases(folder: pathlib.Path) -> dict[str, bytes]:
    """Returns the bytes of one whole file of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [np.roll(quarters(48, 64), 4 * i, 1) for i in range(10)]
    films = {
        "mp4": ("libx264", "aac"),
        "mkv": ("mpeg4", "flac"),
        "webm": ("libvpx", "libopus"),
        "avi": ("mjpeg", "libmp3lame"),
        "mov": ("prores_ks", "pcm_s16le"),
    }
    formats = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}
    bases = {}
    for name, (codec, sound_codec) in films.items():
        path = folder / f"base.{name}"
        settings = {"sound": click(1.2), "sound_codec": sound_codec, "layout": "stereo"}
        options = {"crf": "30"} if codec == "libx264" else {}
        pixel_format = formats.get(codec, "yuv420p")
        write(path, pictures, 8, codec, pixel_format, options=options, **settings)
        bases[name] = path.read_bytes()
    for name, codec in (("wav", "pcm_s16le"), ("mp3", "libmp3lame")):
        bases[name] = write_sound(folder / f"base.{name}", codec)
    for name in STILLS:
        path = folder / f"base.{name}"
        Image.fromarray(pictures[0]).save(path)
        bases[name] = path.read_bytes()
    return bases


def write_sound(path: pathlib.Path, codec: str) -> bytes:
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(click(0.5)[None], format="fltp", layout="mono")
        frame.sample_rate = 48000
        context = stream.codec_context
        convert = av.AudioResampler(context.format.name, "mono", 48000, context.frame_size or None)
        for piece in [*convert.resample(frame), *convert.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode())
    return path.read_bytes()


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Damages the bytes of a file in one to three ways."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        kind, length = rng.integers(6), max(len(out), 1)
        at = int(rng.integers(length))
        if kind == 0:
            del out[at:]
        elif kind == 1:
            for place in rng.integers(0, length, rng.integers(1, 40)):
                if place < len(out):
                    out[place] ^= 1 << int(rng.integers(8))
        elif kind == 2:  # a lying header: numbers stand at both ends of a file
            head = min(length, 800)
            place = int(rng.integers(head))
            place = place if rng.random() < 0.6 else length - head + place
            size = int(rng.choice((2, 4)))
            order = str(rng.choice(("little", "big")))
            lie = int(rng.choice(LIES)) & ((1 << 8 * size) - 1)
            out[place : place + size] = lie.to_bytes(size, order)
        elif kind == 3:
            out[at : at + 60] = rng.bytes(60)
        elif kind == 4:
            del out[at : at + int(rng.integers(1, 200))]
        else:
            out[at:at] = out[at : at + int(rng.integers(1, 400))]
    return bytes(out)


def make_files(folder: pathlib.Path, count: int, seed: int) -> list[pathlib.Path]:
    """Writes `count` damaged files into a folder; returns their paths."""
    bases = make_bases(folder / "bases")
    (folder / "bad").mkdir(exist_ok=True)
    paths = []
    for i in range(count):
        name = list(bases)[i % len(bases)]
        path = folder / "bad" / f"{i:04d}.{name}"
        path.write_bytes(damaged(bases[name], np.random.default_rng((seed, i))))
        paths.append(path)
    return paths


def read(path: str) -> str:
    """Reads a file; returns what became of it. Runs in a worker."""
    kind = path.rsplit(".", 1)[1]
    if kind in FILMS:
        media.read_video(path)
        clip = media.read_fitted(path, SMALL)
        assert clip.frames.shape == (5, 32, 32, 3) and np.isfinite(clip.frames).all()
        assert clip.samples is None or np.isfinite(clip.samples).all()
    elif kind in SOUNDS:
        samples, _ = media.fit_sound(*media.read_audio(path), 16000)
        assert samples.shape == (16000,) and np.isfinite(samples).all()
    else:
        picture, _ = media.read_image(path, 64)
        assert picture.shape == (64, 64, 3)
    return "read"


def fates(paths: list[pathlib.Path], seconds: int = 60) -> dict[str, list[str]]:
    """Reads files in a worker; returns the files of each fate: read, refused, crashed, wrong."""
    found = collections.defaultdict(list)
    with Worker(seconds) as worker:
        for path in paths:
            try:
                fate, why = worker.call(read, str(path)), ""
            except UserError as error:
                why = str(error)
                fate = "crashed" if "its decoder" in why else "refused"
                if "\n" in why or (fate == "refused" and path.name not in why):
                    fate = "wrong"
            except RuntimeError as error:
                fate, why = "wrong", str(error)
            found[fate].append(f"{path.name}: {why}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()
    began = time.monotonic()
    found = fates(make_files(settings.folder, settings.count, settings.seed))
    for fate, files in sorted(found.items()):
        print(f"{fate}: {len(files)}")
        for line in files if fate in ("crashed", "wrong") else []:
            print(f"  {line}")
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    # The worker imports this file by name.
    sys.modules.setdefault("fuzz_files", sys.modules["__main__"])
    read.__module__ = "fuzz_files"
    sys.exit(main())
