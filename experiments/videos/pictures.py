"""Frames of twelve types of scenes: a background, and something that moves before it.

Backgrounds are drifting mixtures of a 1 / f texture and a gradient, of a contrast of at least 0.3.
Before them is a word in letters of at least 10/64 of the frame's shorter side, a face whose mouth
follows the audio, or a bar that turns. It lies within the central square of a frame, because a
square clip shows only that.
"""

import dataclasses
import functools
import itertools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# name: (first colour, second colour, share of the gradient, drift in sides of a frame per second)
BACKGROUNDS = {
    "clouds": ((0.30, 0.48, 0.80), (0.88, 0.92, 0.98), 0.3, (0.05, 0.0)),
    "sand": ((0.52, 0.32, 0.14), (0.95, 0.78, 0.48), 0.2, (0.0, 0.05)),
    "dusk": ((0.22, 0.10, 0.38), (0.95, 0.50, 0.30), 0.8, (-0.03, 0.0)),
    "moss": ((0.06, 0.24, 0.10), (0.52, 0.76, 0.34), 0.4, (0.03, 0.03)),
}
SUBJECTS = ("word", "face", "bar")
TYPES = tuple(f"{one}-{other}" for one, other in itertools.product(BACKGROUNDS, SUBJECTS))
# One type of each background. Training therefore shows every background and every subject, but not
# these combinations.
HELD_OUT = ("clouds-word", "sand-face", "dusk-bar", "moss-word")
WORDS = ("WAVE", "NORD", "MOON", "SALT")


@dataclasses.dataclass(frozen=True)
class Shot:
    """One shot of a scene.

    Attributes:
        type: type of the scene, one of TYPES.
        word: the word that is shown, one of WORDS. It is ignored if the type shows no word.
        seed: random seed of the texture and of the subject's path.
    """

    type: str
    word: str
    seed: int


def texture(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a random periodic texture whose amplitudes fall as 1 / f, f waves a frame. It has
    mean 0 and standard deviation 1, [H, W].
    """
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    frequency = np.hypot(rows * height, columns * width)
    noise = np.fft.rfft2(rng.normal(size=(height, width)))
    # Waves shorter than 1/20 of a frame are damped, because clips of 64 pixels hardly show them.
    spectrum = noise / np.maximum(frequency, 1.0) * np.exp(-((frequency / 20) ** 2))
    spectrum[0, 0] = 0.0
    found = np.fft.irfft2(spectrum, (height, width))
    return found / found.std()


@functools.lru_cache(maxsize=4)
def background(shot: Shot, height: int, width: int) -> np.ndarray:
    """Returns the background of a shot before it drifts: for each pixel, the share of the second
    colour of BACKGROUNDS, [H, W] in [0, 1]; the rest is the first colour.
    """
    name, rng = shot.type.split("-")[0], np.random.default_rng(shot.seed)
    share = BACKGROUNDS[name][2]
    waves = np.sin(2 * np.pi * (np.arange(height)[:, None] / height + rng.random()))
    mixed = 0.5 + 0.4 * share * waves + 0.17 * (1 - share / 2) * texture(height, width, rng)
    return np.clip(mixed, 0.0, 1.0).astype(np.float32)


def frame(shot: Shot, time: float, level: float, height: int, width: int) -> np.ndarray:
    """Returns one frame of a shot, float32 [H, W, 3] in [0, 1].

    Args:
        shot: the shot.
        time: seconds since the start of the shot.
        level: loudness of the audio at that time, 0 to 1, which opens the mouth of a face.
        height, width: sides of the frame in pixels.
    """
    name, subject = shot.type.split("-")
    first, second, _, (across, down) = BACKGROUNDS[name]
    side, rng = min(height, width), np.random.default_rng(shot.seed + 1)
    shift = round(down * time * side), round(across * time * side)
    mixed = np.roll(background(shot, height, width), shift, (0, 1))[..., None]
    colours = np.array((first, second), np.float32)
    picture = (1 - mixed) * colours[0] + mixed * colours[1]
    canvas = Image.fromarray(np.round(255 * picture).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    phase, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.1)
    x = width / 2 + reach * side * np.sin(1.3 * time + phase)
    y = height / 2 + reach * side * np.cos(0.9 * time + phase)
    {"word": _word, "face": _face, "bar": _bar}[subject](
        draw, x, y, side, time + phase, level, shot.word
    )
    return np.asarray(canvas, np.float32) / 255.0


def _word(draw, x, y, side, time, level, word) -> None:
    font = ImageFont.load_default(size=side * 0.23)  # capitals of 0.16 of the side, 10 of 64 pixels
    box = draw.textbbox((x, y), word, font=font, anchor="mm")
    pad = side * 0.04
    outer = (box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad)
    draw.rectangle(outer, fill=(245, 245, 235))
    draw.text((x, y), word, font=font, anchor="mm", fill=(20, 20, 30))


def _face(draw, x, y, side, time, level, word) -> None:
    radius = 0.27 * side
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(240, 205, 90))
    for eye in (-0.4, 0.4):
        a, b, r = x + eye * radius, y - 0.3 * radius, 0.14 * radius
        draw.ellipse((a - r, b - r, a + r, b + r), fill=(30, 25, 20))
    open_ = radius * (0.06 + 0.34 * level)
    a, b = x, y + 0.4 * radius
    draw.ellipse((a - 0.4 * radius, b - open_, a + 0.4 * radius, b + open_), fill=(150, 30, 30))


def _bar(draw, x, y, side, time, level, word) -> None:
    angle, reach, half = 1.1 * time, 0.36 * side, 0.07 * side
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]]) * half
    ends = [along * reach, -along * reach]
    corners = [ends[0] + across, ends[0] - across, ends[1] - across, ends[1] + across]
    draw.polygon([(x + a, y + b) for a, b in corners], fill=(250, 250, 250), outline=(20, 20, 20))
