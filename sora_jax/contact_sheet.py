"""Draws a clip as one image: frames above the waveform and spectrogram, with detected impacts
marked.

A sheet reads like text. Each line holds up to FRAMES_ON_A_LINE frames, with their audio below
them on the same time axis in seconds. A sheet has at most MAX_LINES lines, or one for every
LINE_SECONDS of the clip if those are more. Where that is too few for all frames, only every third,
fifth, ... frame is shown. The audio is always complete.
"""

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sora_jax import mel
from sora_jax.clip import Clip
from sora_jax.files import replacing
from sora_jax.modality import SAMPLE_RATE
from sora_jax.mp4 import to_uint8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRAMES_ON_A_LINE, MAX_LINES = 18, 4
# Longest duration of a line of a long clip: impacts 0.1 s apart can still be told apart.
LINE_SECONDS = 30
LINE_INCHES, MARGINS = 16.0, (0.7, 0.2)  # width of the frames; left and right margin in inches
# Impacts heard in the audio and seen in the video -> colour, line style, marker and height of the
# marker in [0, 1] of its axes, in drawing order. They stay distinguishable for colour-blind
# readers, and where two marks coincide.
MARKS = {"heard": ("#f57c00", "solid", "v", 0.25), "seen": ("#1a9fd9", (0, (3, 3)), "^", 0.75)}
GREY = "#444444"
# Inches: title above the first line; time axis below each line; frame times above each line.
HEAD, FOOT, OVER = 0.35, 0.4, 0.2
HOP = 128  # samples per column of the spectrogram


def log_mel(
    samples: np.ndarray,
    sample_rate: int = SAMPLE_RATE,
    bands: int = 64,
    window: int = 512,
    hop: int = HOP,
) -> np.ndarray:
    """Returns the log-mel spectrogram of audio for display.

    Args:
        samples: mono audio, [S].
        sample_rate: samples per second. Default 16,000.
        bands: number of mel bands. Default 64.
        window: length of the Hann window in samples. Default 512.
        hop: samples per column. Default HOP.

    Returns:
        dB below the loudest bin, [bands, columns]. Column k is centred on sample k * hop.
    """
    samples = np.asarray(samples, np.float64).reshape(-1)
    padded = np.pad(samples, window // 2)
    blocks = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(blocks, axis=1)) ** 2
    hertz = np.fft.rfftfreq(window, 1 / sample_rate)
    triangles = mel.bands(hertz, 0.0, sample_rate / 2, bands, narrowest=sample_rate / window)
    levels = power @ (triangles / np.maximum(triangles.sum(1, keepdims=True), 1e-12)).T
    return 10 * np.log10(np.maximum(levels.T, 1e-12) / max(levels.max(), 1e-12))


def contact_sheet(
    path: str | os.PathLike,
    clip: Clip,
    title: str = "",
    seen: Sequence[float] | None = None,
    heard: Sequence[float] | None = None,
    cuts: Sequence[float] = (),
) -> None:
    """Draws a clip and writes the sheet as a png file.

    Each frame is placed at its midpoint (i + 1/2) / fps, and its time in seconds is printed above
    it.

    Args:
        path: the png file, written atomically.
        clip: the clip. The waveform is scaled to its loudest sample, and its axis is in dBFS (dB
            below full scale). Without samples the sheet shows frames only.
        title: heading of the sheet. Default "": none.
        seen, heard: times in seconds of the impacts detected in the video and in the audio, marked
            on the time axis. Default None: no detection was run.
        cuts: times in seconds at which a new shot starts, each drawn as a vertical line. Default
            (): one shot.

    Raises:
        UserError: the file cannot be written.
    """
    # matplotlib is slow to import, and most callers draw nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    frames, samples, fps, sample_rate = (
        to_uint8(clip.frames),
        clip.samples,
        float(clip.fps),
        clip.rate,
    )
    count, height, width = frames.shape[:3]
    most = max(MAX_LINES, math.ceil(count / fps / LINE_SECONDS))
    lines = min(most, math.ceil(count / FRAMES_ON_A_LINE))
    on_a_line = math.ceil(count / lines)
    stride = math.ceil(on_a_line / FRAMES_ON_A_LINE)
    # Odd, so that the frame shown is the middle one of those it represents.
    stride += 1 - stride % 2
    marks = {name: times for name, times in (("heard", heard), ("seen", seen)) if times is not None}
    sound = None if samples is None else np.nan_to_num(np.asarray(samples, np.float32).reshape(-1))

    rows = [LINE_INCHES * stride / on_a_line * height / width]
    if marks:
        rows.append(0.18)
    if sound is not None:
        rows += [0.75, 1.25] if lines == 1 else [0.6, 0.8]
    each = OVER + sum(rows) + FOOT
    sheet = Figure(figsize=(sum(MARGINS) + LINE_INCHES, HEAD + lines * each), facecolor="white")
    canvas = FigureCanvasAgg(sheet)
    _draw_head(sheet, title, marks)
    levels = None if sound is None else log_mel(sound, sample_rate)
    for line in range(lines):
        first, end = line * on_a_line, (line + 1) * on_a_line
        axes = _axes(sheet, rows, HEAD + line * each + OVER, (first / fps, end / fps))
        own = {
            name: [time for time in times if first <= time * fps <= end]
            for name, times in marks.items()
        }
        shown = range(first + (stride - 1) // 2, min(count, end), stride)
        _draw_frames(axes[0], frames, shown, stride, fps)
        if marks:
            _draw_symbols(axes[1], own)
        if sound is not None and levels is not None:
            _draw_waveform(axes[-2], sound, sample_rate)
            _draw_spectrogram(axes[-1], levels, sample_rate)
            _draw_marks(axes[-2:], own)
        _draw_cuts(axes, cuts)
        seconds = [t for t in axes[-1].get_xticks() if first <= t * fps <= min(count, end)]
        axes[-1].set_xticks(seconds)  # none past the end of the clip
        axes[-1].set_xlabel("seconds", color=GREY, fontsize=9, labelpad=1)

    with replacing(path) as temporary:
        canvas.print_figure(str(temporary), dpi=110, format="png")


def _draw_head(sheet: "Figure", title: str, marks: Mapping[str, Sequence[float]]) -> None:
    """Draws the title, and a legend with the number of marks: {"heard" or "seen": times in s}."""
    # matplotlib is slow to import, and most callers draw nothing.
    from matplotlib.lines import Line2D

    high, wide = sheet.get_figheight(), sheet.get_figwidth()
    place = MARGINS[0] / wide, 1 - 0.1 / high
    sheet.text(*place, title, ha="left", va="top", fontsize=12, color="#222222")
    keys = []
    for name, times in marks.items():
        color, style, symbol, _ = MARKS[name]
        label = f"impacts {name}: {len(times)}"
        keys.append(Line2D([], [], color=color, linestyle=style, marker=symbol, label=label))
    if keys:
        sheet.legend(
            handles=keys,
            loc="upper right",
            bbox_to_anchor=(1 - MARGINS[1] / wide, 1 - 0.02 / high),
            ncols=2,
            frameon=False,
            fontsize=9,
            borderpad=0,
        )


def _axes(
    sheet: "Figure", rows: Sequence[float], top: float, seconds: tuple[float, float]
) -> list["Axes"]:
    """Adds the axes of one line of the sheet, stacked on one time axis; only the last shows its
    ticks.

    Args:
        sheet: the figure.
        rows: heights of the axes in inches.
        top: inches from the sheet's upper edge to the first axes.
        seconds: start and end of the time axis.

    Returns:
        The axes, from the uppermost to the lowest.
    """
    high, wide = sheet.get_figheight(), sheet.get_figwidth()
    axes, bottom = [], high - top
    for inches in rows:
        bottom -= inches
        place = MARGINS[0] / wide, (bottom + 0.02) / high
        size = LINE_INCHES / wide, (inches - 0.04) / high
        axes.append(sheet.add_axes((*place, *size), xlim=seconds))
    for axis in axes:
        last = axis is axes[-1]
        axis.spines[:].set_visible(False)
        axis.tick_params(colors=GREY, length=2, labelsize=8, bottom=last, labelbottom=last)
    return axes


def _draw_marks(axes: Sequence["Axes"], marks: Mapping[str, Sequence[float]]) -> None:
    for name, times in marks.items():
        color, style = MARKS[name][:2]
        for axis, time in itertools.product(axes, times):
            axis.axvline(time, color=color, linewidth=1.0, linestyle=style)


def _draw_cuts(axes: Sequence["Axes"], cuts: Sequence[float]) -> None:
    for axis, time in itertools.product(axes, cuts):
        axis.axvline(time, color="#c2185b", linewidth=2.0)


def _draw_frames(
    axis: "Axes", frames: np.ndarray, shown: Sequence[int], stride: int, fps: float
) -> None:
    height, width = frames.shape[1:3]
    scale = max(1, round(240 / height))
    half = 0.485 * stride / fps  # half the width in seconds; 0.485 leaves a gap between frames
    limits = axis.get_xlim()
    for i in shown:
        picture = Image.fromarray(frames[i])
        if scale > 1:
            picture = picture.resize((width * scale, height * scale), Image.Resampling.LANCZOS)
        middle = (i + 0.5) / fps
        axis.imshow(
            np.asarray(picture),
            extent=(middle - half, middle + half, 0, 1),
            aspect="auto",
            interpolation="antialiased",
        )
        axis.text(middle, 1.03, f"{middle:.2f}", ha="center", va="bottom", fontsize=8, color=GREY)
    axis.set(xlim=limits, ylim=(0, 1), yticks=[])


def _draw_symbols(axis: "Axes", marks: Mapping[str, Sequence[float]]) -> None:
    for name, times in marks.items():
        colour, _, symbol, at = MARKS[name]
        axis.plot(times, [at] * len(times), symbol, color=colour, markersize=5)
    axis.set(ylim=(0, 1), yticks=[])


def _draw_waveform(axis: "Axes", samples: np.ndarray, sample_rate: int) -> None:
    """Draws the waveform of samples [S], with ticks at zero and at the largest multiple of 6 dBFS
    that it reaches.
    """
    low, high = axis.get_xlim()
    loudest = max(float(np.abs(samples).max(initial=0.0)), 1e-3)
    first, end = max(0, int(low * sample_rate)), math.ceil(high * sample_rate)
    axis.plot(
        np.arange(len(samples))[first:end] / sample_rate,
        samples[first:end],
        color="#30404f",
        linewidth=0.5,
    )
    decibels = 6 * math.floor(20 * math.log10(loudest) / 6 + 1e-6)
    tick = 10 ** (decibels / 20)
    axis.set(ylim=(-1.08 * loudest, 1.08 * loudest))
    axis.set_yticks([-tick, 0, tick], [f"{decibels}", "-∞", f"{decibels}"])
    axis.set_ylabel("dBFS", color=GREY, fontsize=9)


def _draw_spectrogram(axis: "Axes", levels: np.ndarray, sample_rate: int) -> None:
    bands, columns = levels.shape
    limits = axis.get_xlim()
    extent = (-HOP / 2 / sample_rate, (columns - 0.5) * HOP / sample_rate, 0, bands)
    axis.imshow(
        levels,
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="gray_r",
        vmin=-70,
        vmax=0,
        interpolation="nearest",
    )
    ticks = [hertz for hertz in (250, 1000, 2000, 4000, 7000) if hertz < sample_rate / 2]
    axis.set_yticks(
        [mel.to_mel(hertz) / mel.to_mel(sample_rate / 2) * bands for hertz in ticks],
        [f"{hertz / 1000:g}" for hertz in ticks],
    )
    axis.set(xlim=limits, ylim=(0, bands))
    axis.set_ylabel("kHz", color=GREY, fontsize=9)
