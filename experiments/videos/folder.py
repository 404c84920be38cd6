"""Writes a folder of procedural videos: files of many sizes and frame rates, of three shots each,
and their captions.
"""

import csv
import dataclasses
import io
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from experiments.videos import pictures, sounds
from sora_jax import files

SIZES = ((180, 320), (284, 160), (192, 192), (180, 240), (320, 180))  # (height, width)
RATES = (Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(60))
SOUNDS = ((44_100, "stereo"), (48_000, "5.1"), (48_000, "stereo"))
SHOTS = 3
SAYS = {
    "clouds": ("white clouds drift across a blue sky", "a blue sky with drifting clouds"),
    "sand": ("orange sand slides down", "warm dunes of orange sand"),
    "dusk": ("a purple dusk glows over an orange horizon", "purple and orange light at dusk"),
    "moss": ("green moss spreads over dark soil", "a carpet of green moss"),
    "word": ("before it stands the word {word} while a low chord hums",),
    "face": ("before it a yellow face talks",),
    "bar": ("before it a white bar turns to a steady pulse",),
}


@dataclasses.dataclass(frozen=True)
class Film:
    """A video file.

    Attributes:
        name: name of the file without its ending. It begins with the type.
        type: type of the scenes, one of `pictures.TYPES`, such as "clouds-word".
        word: the word that is shown, in scenes that have one.
        held_out: whether the file is in the split val.
        number: index of the file. Size, frame rate, audio format and random seeds follow from it.
        seconds: duration of one shot.
    """

    name: str
    type: str
    word: str
    held_out: bool
    number: int
    seconds: float

    @property
    def captions(self) -> list[str]:
        """The captions of the file, paraphrases of each other."""
        background, subject = self.type.split("-")
        rest = SAYS[subject][0].format(word=self.word.lower())
        return [f"{says}, {rest}" for says in SAYS[background]]


def films(count: int, seconds: float) -> list[Film]:
    """Plans the files of a folder, and returns them.

    A fifth of the files, at least 4, are of the types in `pictures.HELD_OUT`, and all of these are
    held out. Of each other type the second file is held out too.

    Args:
        count: number of files, at least 12.
        seconds: duration of one shot.
    """
    seen = [one for one in pictures.TYPES if one not in pictures.HELD_OUT]
    unseen = max(len(pictures.HELD_OUT), round(count / 5))
    types = [pictures.HELD_OUT[i % 4] for i in range(unseen)]
    types += [seen[i % len(seen)] for i in range(count - unseen)]
    found, numbers = [], dict.fromkeys(pictures.TYPES, 0)
    for i, type in enumerate(types):
        number = numbers[type] = numbers[type] + 1
        held_out = type in pictures.HELD_OUT or (number == 2)
        word = pictures.WORDS[number % len(pictures.WORDS)]
        found.append(Film(f"{type}-{number:02d}", type, word, held_out, i, seconds))
    return found


def write(folder: Path, count: int = 60, seconds: float = 4.4) -> list[Film]:
    """Writes the videos and their captions to a folder, and returns the films.

    A third of the files has captions in a .txt file, a third in a .json file, and a third in
    captions.csv, which also states the split of every file.

    Args:
        folder: the folder, new or empty.
        count: number of videos. Default 60.
        seconds: duration of one shot, of which a video has three. Default 4.4.

    Raises:
        UserError: a file cannot be written.
    """
    planned, text = films(count, seconds), io.StringIO()
    table = csv.writer(text)
    table.writerow(("file", "caption", "split"))
    for film in tqdm(planned, "videos", unit="file"):
        path = folder / f"{film.name}.mp4"
        with files.replacing(path) as temporary:
            _encode(temporary, film)
        kind, captions = film.number % 3, film.captions
        if kind == 0:
            files.write(path.with_suffix(".txt"), "\n".join(captions) + "\n")
        if kind == 1:
            files.write(path.with_suffix(".json"), json.dumps({"captions": captions}))
        in_table = captions[0] if kind == 2 else ""
        table.writerow((path.name, in_table, "val" if film.held_out else "train"))
    files.write(folder / "captions.csv", text.getvalue())
    return planned


def _encode(path: Path, film: Film) -> None:
    n = film.number
    (height, width), fps = SIZES[n % len(SIZES)], RATES[n // 2 % len(RATES)]
    rate, layout = SOUNDS[n % len(SOUNDS)]
    background, subject = film.type.split("-")
    with av.open(str(path), "w", format="mp4") as file:
        options = {"crf": "14", "preset": "veryfast"}
        video = file.add_stream("libx264", rate=fps, options=options)
        video.height, video.width, video.pix_fmt = height, width, "yuv420p"
        audio = file.add_stream("aac", rate=rate, layout=layout)
        heard = []
        for shot in range(SHOTS):
            seed = 1000 * n + 10 * shot
            level = sounds.loudness(subject, film.seconds, seed)
            heard.append(sounds.samples(background, subject, level, rate))
            shown = pictures.Shot(film.type, film.word, seed)
            for i in range(round(film.seconds * fps)):
                time = float(i / fps)
                at = level[min(round(time * sounds.RATE), len(level) - 1)]
                picture = pictures.frame(shown, time, at, height, width)
                image = av.VideoFrame.from_ndarray(
                    np.round(255 * picture).astype(np.uint8), "rgb24"
                )
                file.mux(video.encode(image))
        file.mux(video.encode(None))
        mono = np.concatenate(heard)
        channels = np.tile(mono, ({"stereo": 2, "5.1": 6}[layout], 1))
        if layout == "5.1":
            channels[[3, 4, 5]] = 0.0  # the low-frequency channel and the two behind
        sound = av.AudioFrame.from_ndarray(channels, format="fltp", layout=layout)
        sound.sample_rate = rate
        file.mux(audio.encode(sound))
        file.mux(audio.encode(None))
