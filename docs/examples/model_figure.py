"""Draws one pair of blocks of the model, with its two streams.

python docs/examples/model_figure.py docs/model.png
"""

import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

VIDEO, AUDIO, TEXT, PLAIN = "#cfe0f5", "#d8ecd0", "#f6e3c5", "#eeeeee"
# Height of the centre of each lane.
VIDEO_LANE, AUDIO_LANE, TEXT_LANE = 5.3, 2.7, 0.6
DASHES = (0, (3, 2))


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str, fill: str) -> None:
    """Draws a box with text in its middle. x and y are its centre."""
    corner = x - width / 2, y - height / 2
    style = "round,pad=0.02,rounding_size=0.08"
    patch = FancyBboxPatch(corner, width, height, style, facecolor=fill, edgecolor="#444444")
    axes.add_patch(patch)
    axes.text(x, y, text, ha="center", va="center", fontsize=8)


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str = "#444444",
    dashed: bool = False,
) -> None:
    """Draws an arrow from one point to another."""
    line = DASHES if dashed else "-"
    look = {"arrowstyle": "-|>", "color": colour, "linestyle": line, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=look)


def draw(axes: Axes) -> None:
    """Draws the lanes, the blocks and the arrows between them."""
    pair = FancyBboxPatch((2.35, 1.75), 8.5, 4.75, "round,pad=0.02", fill=False, linestyle=DASHES)
    axes.add_patch(pair)
    axes.text(6.6, 6.62, "one pair, repeated as often as the depth says", ha="center", fontsize=9)

    box(axes, 1.0, VIDEO_LANE, 1.7, 1.1, "noisy video\n[T, H, W, C]\nlevel of each latent", VIDEO)
    box(axes, 1.0, AUDIO_LANE, 1.7, 1.1, "noisy audio\n[N, Ca]\nlevel of each latent", AUDIO)
    spatial = "spatial block (1)\nattention in a frame\nwords\nMLP"
    box(axes, 3.45, VIDEO_LANE, 1.85, 1.4, spatial, VIDEO)
    box(axes, 3.45, AUDIO_LANE, 1.85, 1.4, "audio block (2)\nattention\nwords", AUDIO)
    to_video, to_audio = (
        "every site reads\nthe audio",
        "the audio reads\nP pooled tokens\nof a frame",
    )
    exchange = f"exchange (3)\n\n{to_video}\n\n{to_audio}"
    box(axes, 5.75, (VIDEO_LANE + AUDIO_LANE) / 2, 1.65, 4.0, exchange, PLAIN)
    memory = "memory (3'), optional\nevery site reads the\npooled tokens of\nall frames"
    box(axes, 7.75, VIDEO_LANE, 1.5, 1.4, memory, VIDEO)
    temporal = "temporal block (4)\nattention in time\nMLP"
    box(axes, 9.75, VIDEO_LANE, 1.8, 1.4, temporal, VIDEO)
    box(axes, 9.75, AUDIO_LANE, 1.8, 1.4, "audio block (5)\nMLP", AUDIO)
    box(axes, 12.0, VIDEO_LANE, 1.5, 1.1, "clean video\nestimate", VIDEO)
    box(axes, 12.0, AUDIO_LANE, 1.5, 1.1, "clean audio\nestimate", AUDIO)

    for lane, stops in (
        (VIDEO_LANE, (1.87, 2.5, 4.4, 4.9, 6.6, 6.98, 8.52, 8.83, 10.67, 11.22)),
        (AUDIO_LANE, (1.87, 2.5, 4.4, 4.9, 6.6, 8.83, 10.67, 11.22)),
    ):
        for start, end in zip(stops[::2], stops[1::2], strict=True):
            arrow(axes, (start, lane), (end, lane))

    box(axes, 1.0, TEXT_LANE, 1.7, 0.8, "prompt,\nreferences", TEXT)
    box(axes, 3.45, TEXT_LANE, 1.85, 0.8, "text encoder", TEXT)
    arrow(axes, (1.87, TEXT_LANE), (2.5, TEXT_LANE))
    arrow(axes, (3.1, 1.02), (3.1, 1.98), "#b07020")
    axes.plot([2.75, 2.75, 2.13, 2.13], [1.02, 1.45, 1.45, 4.9], color="#b07020", linewidth=1)
    arrow(axes, (2.13, 4.9), (2.5, 4.9), "#b07020")
    axes.text(3.2, 1.35, "words, tokens of references", fontsize=8, color="#b07020")
    levels = "modulation: level of the latent and pooled prompt\n-> shift, scale, gate"
    box(axes, 8.0, TEXT_LANE, 4.6, 0.8, levels, TEXT)
    arrow(axes, (4.4, TEXT_LANE), (5.68, TEXT_LANE), "#b07020")
    arrow(axes, (8.0, 1.02), (8.0, 1.72), "#b07020", dashed=True)
    axes.text(8.1, 1.3, "around attention and MLP of every block", fontsize=8, color="#b07020")


def main(path: str) -> None:
    """Draws the figure and writes it to `path`."""
    figure, axes = plt.subplots(figsize=(11, 6), dpi=110)
    axes.set(xlim=(0, 12.9), ylim=(0, 7))
    axes.axis("off")
    draw(axes)
    figure.tight_layout(pad=0.2)
    figure.savefig(path)


if __name__ == "__main__":
    main(sys.argv[1])
