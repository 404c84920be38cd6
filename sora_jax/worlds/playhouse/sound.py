"""The sound synthesiser: impacts, ambience, rolling balls and speech of a scene, mono at 16 kHz.

Every impact excites the modes of vibration of the balls and shapes that touch. From the exact
instant t0 of the contact on, a struck ball of radius r has the sound

    s(t) = g sum_m a_m exp(-(t - t0) / tau_m) sin(2 pi f_m (t - t0)) + click,                    (1)
    f_m = base_hz (0.3 / r) ratio_m
    g    = LOUDNESS (u / 5)^1.2                                                                  (2)

with u the normal approach speed in m/s, `click` 4 ms of noise, and base_hz, ratio_m, a_m (gains,
divided by their sum) and tau_m (decays) those of the `Material`. A struck shape sounds likewise,
with f_m = base_hz ratio_m whatever its size. Floors, walls and surfaces without ratios are silent.
A damped mode is a geometric sequence: with z_m = exp(-1/(tau_m R) + 2 pi i f_m / R) at sample rate
R, sample n = 64 a + b of mode m is

    Im(z_m^(64 a) z_m^b)                                                                         (3)

So the sound of an impact is a small complex matrix product of two tables over modes, instead of an
exp and a sin per sample. It lasts 0.6 s and fades out over its last fifth, because an abrupt end
would sound like an onset.

In a story (a clip with cuts), doors, switches of lamps and the lamps of score boards sound too
(`PLOT_SOUNDS`). The sound continues across cuts.

Impacts, wind and hum are synthesised on the device. All other sound is one track that the host
computes (`beside`): rolling balls, rain and crickets (`ambience.py`), and words (`voice.py`). All
levels are fixed, so a louder impact is a faster one. The ambience has an rms of AMBIENCE_RMS, the
louder half of a word's samples an rms of SPEECH_RMS. `impact_levels` measures the level of each
impact relative to all other sound.
"""

import functools
import math
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.modality import SAMPLE_RATE, ClipFormat
from sora_jax.worlds.playhouse import ambience, voice
from sora_jax.worlds.playhouse.cast import voice_of
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.spec import (
    AMBIENCES,
    MATERIALS,
    REFERENCE_RADIUS,
    SILENCE,
    SURFACES,
    Material,
    Scene,
    material,
)
from sora_jax.worlds.playhouse.stream import Stream

MAX_VOICES = 24  # impact sounds in one clip; those of the fastest impacts are kept
MAX_MODES = max(len(m.ratios) for m in (*MATERIALS.values(), *SURFACES.values()))
LOUDNESS = 0.35  # gain of an impact at 5 m/s: equation (2)
FAINTEST = 0.3  # m/s: slower impacts are silent
AMBIENCE_RMS = 0.008
SPEECH_RMS = 0.04  # over the louder half of a word's samples
# {kind of state that an event of a story changes: (material that sounds as if struck, speed in
# m/s)}
PLOT_SOUNDS = {"door": ("board", 2.5), "lamp": ("iron", 0.9), "score": ("glass", 1.2)}
LISTEN = 0.03  # seconds after an impact over which its level is measured

# ranges of b and a in equation (3)
BLOCK = 64
BLOCKS = 150
VOICE = BLOCK * BLOCKS  # samples for which one impact sounds: 0.6 s
CLICK = 64  # samples: 4 ms
_noise = Stream(7)
_CLICK_NOISE = (
    np.array([_noise.uniform(-1, 1) for _ in range(CLICK)]) * np.linspace(1, 0, CLICK) ** 2
)
_FADE = np.minimum(1.0, (1.0 - np.arange(VOICE) / VOICE) * 5.0).astype(np.float32)
_WIND_TAPS = 96
_WIND = np.hanning(_WIND_TAPS + 2)[1:-1]  # a low-pass near 250 Hz
_WIND = (_WIND / math.sqrt(np.square(_WIND).sum())).astype(np.float32)


def sound_inputs(takes: Sequence[Take], format: ClipFormat) -> dict[str, np.ndarray]:
    """Returns the arrays from which `synthesise` makes the audio of B takes, by name, with a
    leading axis B.

    Each impact sound takes one of MAX_VOICES slots (voices). Unused slots have gain 0.

    Args:
        takes: the B takes.
        format: the clip format, which gives the number of samples.
    """
    b = len(takes)
    inputs = {
        "start": np.zeros((b, MAX_VOICES), np.int32),  # first sample of the voice
        # a_m g z^(64 a + late)
        "coarse": np.zeros((b, MAX_VOICES, MAX_MODES, BLOCKS), np.complex64),
        "fine": np.zeros((b, MAX_VOICES, MAX_MODES, BLOCK), np.complex64),  # z^b
        "click": np.zeros((b, MAX_VOICES), np.float32),
        "seed": np.array([take.scene.seed for take in takes], np.uint32),
        "wind": np.array([take.scene.ambience == AMBIENCES[0] for take in takes], np.float32),
        "bed": np.array([take.scene.ambience in AMBIENCES for take in takes], np.float32),
        "beside": np.stack([beside(take, format.samples) for take in takes]).astype(np.float32),
    }
    for i, take in enumerate(takes):
        impacts = [] if take.scene.ambience == SILENCE else _impacts(take)
        impacts = sorted(impacts, key=operator.itemgetter(2), reverse=True)[:MAX_VOICES]
        for v, (time, ringing, speed, radius) in enumerate(impacts):
            gain = LOUDNESS * (speed / 5.0) ** 1.2
            start = math.ceil(time * SAMPLE_RATE)
            if start >= format.samples:
                continue
            # delay of the first sample after the contact, in samples
            delay = start - time * SAMPLE_RATE
            hertz = ringing.base_hz * REFERENCE_RADIUS / radius * np.array(ringing.ratios)
            logz = (
                -1.0 / (np.array(ringing.decays) * SAMPLE_RATE) + 2j * np.pi * hertz / SAMPLE_RATE
            )
            amplitude = gain * np.array(ringing.gains) / sum(ringing.gains)
            m = len(hertz)
            inputs["start"][i, v] = start
            inputs["coarse"][i, v, :m] = amplitude[:, None] * np.exp(
                logz[:, None] * (np.arange(BLOCKS) * BLOCK + delay)
            )
            inputs["fine"][i, v, :m] = np.exp(logz[:, None] * np.arange(BLOCK))
            inputs["click"][i, v] = 0.3 * gain
    return inputs


def beside(take: Take, samples: int) -> np.ndarray:
    """Returns the sound of a take except impacts, wind and hum, float64 [samples] at 16 kHz: rain,
    crickets, rolling balls and words.
    """
    scene, track = take.scene, np.zeros(samples)
    if scene.ambience == SILENCE:
        return track
    if scene.ambience not in AMBIENCES:
        track += AMBIENCE_RMS * {"rain": ambience.rain, "crickets": ambience.crickets}[
            scene.ambience
        ](scene.seed, samples)
    if scene.rolling:
        track += ambience.roll(take, samples)
    for time, word, speaker in _speech(scene):
        start = round(time * SAMPLE_RATE)
        spoken = voice.speak(word, speaker)[: max(samples - start, 0)]
        track[start : start + len(spoken)] += SPEECH_RMS / voice.NOMINAL * spoken
    return track


def _speech(scene: Scene) -> list[tuple[float, str, int | voice.Voice]]:
    """Returns (start in s, word, voice) of every word: of the narration, then of each actor."""
    narration = scene.narration
    words: list[tuple[float, str, int | voice.Voice]] = []
    if narration:
        words += [(time, word, narration.voice) for time, word in narration.words]
    for actor in scene.cast:
        words += [(time, word, voice_of(actor.character)) for time, word in actor.speech]
    return words


def impact_levels(take: Take, format: ClipFormat) -> list[tuple[float, float]]:
    """Returns (time in s, level in dB) of every audible impact of a take.

    The level is the ratio of the mean power of all impact sounds to that of all other sound, in the
    LISTEN seconds after the impact. `format` is the clip format.
    """
    inputs = sound_inputs([take], format)
    quiet = inputs | {name: np.zeros_like(inputs[name]) for name in ("coarse", "click")}
    rest = np.asarray(synthesise(quiet, format))[0]
    rings, levels = np.asarray(synthesise(inputs, format))[0] - rest, []
    for time in sorted({time for time, *_ in _impacts(take) if time < format.seconds}):
        window = slice(math.ceil(time * SAMPLE_RATE), math.ceil((time + LISTEN) * SAMPLE_RATE))
        power = [max(float(np.mean(np.square(x[window]))), 1e-12) for x in (rings, rest)]
        levels.append((time, 10.0 * math.log10(power[0] / power[1])))
    return levels


def _impacts(take: Take) -> list[tuple[float, Material, float, float]]:
    """Returns (time in s, material, speed in m/s, radius in m) of each impact sound.

    The radius sets the pitch. It is that of a ball, and REFERENCE_RADIUS for a shape, whose pitch
    does not depend on its size.
    """
    scene, impacts = take.scene, []
    for c in take.trajectory.contacts:
        if c.speed < FAINTEST:
            continue
        balls = {"crate": (), "ball": (c.a, c.b)}.get(c.kind, (c.a,))
        shapes = {"crate": (c.a, c.b), "shape": (c.b,)}.get(c.kind, ())
        impacts += [
            (c.time, material(scene.balls[k].material), c.speed, scene.balls[k].radius)
            for k in balls
        ]
        names = [scene.shapes[s].material for s in shapes if s >= 0]
        surfaces = [SURFACES[name] for name in names if name is not None]
        impacts += [
            (c.time, surface, c.speed, REFERENCE_RADIUS) for surface in surfaces if surface.ratios
        ]
    for event in scene.plot.events if scene.plot else ():
        if event.kind in PLOT_SOUNDS:
            name, speed = PLOT_SOUNDS[event.kind]
            impacts.append((event.time, material(name), speed, REFERENCE_RADIUS))
    return impacts


@functools.partial(jax.jit, static_argnames="format")
def synthesise(inputs: dict[str, jax.Array], format: ClipFormat) -> jax.Array:
    """Returns the audio of takes, float32 [B, S] in [-1, 1], mono at 16 kHz.

    Args:
        inputs: the arrays of `sound_inputs`.
        format: the clip format, which gives S.
    """
    return jax.vmap(functools.partial(_synthesise_clip, samples=format.samples))(inputs)


def _synthesise_clip(one: dict[str, jax.Array], samples: int) -> jax.Array:
    # Equation (3) in real arithmetic: Im(AB) = Re A Im B + Im A Re B.
    coarse, fine = one["coarse"], one["fine"]
    ring = jnp.einsum("vma,vmb->vab", coarse.real, fine.imag) + jnp.einsum(
        "vma,vmb->vab", coarse.imag, fine.real
    )
    voices = ring.reshape(MAX_VOICES, VOICE) * _FADE
    voices = voices.at[:, :CLICK].add(one["click"][:, None] * _CLICK_NOISE.astype(np.float32))

    def add(track: jax.Array, voice: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        start, wave = voice
        window = jax.lax.dynamic_slice(track, (start,), (VOICE,))
        return jax.lax.dynamic_update_slice(track, window + wave, (start,)), None

    track, _ = jax.lax.scan(add, jnp.zeros(samples + VOICE, jnp.float32), (one["start"], voices))
    return jnp.clip(track[:samples] + _ambience(one, samples) + one["beside"], -1.0, 1.0)


def _ambience(one: dict[str, jax.Array], samples: int) -> jax.Array:
    """Synthesises wind or hum, float32 [samples].

    Wind is low-passed noise that swells slowly. Hum is the mains frequency (50 Hz) and two
    harmonics.
    """
    key = jax.random.key(one["seed"])
    # bounds of sqrt(3) give the noise an rms of 1
    noise = jax.random.uniform(
        key, (samples + _WIND_TAPS - 1,), minval=-math.sqrt(3.0), maxval=math.sqrt(3.0)
    )
    breeze = jnp.convolve(noise, _WIND, mode="valid")
    cycles = np.arange(samples) / SAMPLE_RATE
    phase = jax.random.uniform(jax.random.fold_in(key, 1), (4,), maxval=2.0 * np.pi)
    wind = breeze * (
        0.75 + 0.35 * jnp.sin((2.0 * np.pi * 0.7 * cycles).astype(np.float32) + phase[0])
    )
    # sin(w t + p) from float64 tables of sin(w t) and cos(w t): a large float32 phase is inexact.
    turns = 2.0 * np.pi * np.array([50.0, 100.0, 150.0])[:, None] * cycles
    partials = np.array([1.0, 0.6, 0.4]) / math.sqrt(0.76)
    table = np.concatenate(
        [np.sin(turns) * partials[:, None], np.cos(turns) * partials[:, None]]
    ).astype(np.float32)
    hum = jnp.concatenate([jnp.cos(phase[1:]), jnp.sin(phase[1:])]) @ table
    return AMBIENCE_RMS * one["bed"] * (one["wind"] * wind + (1.0 - one["wind"]) * hum)
