"""Attacks on the verification of a capture: each returns (clip, words, stills, samples)."""

import dataclasses

import numpy as np

from sora_jax.characters.capture import FORMAT
from sora_jax.clip import Clip
from sora_jax.oracles.corruptions import shifted
from sora_jax.oracles.examples import render_takes
from sora_jax.worlds.playhouse import sound
from sora_jax.worlds.playhouse.voice import WORDS


def said(actor):
    return tuple(word for _, word in actor.take.scene.cast[0].speech)


def genuine(actor, other):
    return actor.clip, said(actor), actor.references.stills, actor.references.samples


def changed(actor, **fields):
    """The take of an actor with other fields of its character."""
    (one,) = actor.take.scene.cast
    one = dataclasses.replace(one, character=dataclasses.replace(one.character, **fields))
    scene = dataclasses.replace(actor.take.scene, cast=(one,))
    return dataclasses.replace(actor.take, scene=scene)


def with_media(actor, frames=None, samples=None):
    clip = actor.clip
    frames = clip.frames if frames is None else frames
    samples = clip.samples if samples is None else samples
    return Clip(frames, samples, clip.fps), *genuine(actor, None)[1:]


def wrong_words(actor, other):
    clip, words, *references = genuine(actor, other)
    wrong = next(word for word in WORDS if word not in words)
    return clip, (*words[:2], wrong), *references


def spoken_by(actor, other):
    take = changed(actor, voice=other.character.voice)
    return np.asarray(sound.synthesise(sound.sound_inputs([take], FORMAT), FORMAT))[0]


def other_voice_from_the_second_word_on(actor, other):
    cut = round(16_000 * (actor.take.scene.cast[0].speech[1][0] - 0.06))
    parts = actor.clip.samples[:cut], spoken_by(actor, other)[cut:]
    return with_media(actor, samples=np.concatenate(parts))


def other_voice(actor, other):
    return with_media(actor, samples=spoken_by(actor, other))


def other_face_in_the_middle(actor, other):
    looks = dataclasses.replace(other.character, voice=actor.character.voice)
    (clip,) = render_takes([changed(actor, **vars(looks))], FORMAT, 1)
    frames = np.concatenate([actor.clip.frames[:40], clip.frames[40:]])
    return with_media(actor, frames=frames)


def stills_of_another(actor, other):
    clip, words, _, samples = genuine(actor, other)
    return clip, words, other.references.stills, samples


def still_picture(actor, other):
    return with_media(actor, frames=actor.clip.frames[:1].repeat(FORMAT.frames, 0))


def noisy_picture(actor, other):
    still = actor.clip.frames[:1].repeat(FORMAT.frames, 0)
    noise = np.random.default_rng(0).normal(scale=5 / 255, size=still.shape)
    return with_media(actor, frames=np.clip(still + noise, 0.0, 1.0).astype(np.float32))


def no_sound(actor, other):
    return with_media(actor, samples=np.zeros_like(actor.clip.samples))


def shifted_lips(actor, other):
    return with_media(actor, samples=shifted(actor.clip.samples, 0.12))


# attack -> what the refusal says
ATTACKS = {
    wrong_words: "is heard",
    other_voice_from_the_second_word_on: "voice changes|is heard",
    other_voice: "sample of the voice",
    other_face_in_the_middle: "face changes|faces are seen",
    stills_of_another: "stills show somebody else",
    still_picture: "head does not move",
    noisy_picture: "head does not move",
    no_sound: "no voice is heard",
    shifted_lips: "mouth does not follow",
}
