r"""Converts decoded frames to RGB in BT.709, by what the file says about its colours.

Video codes colours as Y'CbCr by one of several matrices, in a limited range (16 to 235 of 255) or
the full one. A file without a matrix is BT.709 if it is HD (wider than 1,279 or higher than 576
pixels) and BT.601 if it is smaller, as players assume.

HDR video holds light of up to 10,000 cd/m2 in BT.2020. PQ codes it in absolute terms (SMPTE
ST 2084). HLG is shown on a display of 1,000 cd/m2 with the system gamma 1.2 (BT.2100). Both are
mapped to SDR as

    x = light / 203 cd/m2, in the primaries of BT.709                                            (1)
    m = max(x_R, x_G, x_B)
    y(m) = m                                      up to the knee k = 0.6                         (2)
    y(m) = k + (1 - k) (1 - exp(-(m - k) / (1 - k)))    above it
    RGB  = (x y(m) / m)^(1 / 2.4)                                                                (3)

203 cd/m2 is diffuse white (BT.2408); the code of white is 0.94, and brighter light has the rest.
The curve (2) is smooth at the knee; as it scales all three components alike, it keeps hue. The code
(3) is the inverse of the display of SDR (BT.1886). SDR video with primaries other than BT.709 is
linearised with the exponent 2.4, converted, and coded with 1 / 2.4.
"""

import dataclasses
import functools
from typing import Any

import av
import numpy as np

GAMMA = 2.4
DIFFUSE_WHITE = 203.0  # cd/m2
KNEE = 0.6
ROWS = 128  # rows converted at a time, so that the float arrays of a 4K frame stay small

# Numbers of ITU-T H.273, in which files state their matrix, transfer curve and primaries.
UNSPECIFIED = (0, 2, 3)
BT709 = 1
PQ, HLG = 16, 18
# curves that are shown by the SDR display as they are
SDR_CURVES = (1, 6, 7, 11, 12, 13, 14, 15)
CURVES = {4: "gamma 2.2", 5: "gamma 2.8", 8: "linear", 9: "logarithmic", 10: "logarithmic"} | {
    17: "SMPTE ST 428"
}
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}  # number in H.273: number in swscale
Point = tuple[float, float]
WHITE_D65, WHITE_C, WHITE_DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
# name, x and y of red, green, blue and white
PRIMARIES: dict[int, tuple[str, Point, Point, Point, Point]] = {
    1: ("BT.709", (0.640, 0.330), (0.300, 0.600), (0.150, 0.060), WHITE_D65),
    4: ("BT.470 M", (0.67, 0.33), (0.21, 0.71), (0.14, 0.08), WHITE_C),
    5: ("BT.601 (625 lines)", (0.64, 0.33), (0.29, 0.60), (0.15, 0.06), WHITE_D65),
    6: ("BT.601 (525 lines)", (0.630, 0.340), (0.310, 0.595), (0.155, 0.070), WHITE_D65),
    7: ("SMPTE 240M", (0.630, 0.340), (0.310, 0.595), (0.155, 0.070), WHITE_D65),
    8: ("film", (0.681, 0.319), (0.243, 0.692), (0.145, 0.049), WHITE_C),
    9: ("BT.2020", (0.708, 0.292), (0.170, 0.797), (0.131, 0.046), WHITE_D65),
    11: ("DCI-P3", (0.680, 0.320), (0.265, 0.690), (0.150, 0.060), WHITE_DCI),
    12: ("Display P3", (0.680, 0.320), (0.265, 0.690), (0.150, 0.060), WHITE_D65),
    22: ("EBU 3213", (0.630, 0.340), (0.295, 0.605), (0.155, 0.077), WHITE_D65),
}


@dataclasses.dataclass(frozen=True)
class Colour:
    """How the colours of a frame are coded, in the numbers of ITU-T H.273.

    Attributes:
        matrix: number of the matrix from RGB to Y'CbCr.
        transfer: number of the curve from light to code.
        primaries: number of the primaries of RGB.
        hd: whether the frame is HD (wider than 1,279 or higher than 576 pixels).
    """

    matrix: int
    transfer: int
    primaries: int
    hd: bool

    def swscale_matrix(self) -> int:
        """Returns ffmpeg's number of the matrix from Y'CbCr to RGB. If the file does not state one
        that is known, it is BT.2020 for HDR, BT.709 for HD, else BT.601.
        """
        if self.matrix in MATRICES:
            return MATRICES[self.matrix]
        if self.transfer in (PQ, HLG):
            return 9
        return 1 if self.hd else 5

    def notes(self, is_rgb: bool) -> list[str]:
        """Returns lines of text on the conversions of colour that are made, and those that are not.

        `is_rgb` is True for a frame that is coded as RGB.
        """
        notes = []
        if self.matrix not in MATRICES and self.matrix not in UNSPECIFIED and not is_rgb:
            notes.append(f"its colour matrix (number {self.matrix} of H.273) is not applied")
        primaries = PRIMARIES.get(self.primaries)
        if self.transfer in (PQ, HLG):
            name = "PQ" if self.transfer == PQ else "HLG"
            gamut = primaries[0] if primaries else "BT.2020"
            notes.append(f"HDR ({name}, {gamut}) tone-mapped to SDR (BT.709)")
            return notes
        if self.transfer not in SDR_CURVES and self.transfer not in UNSPECIFIED:
            curve = CURVES.get(self.transfer, f"number {self.transfer} of H.273")
            notes.append(f"its transfer curve ({curve}) is not applied")
        if primaries and self.primaries != BT709:
            notes.append(f"colours converted from {primaries[0]} to BT.709")
        elif not primaries and self.primaries not in UNSPECIFIED:
            notes.append(f"its primaries (number {self.primaries} of H.273) are not applied")
        return notes


def colour_of(frame: av.VideoFrame, context: Any) -> Colour:
    """Returns how a decoded frame codes its colours. What the frame does not state is taken from
    the codec context of its stream.
    """

    def said(name: str) -> int:
        values = (int(getattr(x, name, 2) or 0) for x in (frame, context))
        return next((v for v in values if v not in UNSPECIFIED), 2)

    hd = frame.width >= 1280 or frame.height > 576
    return Colour(said("colorspace"), said("color_trc"), said("color_primaries"), hd)


def has_alpha(format: av.VideoFormat) -> bool:
    """Returns whether a pixel format has transparency."""
    return any(component.is_alpha for component in format.components)


def to_rgb(frame: av.VideoFrame, width: int, height: int, colour: Colour) -> np.ndarray:
    """Returns a decoded frame as RGB in BT.709, uint8 [height, width, 3]. Transparent parts become
    white.

    `colour`, the result of `colour_of`, says how the frame is coded.
    """
    hdr = colour.transfer in (PQ, HLG)
    convert = hdr or (colour.primaries in PRIMARIES and colour.primaries != BT709)
    alpha = has_alpha(frame.format)
    depth = ("rgba64le" if alpha else "rgb48le") if convert else ("rgba" if alpha else "rgb24")
    reduced = (width, height) != (frame.width, frame.height)
    options: dict[str, Any] = {}
    if not frame.format.is_rgb:
        options["src_colorspace"] = colour.swscale_matrix()
    pixels = frame.reformat(
        width=width,
        height=height,
        format=depth,
        interpolation="AREA" if reduced else "BICUBIC",
        **options,
    ).to_ndarray()
    if not convert and not alpha:
        # A copy: the array of PyAV keeps the decoder's frame alive, 12 MB of 4K video.
        return pixels.copy()
    out = np.empty((height, width, 3), np.uint8)
    for row in range(0, height, ROWS):
        out[row : row + ROWS] = _finish(pixels[row : row + ROWS], colour, convert)
    return out


def _finish(pixels: np.ndarray, colour: Colour, convert: bool) -> np.ndarray:
    """Converts rows of RGB or RGBA, 8 or 16 bits, to uint8 RGB. `convert` is True for colours that
    are not those of SDR in BT.709.
    """
    rgb = pixels[..., :3]
    if convert:
        light = _light(colour.transfer)[rgb]
        if colour.transfer == HLG:
            luminance = light @ np.array((0.2627, 0.6780, 0.0593), np.float32)
            light *= (1000.0 / DIFFUSE_WHITE) * luminance[..., None] ** 0.2
        number = colour.primaries if colour.primaries in PRIMARIES else 9
        light = np.maximum(light @ to_bt709(number).T, 0.0)
        if colour.transfer in (PQ, HLG):
            most = light.max(-1, keepdims=True)
            light *= tone_curve(most) / np.maximum(most, 1e-9)
        rgb = np.clip(light, 0.0, 1.0) ** np.float32(1 / GAMMA) * 255.0
    if pixels.shape[-1] == 4:
        most = 65535.0 if pixels.dtype == np.uint16 else 255.0
        opacity = pixels[..., 3:].astype(np.float32) / most
        rgb = rgb * opacity + 255.0 * (1.0 - opacity)
    return np.round(rgb).astype(np.uint8)


def tone_curve(m: np.ndarray) -> np.ndarray:
    """Compresses the highlights of HDR light to SDR, elementwise: y(m) of equation (2).

    m is light in units of diffuse white, 0 or more; the result is in [0, 1), and equals m up to
    KNEE.
    """
    return np.where(m <= KNEE, m, KNEE + (1 - KNEE) * -np.expm1((KNEE - m) / (1 - KNEE)))


@functools.cache
def _light(transfer: int) -> np.ndarray:
    """Returns the light of each code of 16 bits, float32 [65536].

    The unit is diffuse white for PQ; for HLG the peak of the scene, before the system gamma; for
    SDR the peak of the display.
    """
    code = np.arange(65536) / 65535.0
    if transfer == PQ:
        power = code ** (1 / 78.84375)
        ratio = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        light = 10000.0 / DIFFUSE_WHITE * ratio ** (1 / 0.1593017578125)
    elif transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    else:
        light = code**GAMMA
    return light.astype(np.float32)


@functools.cache
def to_bt709(number: int) -> np.ndarray:
    """Returns the matrix from linear RGB of other primaries to that of BT.709, float32 [3, 3].

    `number` is that of the primaries in ITU-T H.273, a key of PRIMARIES. White stays white.
    """
    return (np.linalg.inv(_to_xyz(BT709)) @ _to_xyz(number)).astype(np.float32)


def _to_xyz(number: int) -> np.ndarray:
    points = PRIMARIES[number][1:]  # red, green, blue, white
    *rgb, white = (np.array((x / y, 1.0, (1 - x - y) / y)) for x, y in points)
    columns = np.stack(rgb, axis=1)
    # Each row is divided by white's, so that white maps to white from every white point.
    return columns * np.linalg.solve(columns, white) / white[:, None]
