r"""A model of sora_jax in PyTorch: one file, which needs torch, numpy and safetensors, and no JAX.

    python sora_torch.py --prompt="a large red ball is dropped and bounces twice" --seed=1
    python sora_torch.py --prompt="..." --device=cuda --steps=50 --output=clip.npz

`experiments.export` of sora_jax writes a folder with this file, weights.safetensors, config.json
and names.json. From Python:

    sora = Sora.load(FOLDER)
    frames, samples = sora.generate("a large red ball is dropped and bounces twice", seed=1)
    latents = sora.video_tokenizer.encode(frames[None])        # [B, T, h, w, C]

Modules, parameters and equations are those of sora_jax, in float32. A parameter here is named like
its original; names.json has the array of sora_jax that it comes from, and the order of its axes.
Noise is drawn as JAX draws it, so a seed gives the same clip in both.

    sections of this file: Noise . Layers . Text . STDiT . Video tokenizer . Audio tokenizer .
    Sampler . Sora

Letters of shapes:

    B batch . T video latents . N audio latents . H W rows and columns of a latent . C channels
    S sites: tokens of a frame . D width . h heads . d width of a head . L words of a prompt
"""

import argparse
import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

try:
    import av  # only to write mp4
except ImportError:
    av = None

SAMPLE_RATE = 16_000  # audio samples per second
SAMPLES_PER_LATENT = 640  # of audio: 25 latents per second
PIXELS_PER_LATENT = 8
SECONDS = (0.05, 20.0)  # shortest and longest time constant of rotary positions, in seconds
TOKENS = (1.0, 100.0)  # smallest and largest constant of rotary positions in space, in tokens
PLACE_FEATURES, LEVEL_FEATURES = 16, 128  # Fourier features of a coordinate, of a noise level
INDEX_SECONDS = {"video": 0.5, "audio": 1 / 25}  # from one latent to the next on clock "index"
EPSILON = 1e-6  # added to the mean square in a norm


# Noise: the counter-based generator of JAX (Threefry 2x32), so that seeds mean the same in both.


def threefry(key: np.ndarray, high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encrypts counters by Threefry 2x32 (Salmon et al. 2011).

    uint32 key [2], high and low words of n counters, uint32 [n] each -> two words, uint32 [n] each.
    """
    keys = [key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA)]
    x, y = high + keys[0], low + keys[1]
    for i in range(5):
        for r in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
            x = x + y
            y = x ^ ((y << np.uint32(r)) | (y >> np.uint32(32 - r)))
        x = x + keys[(i + 1) % 3]
        y = y + keys[(i + 2) % 3] + np.uint32(i + 1)
    return x, y


def bits_of(key: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns two words of random bits, uint32 [count] each, for the counters 0 .. count - 1."""
    counter = np.arange(count, dtype=np.uint64)
    high, low = (counter >> np.uint64(32)), counter & np.uint64(0xFFFFFFFF)
    return threefry(key, high.astype(np.uint32), low.astype(np.uint32))


def key_of(seed: int) -> np.ndarray:
    """Returns the key of a seed, uint32 [2]: `jax.random.key`."""
    return np.array([0, seed & 0xFFFFFFFF], np.uint32)


def split(key: np.ndarray, count: int) -> np.ndarray:
    """Returns `count` new keys, uint32 [count, 2]: `jax.random.split`."""
    return np.stack(bits_of(key, count), 1)


def uniform(key: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Returns uniform numbers in [0, 1), float32 of that shape: `jax.random.uniform`."""
    x, y = bits_of(key, math.prod(shape))
    mantissa = ((x ^ y) >> np.uint32(9)) | np.uint32(0x3F800000)
    return (mantissa.view(np.float32) - np.float32(1)).reshape(shape)


def normal(key: np.ndarray, shape: Sequence[int]) -> Tensor:
    """Returns standard normal numbers, float32 of that shape: `jax.random.normal`, to 1e-6."""
    low = np.nextafter(np.float32(-1), np.float32(0))
    u = np.maximum(low, uniform(key, shape) * (np.float32(1) - low) + low)
    return torch.from_numpy(u).erfinv() * math.sqrt(2)


# Layers


def rms(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Root-mean-square normalisation of the last axis, times `scale` [D] if given."""
    y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON)
    return y if scale is None else y * scale


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Returns (1 + scale) * rms(x) + shift; shift and scale broadcast against x [..., D]."""
    return rms(x) * (1 + scale) + shift


def gelu(x: Tensor) -> Tensor:
    """The tanh approximation of GELU."""
    return F.gelu(x, approximate="tanh")


def linear(features_in: int, features_out: int, bias: bool = False) -> nn.Linear:
    """Returns a linear layer, without bias by default."""
    return nn.Linear(features_in, features_out, bias=bias)


def fourier(x: Tensor, low: float, high: float, count: int) -> Tensor:
    """Cosines and sines of w x for `count` / 2 angular frequencies w, geometrically spaced from low
    to high: x [...] -> [..., count].
    """
    w = torch.tensor(np.geomspace(low, high, count // 2), dtype=torch.float32, device=x.device)
    phase = x[..., None] * w
    return torch.cat([phase.cos(), phase.sin()], -1)


def angles(positions: Tensor, planes: int, constants: tuple[float, float]) -> Tensor:
    """Rotary angles p / tau of positions p: [...] -> [..., planes].

    The constants tau are geometrically spaced between the two `constants`, one for each plane.
    """
    tau = np.geomspace(*constants, planes) if planes > 1 else np.array(constants[:planes])
    rates = torch.tensor(1.0 / tau, dtype=torch.float32, device=positions.device)
    return positions.float()[..., None] * rates


def grid_angles(times: Tensor, rows: int, columns: int, planes: int, axes: str) -> Tensor:
    """Rotary angles of the tokens of a video, [T, rows * columns, planes].

    `times` are midpoints of latents in seconds, [T]. `axes` are those whose positions rotate the
    planes: "t" (time), "yx" (row and column) or "tyx".
    """
    third = planes // 3
    t, y, x = {
        "t": (planes, 0, 0),
        "yx": (0, planes - planes // 2, planes // 2),
        "tyx": (planes - 2 * third, third, third),
    }[axes]
    shape, device = (len(times), rows, columns), times.device
    parts = (
        angles(times, t, SECONDS)[:, None, None],
        angles(torch.arange(rows, device=device), y, TOKENS)[None, :, None],
        angles(torch.arange(columns, device=device), x, TOKENS)[None, None],
    )
    phi = torch.cat([part.expand(*shape, part.shape[-1]) for part in parts], -1)
    return phi.reshape(len(times), rows * columns, planes)


def rotate(x: Tensor, phi: Tensor) -> Tensor:
    """Rotates the planes (i, i + d/2) of x [..., L, h, d] by phi [..., L, d/2]."""
    cos, sin = phi.cos()[..., None, :], phi.sin()[..., None, :]
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """Multi-head attention: queries [..., L, h, d], keys and values [..., M, h, d] -> [..., L, h,
    d]. `visible` [..., L or 1, M] is True for the keys that a query reads; None: all.
    """
    q, k, v = (x.transpose(-3, -2) for x in (q, k, v))
    mask = None if visible is None else visible[..., None, :, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(-3, -2)


class MLP(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, width: int, ratio: float):
        super().__init__()
        self.up = linear(width, round(width * ratio), bias=True)
        self.down = linear(round(width * ratio), width, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(gelu(self.up(x)))


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys, and its four linear layers.

    Args:
        width: features of the stream that attends, D.
        heads: number of heads.
        source: features of the stream that it attends to, Ds. Default 0: `width`.
        inner: features of all heads together. Default 0: `width`.
    """

    def __init__(self, width: int, heads: int, source: int = 0, inner: int = 0):
        super().__init__()
        source, inner = source or width, inner or width
        self.heads = heads
        self.q, self.k, self.v = linear(width, inner), linear(source, inner), linear(source, inner)
        self.out = linear(inner, width)
        self.q_scale = nn.Parameter(torch.ones(inner // heads))
        self.k_scale = nn.Parameter(torch.ones(inner // heads))

    def forward(
        self,
        x: Tensor,
        source: Tensor,
        phi: tuple[Tensor, Tensor] | None = None,
        over: Callable[..., Tensor] = attend,
        visible: Tensor | None = None,
    ) -> Tensor:
        """Attends from x [..., L, D] to source [..., M, Ds]: -> [..., L, D].

        `phi` are the rotary angles of x and of source (None: no rotation), `over` the function of
        attention, `visible` [..., M] or [..., L, M] True for the tokens that are read (None: all).
        """
        q, k, v = (
            project(y).unflatten(-1, (self.heads, -1))
            for project, y in ((self.q, x), (self.k, source), (self.v, source))
        )
        q, k = rms(q, self.q_scale), rms(k, self.k_scale)
        if phi is not None:
            q, k = rotate(q, phi[0]), rotate(k, phi[1])
        if visible is not None and visible.ndim == 2:
            visible = visible[:, None]
        found = over(q, k, v) if visible is None else over(q, k, v, visible)
        return self.out(found.flatten(-2))


# Attention patterns: functions of queries, keys and values of a video, each [B, T, S, h, d], to the
# result of attention, [B, T, S, h, d]. They differ in which tokens attend to each other.


def over_time(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention along time at a site."""
    return attend(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)


def over_all(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention over all tokens."""
    return attend(*(x.flatten(1, 2) for x in (q, k, v))).unflatten(1, q.shape[1:3])


def over_frames(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention from frame to frame, with one weight for all sites."""
    q = q * (q.shape[2] * q.shape[-1]) ** -0.5
    weights = torch.einsum("btshd,bushd->bhtu", q, k).softmax(-1)
    return torch.einsum("bhtu,bushd->btshd", weights, v)


def over_windows(
    q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, ...], window: Sequence[int], shifted: bool
) -> Tensor:
    """Attention within 3-D windows of a grid of tokens.

    `grid` is (T, rows, columns), `window` has the sides of a window in tokens (0: the whole axis),
    and `shifted=True` moves the windows by half a window.
    """
    sides = [min(w or g, g) for g, w in zip(grid, window, strict=True)]
    shifts = [side // 2 * (shifted and side < g) for g, side in zip(grid, sides, strict=True)]
    position = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 3)
    cell, inside = np.divmod(position + shifts, sides)
    counts = cell.max(0) + 1
    windows, size = int(np.prod(counts)), int(np.prod(sides))
    slot = np.ravel_multi_index(cell.T, counts) * size + np.ravel_multi_index(inside.T, sides)
    gather = np.full(windows * size, -1)
    gather[slot] = np.arange(len(position))
    index = torch.from_numpy(gather).to(q.device)
    q, k, v = (
        x.flatten(1, 2)[:, index.clamp(min=0)].unflatten(1, (windows, size)) for x in (q, k, v)
    )
    out = attend(q, k, v, (index >= 0).reshape(1, windows, 1, size)).flatten(1, 2)
    return out[:, torch.from_numpy(slot).to(q.device)].unflatten(1, (grid[0], -1))


def patterns(
    c: Mapping[str, Any], grid: tuple[int, ...], depth: int
) -> tuple[tuple[str, Callable[..., Tensor]], ...]:
    """Returns (axes whose positions rotate, function of attention) of the spatial and of the
    temporal block.

    Args:
        c: the configuration of the model.
        grid: (T, rows, columns) in tokens.
        depth: index of the pair of blocks, from 0.
    """

    def windows(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return over_windows(q, k, v, grid, c["window"], depth % 2 == 1)

    in_frame, in_time = ("yx", attend), ("t", over_time)
    every = in_time if (depth + 1) % c["time_every"] == 0 else in_frame
    return {
        "pure": (in_frame, in_time),
        "window": (in_frame, ("tyx", windows)),
        "full": (("tyx", over_all),) * 2,
        "matrix": (in_frame, ("t", over_frames)),
        "interleaved": (in_frame, every),
    }[c["attention"]]


# Text

WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")
CARD = re.compile(r"\[\s*shot\s+\d+", re.I)
CUT = re.compile(r"\b(?:at first|to begin|in the next shot|first|cut to|next|after a cut)\b", re.I)


def fnv1a(text: str) -> int:
    """The 32-bit FNV-1a hash of a text."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def tokenize(
    text: str, words: Sequence[str], vocabulary: int, length: int
) -> tuple[dict[str, Tensor], list[str]]:
    """Returns the arrays of a prompt, and its words that the model does not know.

    Args:
        text: the prompt. If it describes several shots, as cards ("[shot 1 ...]") or as prose
            ("cut to ..."), each word belongs to one of them.
        words: the known words: ids 1 to len(words). Others are hashed into the ids above.
        vocabulary: number of ids.
        length: words of a padded prompt.

    Returns:
        {"tokens": int [1, L], "mask": bool [1, L], False for padding, "shots": int [1, L], the shot
        of each word from 1, 0 for all shots}; and the unknown words, each once.
    """
    known = {word: i for i, word in enumerate(words, 1)}
    buckets = vocabulary - 1 - len(known)
    starts = [m.start() for m in (CARD if text.strip().startswith("[") else CUT).finditer(text)]
    tokens, shots = torch.zeros(2, 1, length, dtype=torch.long).unbind()
    unknown = []
    for i, match in enumerate(WORD.finditer(text.lower())):
        word = match[0]
        if word not in known and word[0].isalnum():
            unknown.append(word)
        if i < length:
            tokens[0, i] = known.get(word) or 1 + len(known) + fnv1a(word) % buckets
            shots[0, i] = sum(start <= match.start() for start in starts)
    return {"tokens": tokens, "mask": tokens > 0, "shots": shots}, list(dict.fromkeys(unknown))


class TextBlock(nn.Module):
    """A block of the text encoder: self-attention, then MLP."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention, self.mlp = Attention(width, heads), MLP(width, 2.0)

    def forward(self, x: Tensor, visible: Tensor, phi: Tensor) -> Tensor:
        y = rms(x)
        x = x + self.attention(y, y, (phi, phi), visible=visible)
        return x + self.mlp(rms(x))


class Norm(nn.Module):
    """RMS normalisation with a learned gain."""

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms(x, self.scale)


class TextEncoder(nn.Module):
    """Ids of words [B, L], or features of T5 [B, L, features], and mask bool [B, L] -> features
    [B, L + 1, Dt] and mask bool [B, L + 1]. Feature 0 is the pooled prompt.
    """

    def __init__(self, c: Mapping[str, Any]):
        super().__init__()
        width, self.heads = c["text_width"], c["text_heads"]
        features = c["text_features"]  # of T5, or 0: ids of words
        self.embedding = (
            linear(features, width, bias=True) if features else nn.Embedding(c["vocabulary"], width)
        )
        self.register = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(TextBlock(width, self.heads) for _ in range(c["text_layers"]))
        self.norm = Norm(width)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        words = self.embedding(tokens)
        x = torch.cat([self.register.expand(len(words), 1, -1), words], 1)
        visible = torch.cat([mask.new_ones(len(mask), 1), mask], 1)
        positions = torch.arange(x.shape[1], device=x.device)
        phi = angles(positions, x.shape[-1] // self.heads // 2, TOKENS)
        for block in self.blocks:
            x = block(x, visible, phi)
        return self.norm(x), visible


# STDiT: the diffusion transformer


def patches(z: Tensor, p: int) -> Tensor:
    """Groups p x p sites of latents [B, T, H, W, C] to tokens [B, T, S, p p C]."""
    z = F.pad(z, (0, 0, 0, -z.shape[3] % p, 0, -z.shape[2] % p))
    B, T, H, W, C = z.shape
    z = z.reshape(B, T, H // p, p, W // p, p, C).permute(0, 1, 2, 4, 3, 5, 6)
    return z.reshape(B, T, -1, p * p * C)


def from_patches(x: Tensor, p: int, sides: tuple[int, int]) -> Tensor:
    """Inverts `patches`: tokens [B, T, S, p p C] -> latents [B, T, H, W, C] with `sides` (H, W)."""
    rows, columns = (-(-side // p) for side in sides)
    x = x.reshape(*x.shape[:2], rows, columns, p, p, -1).permute(0, 1, 2, 4, 3, 5, 6)
    x = x.reshape(*x.shape[:2], rows * p, columns * p, -1)
    return x[:, :, : sides[0], : sides[1]]


def time_features(times: Tensor) -> Tensor:
    """Fourier features of times in seconds, [T] -> [T, 16]."""
    return fourier(times, 1 / SECONDS[1], 1 / SECONDS[0], PLACE_FEATURES)


def place_features(times: Tensor, sides: tuple[float, float]) -> Tensor:
    """Fourier features [T, S, 48] of time, row and column of the tokens of a video.

    `times` are in seconds, [T]; `sides` are (height, width) of the frame in tokens.
    """
    short, (rows, columns) = min(sides), (math.ceil(side) for side in sides)
    y, x = (
        torch.tensor((np.arange(math.ceil(n)) + 0.5 + (short - n) / 2) / short).float()
        for n in sides
    )
    parts = (
        time_features(times)[:, None, None],
        fourier(y.to(times.device), 1.0, 50.0, PLACE_FEATURES)[None, :, None],
        fourier(x.to(times.device), 1.0, 50.0, PLACE_FEATURES)[None, None],
    )
    shape = (len(times), rows, columns, PLACE_FEATURES)
    return torch.cat([part.expand(shape) for part in parts], -1).flatten(1, 2)


class LevelEmbedding(nn.Module):
    """Noise levels [B, T] and pooled text [B, Dt] -> embedding [B, T, D] and modulation [B, T, 6 D]
    of all blocks.
    """

    def __init__(self, width: int, text_width: int, step_sizes: bool):
        super().__init__()
        self.up = linear(LEVEL_FEATURES, width, bias=True)
        self.down = linear(width, width, bias=True)
        self.text = linear(text_width, width)
        self.rows = linear(width, 6 * width, bias=True)
        self.step = linear(LEVEL_FEATURES, width) if step_sizes else None

    def forward(
        self, levels: Tensor, pooled: Tensor, sizes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        def features(x: Tensor) -> Tensor:
            return fourier(x, 1.0, 1000.0, LEVEL_FEATURES)

        e = self.down(F.silu(self.up(features(levels))))
        e = e + self.text(pooled)[:, None]
        if self.step is not None and sizes is not None:
            e = e + self.step(features(sizes) - features(torch.zeros_like(sizes)))
        return e, self.rows(F.silu(e))


class VideoBlock(nn.Module):
    """A video block: modulated self-attention, attention to the text (if `text`), MLP. Tokens
    v [B, T, S, D] and modulation m [B, T, 6 D] -> [B, T, S, D].
    """

    def __init__(self, c: Mapping[str, Any], text: bool):
        super().__init__()
        width, heads = c["width"], c["heads"]
        self.table = nn.Parameter(torch.zeros(6 * width))
        self.attention = Attention(width, heads)
        self.text = Attention(width, heads, c["text_width"], width) if text else None
        self.mlp = MLP(width, c["mlp_ratio"])

    def forward(
        self,
        v: Tensor,
        m: Tensor,
        phi: Tensor,
        over: Callable[..., Tensor],
        text: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = (m + self.table)[:, :, None].chunk(6, -1)
        n = modulate(v, shift, scale)
        v = v + gate * self.attention(n, n, (phi, phi), over)
        if self.text is not None and text is not None and mask is not None:
            if mask.ndim == 3:  # words differ from frame to frame
                mask = mask.repeat_interleave(v.shape[2], 1)
            v = v + self.text(rms(v).flatten(1, 2), text, visible=mask).reshape(v.shape)
        return v + gate2 * self.mlp(modulate(v, shift2, scale2))


class AudioBlock(nn.Module):
    """A block of the audio stream in two halves, around the exchange with the video. Tokens
    a [B, N, Da] and modulation m [B, N, 6 Da] -> [B, N, Da].
    """

    def __init__(self, c: Mapping[str, Any]):
        super().__init__()
        width, heads = c["audio_width"], c["audio_heads"]
        self.table = nn.Parameter(torch.zeros(6 * width))
        self.attention = Attention(width, heads)
        words = c["text_attention"]
        self.text = Attention(width, heads, c["text_width"], width) if words else None
        self.mlp = MLP(width, c["mlp_ratio"])

    def attend(self, a: Tensor, m: Tensor, phi: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """The first half: self-attention, then attention to the text."""
        shift, scale, gate = (m + self.table).chunk(6, -1)[:3]
        n = modulate(a, shift, scale)
        a = a + gate * self.attention(n, n, (phi, phi))
        return a if self.text is None else a + self.text(rms(a), text, visible=mask)

    def feed(self, a: Tensor, m: Tensor) -> Tensor:
        """The second half: the MLP."""
        shift, scale, gate = (m + self.table).chunk(6, -1)[3:]
        return a + gate * self.mlp(modulate(a, shift, scale))


class Exchange(nn.Module):
    """Attention between video v [B, T, S, D] and audio a [B, N, Da], with rotary positions in
    seconds; with `memory` also from the video to the pooled tokens of its own frames.
    """

    def __init__(self, c: Mapping[str, Any]):
        super().__init__()
        width, audio_width = c["width"], c["audio_width"]
        shared = {"heads": c["exchange_heads"], "inner": c["exchange_width"]}
        video, audio = (c["exchange"] in ("both", to) for to in ("to_video", "to_audio"))
        pooled = audio or c["memory"]
        self.pool = linear(width, c["frame_tokens"]) if pooled else None
        self.to_video = Attention(width, source=audio_width, **shared) if video else None
        self.to_audio = Attention(audio_width, source=width, **shared) if audio else None
        self.memory = Attention(width, source=width, **shared) if c["memory"] else None
        self.video_gate = nn.Parameter(torch.zeros(width)) if video else None
        self.audio_gate = nn.Parameter(torch.zeros(audio_width)) if audio else None
        self.memory_gate = nn.Parameter(torch.zeros(width)) if c["memory"] else None

    def forward(
        self, v: Tensor, a: Tensor, phi: Mapping[str, Tensor], couple: Tensor
    ) -> tuple[Tensor, Tensor]:
        S = v.shape[2]
        v_in, a_in = rms(v), rms(a)
        sites, site_phi = v_in.flatten(1, 2), phi["video"].repeat_interleave(S, 0)
        if self.to_video is not None and self.video_gate is not None:
            read = self.to_video(sites, a_in, (site_phi, phi["audio"]))
            v = v + (couple * self.video_gate * read).reshape(v.shape)
        if self.pool is None:
            return v, a
        weights = self.pool(v_in).softmax(2)
        frames = torch.einsum("btsp,btsd->btpd", weights, v_in).flatten(1, 2)
        frame_phi = phi["video"].repeat_interleave(weights.shape[-1], 0)
        if self.to_audio is not None and self.audio_gate is not None:
            read = self.to_audio(a_in, frames, (phi["audio"], frame_phi))
            a = a + couple * self.audio_gate * read
        if self.memory is not None and self.memory_gate is not None:
            read = self.memory(sites, frames, (site_phi, frame_phi))
            v = v + (self.memory_gate * read).reshape(v.shape)
        return v, a


class Pair(nn.Module):
    """One layer: a spatial and a temporal video block, an audio block and an exchange."""

    def __init__(self, c: Mapping[str, Any]):
        super().__init__()
        self.space = VideoBlock(c, text=c["text_attention"])
        self.time = VideoBlock(c, text=False)
        self.audio = AudioBlock(c)
        self.exchange = Exchange(c)

    def forward(
        self,
        v: Tensor,
        a: Tensor,
        modulation: Mapping[str, Tensor],
        phi: Mapping[str, Tensor],
        blocks: tuple[tuple[str, Callable[..., Tensor]], ...],
        words: Tensor,
        masks: Mapping[str, Tensor],
        couple: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (axes, in_space), (time_axes, in_time) = blocks
        v = self.space(v, modulation["video"], phi[axes], in_space, words, masks["video"])
        a = self.audio.attend(a, modulation["audio"], phi["own"], words, masks["audio"])
        v, a = self.exchange(v, a, phi, couple)
        v = self.time(v, modulation["video"], phi[time_axes], in_time)
        return v, self.audio.feed(a, modulation["audio"])


class Head(nn.Module):
    """The output layer: modulation by the level embedding e, then a linear layer. Tokens
    x [B, T, ..., D] and e [B, T, D] -> [B, T, ..., features].
    """

    def __init__(self, width: int, features: int):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(2, width))
        self.out = linear(width, features, bias=True)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        e = e if x.ndim == 3 else e[:, :, None]
        return self.out(modulate(x, e + self.table[0], e + self.table[1]))


class ReferenceEncoder(nn.Module):
    """Latents of stills and voices of R characters -> tokens that follow those of the words."""

    def __init__(self, c: Mapping[str, Any]):
        super().__init__()
        width, self.patch = c["text_width"], c["patch"]
        self.still = linear(self.patch**2 * c["video_channels"], width, bias=True)
        self.place = linear(3 * PLACE_FEATURES, width)
        self.voice = linear(c["audio_channels"], width, bias=True)
        self.time = linear(PLACE_FEATURES, width)
        self.view = nn.Parameter(torch.zeros(4, width))
        self.slot = nn.Parameter(torch.zeros(c["references"], width))

    def beside(self, words: Tensor, mask: Tensor, text: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Marks the names of characters among the words, and appends the tokens of references.

        Words [B, L + 1, Dt], mask [B, L + 1] and the prompt's "slots" and "references" -> tokens
        [B, L + 1 + K, Dt] and their mask.
        """
        if "slots" in text:
            words = words + F.pad(self.slot, (0, 0, 1, 0))[F.pad(text["slots"].long(), (1, 0))]
        if not text.get("references"):
            return words, mask
        tokens, there = self(text["references"])
        return torch.cat([words, tokens], 1), torch.cat([mask, there], 1)

    def forward(self, references: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Stills [B, R, 4, H, W, C], voices [B, R, n, Ca], present and heard bool [B, R] -> tokens
        [B, R M, Dt] and their mask.
        """
        stills, voices = references["stills"], references["voices"]
        (B, R, _, H, W, _), p = stills.shape, self.patch
        slot = self.slot[:R, None]
        seen = self.still(patches(stills.flatten(0, 1), p)) + self.view[:, None]
        seen = seen + self.place(place_features(torch.zeros(1).to(stills), (H / p, W / p))[0])
        seen = seen.flatten(1, 2).unflatten(0, (B, R)) + slot
        times = (torch.arange(voices.shape[2], device=stills.device) + 0.5) / 25
        heard = self.voice(voices) + self.time(time_features(times)) + slot
        present, audible = references["present"], references["present"] & references["heard"]
        visible = [
            there[..., None].expand(-1, -1, x.shape[2])
            for there, x in ((present, seen), (audible, heard))
        ]
        return torch.cat([seen, heard], 2).flatten(1, 2), torch.cat(visible, 2).flatten(1)


class STDiT(nn.Module):
    """The network: noisy latents, noise levels, prompt and times -> clean latents or velocity."""

    def __init__(self, c: Mapping[str, Any]):
        super().__init__()
        self.c, p = c, c["patch"]
        self.text = TextEncoder(c)
        self.video_in = linear(p * p * c["video_channels"], c["width"], bias=True)
        self.audio_in = linear(c["audio_channels"], c["audio_width"], bias=True)
        self.video_place = linear(3 * PLACE_FEATURES, c["width"])
        self.audio_place = linear(PLACE_FEATURES, c["audio_width"])
        self.video_level = LevelEmbedding(c["width"], c["text_width"], c["step_sizes"])
        self.audio_level = LevelEmbedding(c["audio_width"], c["text_width"], c["step_sizes"])
        self.pairs = nn.ModuleList(Pair(c) for _ in range(c["depth"]))
        self.video_head = Head(c["width"], p * p * c["video_channels"])
        self.audio_head = Head(c["audio_width"], c["audio_channels"])
        self.references = ReferenceEncoder(c) if c["references"] else None

    def forward(
        self,
        latents: Mapping[str, Tensor],
        levels: Mapping[str, Tensor],
        text: Mapping[str, Any],
        times: Mapping[str, Tensor],
        couple: float | Tensor = 1.0,
        sizes: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Evaluates the network.

        Args:
            latents: {"video": [B, T, H, W, C], "audio": [B, N, Ca]}.
            levels: noise levels in [0, 1], {"video": [B, T], "audio": [B, N]}.
            text: {"tokens": int [B, L], or of T5 float [B, L, text_features], "mask": bool [B, L]},
                and perhaps "shots", "slots" and "references". An all-False mask means no text.
            times: seconds of the latents, {"video": [T], "audio": [N]}, and of a clip of several
                shots the shot of each latent from 1, "video_shots" and "audio_shots".
            couple: factor of the exchange between video and audio, a number or [B]. Default 1.
            sizes: by how much the step of a shortcut lowers each level, like `levels`. None
                (default): 0.

        Returns:
            {"video", "audio"} like the latents: clean latents or velocity, according to `output` of
            the configuration.
        """
        c, video = self.c, latents["video"]
        (B, T, H, W, _), p = video.shape, c["patch"]
        grid = (T, -(-H // p), -(-W // p))
        shots = {m: times.get(f"{m}_shots") for m in ("video", "audio")}
        times = {m: self._on_clock(times[m], m) for m in shots}
        couple = torch.as_tensor(couple, device=video.device).float().expand(B)[:, None, None]

        pooled, words, masks = self._read(text, shots)
        sizes = sizes or {}
        e_v, m_v = self.video_level(levels["video"], pooled, sizes.get("video"))
        e_a, m_a = self.audio_level(levels["audio"], pooled, sizes.get("audio"))
        v = self.video_in(patches(video, p))
        v = v + self.video_place(place_features(times["video"], (H / p, W / p)))
        a = self.audio_in(latents["audio"]) + self.audio_place(time_features(times["audio"]))

        # angles of the video's own attention by axes, of the audio's own, and of the exchange
        planes = c["width"] // c["heads"] // 2
        phi = {axes: grid_angles(times["video"], *grid[1:], planes, axes) for axes in GRID_AXES}
        phi["own"] = angles(times["audio"], c["audio_width"] // c["audio_heads"] // 2, SECONDS)
        planes = c["exchange_width"] // c["exchange_heads"] // 2
        phi |= {m: angles(t, planes, SECONDS) for m, t in times.items()}
        modulation = {"video": m_v, "audio": m_a}
        for depth, pair in enumerate(self.pairs):
            blocks = patterns(c, grid, depth)
            v, a = pair(v, a, modulation, phi, blocks, words, masks, couple)
        video = from_patches(self.video_head(v, e_v), p, (H, W))
        return {"video": video, "audio": self.audio_head(a, e_a)}

    def _on_clock(self, times: Tensor, modality: str) -> Tensor:
        if self.c["clock"] == "seconds":
            return times
        return torch.arange(len(times), device=times.device) * INDEX_SECONDS[modality]

    def _read(
        self, text: Mapping[str, Any], shots: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The pooled prompt [B, Dt], the tokens of words and references, and by modality the mask
        of the tokens that latents read.
        """
        words, mask = self.text(text["tokens"], text["mask"])
        pooled = words[:, 0]
        if self.references is not None:
            words, mask = self.references.beside(words, mask, text)
        if not self.c["shot_words"] or "shots" not in text:
            return pooled, words, dict.fromkeys(shots, mask)
        after = mask.shape[1] - 1 - text["shots"].shape[1]
        number = F.pad(text["shots"], (1, after))[:, None]
        masks = {}
        for m, of_latent in shots.items():
            own = None if of_latent is None else number == of_latent[:, None].to(number)
            masks[m] = mask if own is None else mask[:, None] & ((number == 0) | own)
        return pooled, words, masks


GRID_AXES = ("t", "yx", "tyx")


# Video tokenizer


def haar(n: int) -> np.ndarray:
    """The orthonormal Haar matrix [n, n] for a power of two."""
    if n == 1:
        return np.ones((1, 1), np.float32)
    eye = np.eye(n // 2, dtype=np.float32)
    rows = np.concatenate([np.kron(haar(n // 2), [1.0, 1.0]), np.kron(eye, [1.0, -1.0])])
    return rows.astype(np.float32) / np.sqrt(np.float32(2.0))


class SpatialConv(nn.Module):
    """A convolution frame by frame: [B, T, H, W, C] -> [B, T, H, W, C']."""

    def __init__(self, features_in: int, features_out: int, space: int = 1):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features_out, features_in, space, space))
        self.bias = nn.Parameter(torch.zeros(features_out))

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.shape[-1] == 1:
            return F.linear(x, self.weight[:, :, 0, 0], self.bias)
        y = F.conv2d(x.flatten(0, 1).permute(0, 3, 1, 2), self.weight, self.bias, padding="same")
        return y.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


class CausalConv(nn.Module):
    """A causal convolution over three frames, as a layer over three shifted copies."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = SpatialConv(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        past = F.pad(x, (0,) * 6 + (2, 0))  # zeros before the first frame
        return self.conv(torch.cat([past[:, i : i + x.shape[1]] for i in range(3)], -1))


class ConvBlock(nn.Module):
    """A residual block: a convolution in space, then one in time."""

    def __init__(self, width: int):
        super().__init__()
        self.space, self.time = SpatialConv(width, width, 3), CausalConv(width)
        self.gain1, self.gain2 = (nn.Parameter(torch.ones(width)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.space(F.silu(rms(x, self.gain1)))
        return x + self.time(F.silu(rms(h, self.gain2)))


def fold(x: Tensor) -> Tensor:
    """Moves 2 x 2 positions to channels: [B, T, H, W, C] -> [B, T, H/2, W/2, 4 C]."""
    B, T, H, W, C = x.shape
    x = x.reshape(B, T, H // 2, 2, W // 2, 2, C).permute(0, 1, 2, 4, 3, 5, 6)
    return x.reshape(B, T, H // 2, W // 2, 4 * C)


def unfold(x: Tensor) -> Tensor:
    """Moves channels to 2 x 2 positions: inverts `fold`."""
    B, T, H, W, C = x.shape
    x = x.reshape(B, T, H, W, 2, 2, C // 4).permute(0, 1, 2, 4, 3, 5, 6)
    return x.reshape(B, T, 2 * H, 2 * W, C // 4)


class VideoTokenizer(nn.Module):
    """Frames [B, F, H, W, 3] in [0, 1] to latents [B, T, H/8, W/8, C], and back; causal in time.

    A latent holds k = `frames_per_latent` frames, and latent 0 the first frame alone.
    """

    scale: Tensor
    matrix: Tensor

    def __init__(self, c: Mapping[str, Any]):
        super().__init__()
        self.c, fine, coarse = c, c["fine_width"], c["coarse_width"]
        pixels = 3 * c["frames_per_latent"] * 16  # a block of 4 x 4 x k

        def blocks(width: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(ConvBlock(width) for _ in range(count))

        self.embed = SpatialConv(pixels, fine)
        self.encoder_fine = blocks(fine, c["encoder_fine"])
        self.down = SpatialConv(4 * fine, coarse)
        self.encoder_coarse = blocks(coarse, c["encoder_coarse"])
        self.to_latent = SpatialConv(coarse, c["channels"])
        self.from_latent = SpatialConv(c["channels"], coarse, 3)
        self.decoder_coarse = blocks(coarse, c["decoder_coarse"])
        self.up = SpatialConv(coarse, 4 * fine)
        self.decoder_fine = blocks(fine, c["decoder_fine"])
        self.head = SpatialConv(fine, pixels)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("channel_mean", torch.zeros(c["channels"]))
        self.register_buffer("channel_std", torch.ones(c["channels"]))
        k, n = c["frames_per_latent"], 4
        matrix = np.kron(haar(k), np.kron(haar(n), haar(n))) if c["haar"] else np.eye(k * n * n)
        self.register_buffer("matrix", torch.tensor(matrix).float(), persistent=False)

    def encode(self, frames: Tensor) -> Tensor:
        """Encodes a whole video of one shot: frames [B, F, H, W, 3] in [0, 1] -> latents
        [B, T, H/8, W/8, C]. Sides are padded to multiples of 8.
        """
        k = self.c["frames_per_latent"]
        x = frames.permute(0, 4, 1, 2, 3)
        after = -(x.shape[2] - 1) % k
        sides = (0, -x.shape[4] % PIXELS_PER_LATENT, 0, -x.shape[3] % PIXELS_PER_LATENT)
        x = F.pad(x, (*sides, 0, after), mode="replicate").permute(0, 2, 3, 4, 1)
        x = torch.cat([x[:, :1].repeat_interleave(k, 1), x[:, 1:]], 1)
        B, count, H, W, _ = x.shape
        x = (x - 0.5).reshape(B, count // k, k, H // 4, 4, W // 4, 4, 3)
        x = x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6)  # [B, T, H/4, W/4, k 4 4, 3]
        x = self.embed(torch.einsum("qp,bthwpc->bthwqc", self.matrix, x).flatten(4))
        for block in self.encoder_fine:
            x = block(x)
        x = self.down(fold(x))
        for block in self.encoder_coarse:
            x = block(x)
        return self.to_latent(rms(x)) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Decodes the latents [B, T, h, w, C] of one shot to frames [B, 1 + k (T - 1), 8 h, 8 w, 3]
        in [0, 1].
        """
        k = self.c["frames_per_latent"]
        x = self.from_latent(latents / self.scale)
        for block in self.decoder_coarse:
            x = block(x)
        x = unfold(self.up(rms(x)))
        for block in self.decoder_fine:
            x = block(x)
        y = self.head(rms(x)).unflatten(-1, (k * 16, 3))
        y = torch.einsum("qp,bthwqc->bthwpc", self.matrix, y) + 0.5
        B, T, H, W, _, _ = y.shape
        y = y.reshape(B, T, H, W, k, 4, 4, 3).permute(0, 1, 4, 2, 5, 3, 6, 7)
        groups = y.reshape(B, T, k, 4 * H, 4 * W, 3)
        first = groups[:, 0].mean(1, keepdim=True)
        return torch.cat([first, groups[:, 1:].flatten(1, 2)], 1).clamp(0, 1)


# Audio tokenizer


class ResidualBlock(nn.Module):
    """A residual block over time: x + W2 gelu(W1 [norm(x) at n-1, n, n+1])."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.mix, self.out = (
            Norm(width),
            linear(3 * width, width, bias=True),
            linear(width, width, bias=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.pad(self.norm(x), (0, 0, 1, 1))
        return x + self.out(gelu(self.mix(torch.cat([y[:, :-2], y[:, 1:-1], y[:, 2:]], -1))))


class ResidualNetwork(nn.Module):
    """Linear layer, residual blocks, norm, linear layer: [B, N, inputs] -> [B, N, outputs]."""

    def __init__(self, inputs: int, width: int, blocks: int, outputs: int):
        super().__init__()
        self.into, self.norm = linear(inputs, width, bias=True), Norm(width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.out = linear(width, outputs, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


class AudioTokenizer(nn.Module):
    """Samples [B, S] at 16 kHz to latents [B, N, C] at 25 Hz, and back.

    Latents hold companded powers of frequency bands; Griffin-Lim finds the phases.
    """

    mean: Tensor
    scale: Tensor
    averages: Tensor
    inverse: Tensor
    taper: Tensor

    def __init__(self, c: Mapping[str, Any]):
        super().__init__()
        self.c, window, bands = c, c["window"], c["bands"]
        features = SAMPLES_PER_LATENT // c["hop"] * bands
        self.encoder = ResidualNetwork(features, c["width"], c["encoder_blocks"], c["channels"])
        self.decoder = ResidualNetwork(c["channels"], c["width"], c["decoder_blocks"], features)
        self.register_buffer("mean", torch.zeros(c["channels"]))
        self.register_buffer("std", torch.ones(c["channels"]))
        self.register_buffer("scale", torch.ones(()))
        frequency, corner = np.linspace(0.0, SAMPLE_RATE / 2, window // 2 + 1), c["corner_hz"]
        centres = corner * np.expm1(np.linspace(0.0, np.log1p(SAMPLE_RATE / 2 / corner), bands))
        hats = [np.interp(frequency, centres, row) for row in np.eye(bands)]
        averages = np.stack(hats, 1).astype(np.float32)
        averages = averages / averages.sum(0)
        taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
        constants = {"averages": averages, "inverse": np.linalg.pinv(averages), "taper": taper}
        for name, x in constants.items():
            self.register_buffer(name, torch.tensor(x).float(), persistent=False)

    def encode(self, samples: Tensor) -> Tensor:
        """Encodes samples [B, S] in [-1, 1] to latents [B, N, C]; the end is padded with zeros."""
        return (self.encoder(self.features(samples)) - self.mean) / self.scale

    def features(self, samples: Tensor) -> Tensor:
        """Companded band powers of samples [B, S]: [B, N, 640 / hop * bands]."""
        samples = F.pad(samples, (0, -samples.shape[1] % SAMPLES_PER_LATENT))
        x = self._stft(samples)
        power = (x.real.square() + x.imag.square()) @ self.averages / self.taper.square().sum()
        u = ((power + 1e-8) ** (1 / 8) - 0.15) / 0.11
        return u.reshape(len(samples), samples.shape[1] // SAMPLES_PER_LATENT, -1)

    def magnitudes(self, latents: Tensor) -> Tensor:
        """Magnitudes of the Fourier transform that latents [B, N, C] stand for,
        [B, frames, window/2 + 1].
        """
        u = self.decoder(latents * self.scale + self.mean)
        u = u.reshape(len(u), -1, self.c["bands"])
        power = (0.15 + 0.11 * u).clamp(min=0) ** 8
        return ((power @ self.inverse).clamp(min=0) * self.taper.square().sum()).sqrt()

    def decode(self, latents: Tensor, num_samples: int) -> Tensor:
        """Decodes latents to samples [B, num_samples], by the fast Griffin-Lim iteration."""
        magnitudes = self.magnitudes(latents)
        turns = torch.from_numpy(uniform(key_of(0), magnitudes.shape[1:])).to(latents)
        z = y = magnitudes * torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
        for _ in range(self.c["iterations"]):
            new = self._stft(self._inverse_stft(magnitudes * z / z.abs().clamp(min=1e-12)))
            z, y = new + 0.99 * (new - y), new
        samples = self._inverse_stft(magnitudes * z / z.abs().clamp(min=1e-12))
        return samples[:, :num_samples]

    def _stft(self, samples: Tensor) -> Tensor:
        """Fourier transform of windows of samples [B, S] centred at (i + 1/2) hop, complex
        [B, frames, window/2 + 1].
        """
        window, hop = self.c["window"], self.c["hop"]
        margin = (window - hop) // 2
        padded = F.pad(samples, (margin, window - hop - margin))
        return torch.fft.rfft(padded.unfold(-1, window, hop) * self.taper)

    def _inverse_stft(self, spectrum: Tensor) -> Tensor:
        """The samples [B, S] whose transform is nearest to a spectrum in least squares."""
        frames = torch.fft.irfft(spectrum, self.c["window"]) * self.taper
        weight = self.taper.square().expand(1, *frames.shape[1:])
        return self._overlap_add(frames) / self._overlap_add(weight)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        window, hop = self.c["window"], self.c["hop"]
        length, margin = frames.shape[1] * hop, (window - hop) // 2
        shape = (1, length + window - hop)
        sums = F.fold(frames.transpose(1, 2), shape, (1, window), stride=(1, hop))
        return sums[:, 0, 0, margin : margin + length]


# Sampler: integrates the flow from noise to latents


def sample(
    model: Callable[..., Mapping[str, Tensor]],
    noise: Mapping[str, Tensor],
    text: Mapping[str, Any],
    negative: Mapping[str, Any],
    times: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    start: Mapping[str, Tensor] | None = None,
    given: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Returns the latents of a batch, by Euler or Heun steps or shortcuts, with guidance by text.

    Args:
        model: an `STDiT`.
        noise: standard normal noise, {"video": [B, T, H, W, C], "audio": [B, N, Ca]}.
        text, negative: prompt and negative prompt, {"tokens": [B, L], "mask": [B, L], ...}
            (`STDiT.forward`); an all-False mask means no text.
        times: midpoints of the latents in seconds, {"video": [T], "audio": [N]}, and the shots of a
            clip of several (`STDiT.forward`).
        settings: "steps", "shift" (r of s' = r s / (1 + (r - 1) s)), "guidance" (scale of the text;
            1 turns it off), "method" ("euler", "heun" or "shortcut") and "output" (the model's
            prediction, "x" for clean latents or "v" for the velocity).
        start: level from which each latent is generated, {"video": [B, T], "audio": [B, N]}: 1 from
            noise (default), 0 given.
        given: clean latents like `noise`, read where `start` is below 1. Needed with `start`.

    Raises:
        ValueError: one of `start` and `given` is given without the other.
    """
    steps, r = settings["steps"], settings["shift"]
    if (start is None) != (given is None):
        raise ValueError("start and given belong together; give both, or leave both out")
    if start is None or given is None:
        start = {m: torch.ones(x.shape[:2], device=x.device) for m, x in noise.items()}
        given = {m: torch.zeros_like(x) for m, x in noise.items()}

    def expand(level: Tensor, x: Tensor) -> Tensor:
        return level.reshape(level.shape + (1,) * (x.ndim - level.ndim))

    def velocity(z: dict[str, Tensor], s: float, after: float | None = None) -> dict[str, Tensor]:
        levels = {m: a.clamp(max=s) for m, a in start.items()}
        sizes = None
        if after is not None:
            sizes = {m: levels[m] - a.clamp(max=after) for m, a in start.items()}
        prompts = [text] if settings["guidance"] == 1 else [text, negative]
        found = []
        for prompt in prompts:
            y = model(z, levels, prompt, times, sizes=sizes)
            found.append(
                {
                    m: (z[m] - y[m]) / expand(levels[m], z[m]).clamp(min=1e-3)
                    if settings["output"] == "x"
                    else y[m]
                    for m in z
                }
            )
        g = settings["guidance"] - 1
        return {m: found[0][m] + g * (found[0][m] - found[-1][m]) for m in z}

    def move(
        z: Mapping[str, Tensor], v: Mapping[str, Tensor], s: float, after: float
    ) -> dict[str, Tensor]:
        step = {m: expand(a.clamp(max=after) - a.clamp(max=s), z[m]) for m, a in start.items()}
        return {m: z[m] + step[m] * v[m] for m in z}

    z = {
        m: (1 - expand(a, given[m])) * given[m] + expand(a, noise[m]) * noise[m]
        for m, a in start.items()
    }
    s = 1 - np.arange(steps + 1) / steps
    levels = [float(level) for level in (r * s / (1 + (r - 1) * s)).astype(np.float32)]
    for i, (s, after) in enumerate(itertools.pairwise(levels)):
        v = velocity(z, s, after if settings["method"] == "shortcut" else None)
        if settings["method"] == "heun" and i + 1 < steps:
            ahead = velocity(move(z, v, s, after), after)
            v = {m: (v[m] + ahead[m]) / 2 for m in v}
        z = move(z, v, s, after)
    return z


# Sora: the modules together


def latent_times(format: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Midpoints of the latents of a clip in seconds, {"video": [T], "audio": [N]}. For a clip of
    several shots also the shot of each latent from 1, "video_shots" and "audio_shots".
    """
    fps, k = float(Fraction(format["fps"])), format["frames_per_latent"]
    shots = format.get("shots") or [format["frames"]]
    counts = shot_latents(format)
    j = np.concatenate([np.arange(n) for n in counts])
    starts = np.cumsum([0, *shots[:-1]]) / fps
    video = np.where(j == 0, 0.5, k * j + (1.0 - k / 2)) / fps + np.repeat(starts, counts)
    audio = (np.arange(-(-num_samples(format) // SAMPLES_PER_LATENT)) + 0.5) / 25
    if len(shots) == 1:
        return {"video": video, "audio": audio}
    return {
        "video": video,
        "audio": audio,
        "video_shots": np.repeat(np.arange(1, 1 + len(shots)), counts),
        "audio_shots": np.searchsorted(starts, audio, side="right"),
    }


def shot_latents(format: Mapping[str, Any]) -> list[int]:
    """Number of video latents of each shot of a format."""
    shots = format.get("shots") or [format["frames"]]
    return [1 + (n - 1) // format["frames_per_latent"] for n in shots]


def num_samples(format: Mapping[str, Any]) -> int:
    """Number of audio samples of a clip of a format."""
    return math.floor(
        Fraction(format["frames"] * SAMPLE_RATE) / Fraction(format["fps"]) + Fraction(1, 2)
    )


class Sora(nn.Module):
    """A model with its tokenizers. `config` is the contents of config.json."""

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.config = config
        self.model = STDiT(config["model"])
        self.video_tokenizer = VideoTokenizer(config["video_tokenizer"])
        self.audio_tokenizer = AudioTokenizer(config["audio_tokenizer"])

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> "Sora":
        """Returns the model in a folder that `experiments.export` wrote, on a device of PyTorch.

        Raises:
            FileNotFoundError: a file is missing.
        """
        folder = Path(folder)
        for name in ("config.json", "weights.safetensors"):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder} has no {name}; give a folder that experiments.export wrote"
                )
        sora = cls(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        sora.load_state_dict(load_file(folder / "weights.safetensors"))
        return sora.to(device).eval().requires_grad_(False)

    def prompt(self, text: str) -> dict[str, Tensor]:
        """Returns the arrays of a prompt (`tokenize`) on the model's device; prints unknown words.

        They are {"tokens", "mask", "shots"}, each [1, L].
        """
        c = self.config
        arrays, unknown = tokenize(text, c["words"], c["model"]["vocabulary"], c["text_length"])
        if unknown:
            print(f"note: words outside the vocabulary: {', '.join(unknown)}", file=sys.stderr)
        device = self.audio_tokenizer.scale.device
        return {name: x.to(device) for name, x in arrays.items()}

    def generate(
        self,
        prompt: str,
        seed: int = 0,
        steps: int = 30,
        guidance: float = 2.0,
        method: str = "euler",
        negative_prompt: str = "",
        format: int = 0,
        encode: Callable[[str], Mapping[str, Tensor]] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Generates a clip: frames [F, H, W, 3] in [0, 1] and samples [S] at 16 kHz.

        Args:
            prompt: describes the clip.
            seed: seed of the noise. Default 0.
            steps: steps of the sampler. Default 30.
            guidance: scale of the guidance by text; 1 turns it off. Default 2.
            method: the sampler, "euler" (default), "heun", or "shortcut" for a few steps of a model
                that was trained for them. Such steps include guidance: give guidance 1.
            negative_prompt: describes content to guide away from. Default: none.
            format: index of the clip format in "formats" of config.json. Default 0.
            encode: text -> {"tokens": float [1, L, features], "mask": bool [1, L]}, for a model
                that reads features of T5. Default: `Sora.prompt`.
        """
        c, shape, encode = self.config, self.config["formats"][format], encode or self.prompt
        device = self.audio_tokenizer.scale.device
        sides = [-(-shape[name] // PIXELS_PER_LATENT) for name in ("height", "width")]
        times = latent_times(shape)
        audio, video = (
            normal(key, (len(times[m]), *rest)).to(device)[None]
            for key, m, rest in zip(
                split(key_of(seed), 2),
                ("audio", "video"),
                ([c["model"]["audio_channels"]], [*sides, c["model"]["video_channels"]]),
                strict=True,
            )
        )
        latents = sample(
            self.model,
            {"video": video, "audio": audio},
            encode(prompt),
            encode(negative_prompt),
            {name: torch.from_numpy(t).float().to(device) for name, t in times.items()},
            {
                "steps": steps,
                "guidance": guidance,
                "method": method,
                "shift": c["shift"],
                "output": c["model"]["output"],
            },
        )
        shots = latents["video"].split(shot_latents(shape), 1)
        frames = torch.cat([self.video_tokenizer.decode(part) for part in shots], 1)
        samples = self.audio_tokenizer.decode(latents["audio"], num_samples(shape))
        return frames[0, :, : shape["height"], : shape["width"]], samples[0]


# Command


def write_mp4(path: Path, frames: np.ndarray, samples: np.ndarray, fps: Fraction) -> None:
    """Writes frames uint8 [F, H, W, 3] at `fps` frames per second and samples [S] in [-1, 1] as an
    mp4 of h264 and aac.
    """
    assert av is not None
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "12"})
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for image in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        sound = np.clip(samples, -1, 1)[None].astype(np.float32)
        for start in range(0, sound.shape[1], 1024):
            block = np.ascontiguousarray(sound[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            container.mux(audio.encode(frame))
        container.mux(audio.encode())


def main() -> None:
    """Generates one clip, and writes it as mp4 (needs the package av) or npz."""
    parser = argparse.ArgumentParser(description="Generate a clip of video with sound.")
    parser.add_argument("--prompt", required=True, help="description of the clip")
    parser.add_argument("--negative_prompt", default="", help="what to guide away from")
    parser.add_argument("--folder", default=Path(__file__).parent, help="default: this file's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--method", choices=("euler", "heun", "shortcut"), default="euler")
    parser.add_argument("--format", type=int, default=0, help="number in config.json, formats")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", help="clip.mp4 or clip.npz; default: clip.mp4 if av is there")
    flags = parser.parse_args()
    output = Path(flags.output or ("clip.mp4" if av else "clip.npz"))
    if output.suffix not in (".mp4", ".npz"):
        parser.error(f"--output={output}: give a name that ends with .mp4 or .npz")
    if output.suffix == ".mp4" and av is None:
        parser.error("writing mp4 needs the package av; install it, or give --output=clip.npz")
    if flags.steps < 1:
        parser.error(f"--steps={flags.steps}: give at least 1")
    try:
        sora = Sora.load(flags.folder, flags.device)
    except FileNotFoundError as error:
        parser.error(str(error))
    formats = sora.config["formats"]
    if not 0 <= flags.format < len(formats):
        parser.error(f"--format={flags.format}: config.json has {len(formats)} formats, from 0")
    if sora.config["model"]["text_features"]:
        parser.error("this model reads features of T5: call Sora.generate(encode=...) from Python")
    if sora.config["model"]["references"] and "@" in flags.prompt:
        parser.error("names such as @mika need references, which this command does not take")
    with torch.inference_mode():
        frames, samples = sora.generate(
            flags.prompt,
            flags.seed,
            flags.steps,
            flags.guidance,
            flags.method,
            flags.negative_prompt,
            flags.format,
        )
    pixels = (255 * frames).round().byte().cpu().numpy()
    fps = Fraction(formats[flags.format]["fps"])
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".mp4":
        write_mp4(output, pixels, samples.cpu().numpy(), fps)
    else:
        np.savez(output, frames=pixels, samples=samples.cpu().numpy(), fps=float(fps))
    print(f"{output}: {len(pixels)} frames at {fps}/s, {len(samples) / SAMPLE_RATE:.2f} s of audio")


if __name__ == "__main__":
    main()
