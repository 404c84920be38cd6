"""References from a capture: the stills and the voice that show a character to a model.

The stills are crops around the head, framed as `worlds.playhouse.references` frames them. For each
frame the horizontal shift is found that makes it most like the clip's median frame. A turned head
has its face moved to one side, so the shift measures the turn. The still from the front is the
frame nearest to the median, those of the sides have the largest shifts either way, and the blink is
the frame, among those from the front, whose eyes differ most from the median. The voice begins with
the first word.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

from sora_jax.errors import UserError
from sora_jax.modality import SAMPLE_RATE
from sora_jax.mp4 import to_uint8
from sora_jax.oracles.faces import Face
from sora_jax.oracles.heads import STILL
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.voices import utterances
from sora_jax.worlds.playhouse.references import VOICE_SECONDS, WIDTH

SIZE = 64  # side of a still in pixels
SHIFTS = range(-8, 9)  # pixels, shifts that are tried
FRONT = 1  # pixels, largest shift that counts as the front
AROUND = 3  # frames before and after a turned head that do not count as the front
EYES, FACE = slice(26, 38), slice(24, 46)  # rows of a still
MIDDLE = slice(20, 44)  # columns
BEFORE = 0.05  # seconds before the first word, at which the voice begins


def references_of(reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Returns the stills and the voice of the character who speaks in a capture.

    Args:
        reading: the oracles' reading of the capture.

    Returns:
        Stills uint8 [4, SIZE, SIZE, 3], in the order of `references.VIEWS` (front, left, right,
        blink), and samples float32 [S] in [-1, 1] at 16 kHz, VOICE_SECONDS long.

    Raises:
        UserError: there is not one face, or no voice.
    """
    samples = np.zeros(0) if reading.samples is None else reading.samples
    spoken = utterances(samples) if len(samples) else []
    if len(reading.faces) != 1 or not spoken:
        raise UserError(
            f"{len(reading.faces)} faces are seen and {len(spoken)} words are heard in the "
            "capture; show one face, and speak",
            field="capture",
            code="capture",
        )
    heads = head_crops(reading.frames, reading.faces[0])
    first = round(SAMPLE_RATE * max(0.0, spoken[0].start - BEFORE))
    voice = np.zeros(round(VOICE_SECONDS * SAMPLE_RATE), np.float32)
    heard = samples[first : first + len(voice)]
    voice[: len(heard)] = heard
    return to_uint8(heads[list(views(heads))]), voice


def head_crops(frames: np.ndarray, face: Face) -> np.ndarray:
    """Returns the head in each frame, cropped as in a still, float32 [F, SIZE, SIZE, 3] in [0, 1].

    Args:
        frames: square, [F, H, H, 3] in [0, 1].
        face: the place and scale of the face in them.
    """
    side = frames.shape[1]
    wide = side * WIDTH / face.shown
    left, top = side * face.x - STILL.x * wide, side * face.y - STILL.y * wide
    pad = int(np.ceil(max(0.0, -left, -top, left + wide - side, top + wide - side)))
    padded = np.pad(frames, ((0, 0), (pad, pad), (pad, pad), (0, 0)), "edge")
    box = (left + pad, top + pad, left + pad + wide, top + pad + wide)
    scaled = (
        Image.fromarray(frame).resize((SIZE, SIZE), Image.Resampling.BILINEAR, box)
        for frame in to_uint8(padded)
    )
    return np.stack([np.asarray(one, np.float32) / 255 for one in scaled])


def views(heads: np.ndarray) -> tuple[int, int, int, int]:
    """Returns the indices of the frames that show the front, the left, the right and a blink.

    Args:
        heads: [F, SIZE, SIZE, 3] in [0, 1].
    """
    grey = heads.mean(-1)
    middle = np.median(grey, 0)
    faces = grey[:, FACE, MIDDLE]
    columns = np.arange(MIDDLE.start, MIDDLE.stop)
    costs = np.stack(
        [np.abs(faces - middle[FACE][:, columns - shift]).mean((1, 2)) for shift in SHIFTS]
    )
    shifts = np.array(SHIFTS)[costs.argmin(0)]
    near = np.abs(grey - middle)
    turned = np.abs(shifts) > FRONT
    ahead = np.logical_not(ndimage.binary_dilation(turned, iterations=AROUND))
    if not ahead.any():
        ahead[:] = True
    front = int(np.where(ahead, near[:, FACE, MIDDLE].mean((1, 2)), np.inf).argmin())
    eyes = near[:, EYES, MIDDLE].mean((1, 2)) - near[:, EYES.stop :, MIDDLE].mean((1, 2))
    blink = int(np.where(ahead, eyes, -np.inf).argmax())
    return front, int(shifts.argmin()), int(shifts.argmax()), blink
