"""Family `talk`: captions read back, splits, the schedule, and the picture shows the mouths."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from sora_jax.modality import FORMATS
from sora_jax.worlds.playhouse import acting, cast, sound, voice
from sora_jax.worlds.playhouse.camera import project, views
from sora_jax.worlds.playhouse.captions import CaptionError
from sora_jax.worlds.playhouse.draw import draw, in_style
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.talk import PAUSE, characters
from sora_jax.worlds.playhouse.families.talk_captions import parse
from sora_jax.worlds.playhouse.render.characters import MOUTH
from sora_jax.worlds.playhouse.spec import FILM_STYLES, Scene
from sora_jax.worlds.playhouse.takes import render_batch

S, TALK = FORMATS["S"], FAMILIES["talk"]


@pytest.fixture(scope="module")
def takes():
    return {split: [draw(split, i, family="talk") for i in range(60)] for split in TALK.splits}


def test_captions_read_back(takes):
    """2,400 captions, held-out phrases included."""
    seen = set()
    for take in (take for some in takes.values() for take in some):
        for text in take.captions:
            assert TALK.parse(text) == take.facts.stated(), text
            seen.add(text)
        # all held-out phrases together make one caption
        assert len(set(take.captions)) >= (1 if take.split == "paraphrase" else 5)
    assert len(seen) > 1_500


@pytest.mark.parametrize(
    "text, column, expected",
    [
        ("oil, it rains, here is @mika: @mika says two", 1, "a style"),
        ("anime, it snows, here is @mika: @mika says two", 11, "an ambience"),
        ("anime, it rains, here is @mike: @mike says two", 26, "a name"),
        ("anime, it rains, below is @mika: @mika says two", 18, "a shot"),
        ("anime, it rains, here is @mika: @rolo says two", 33, "@mika"),
        ("anime, it rains, here is @mika: @mika sings two", 39, "a verb"),
        ("anime, it rains, here is @mika: @mika says seven", 44, "a word to say"),
        ("anime, it rains, here is @mika", 31, "@mika"),
        ("anime, it rains, here is @mika: @mika says two, @mika answers two", 49, "the end"),
        (
            "anime, it rains, here is @mika: @mika says two two two two two",
            60,
            "the end of the line",
        ),
    ],
)
def test_an_error_says_where_and_what(text, column, expected):
    with pytest.raises(CaptionError, match=expected) as raised:
        parse(text)
    assert raised.value.column == column


def test_splits_are_disjoint(takes):
    keys = {
        split: {t.facts.key() for t in takes[split]} for split in ("train", "val", "paraphrase")
    }
    assert not keys["train"] & keys["val"] and not keys["train"] & keys["paraphrase"]
    train = set(cast.catalogue("train"))
    voices = {c.voice for c in train}
    for split, some in takes.items():
        who = [a.character for take in some for a in take.scene.cast]
        assert {c.held_out for c in who} == {split == "identity"}, split
        assert {c.voice in voices for c in who} == {split not in ("speakers", "identity")}, split
        assert all(TALK.split_of(take.facts) == split for take in some)


def test_scenes_are_what_the_facts_say(takes):
    for take in (take for some in takes.values() for take in some):
        facts, scene = take.facts, take.scene
        assert tuple(a.name for a in scene.cast) == facts.names
        assert tuple(a.character for a in scene.cast) == characters(facts)
        said = sorted(
            (start, word, i) for i, a in enumerate(scene.cast) for start, word in a.speech
        )
        assert tuple(word for _, word, _ in said) == facts.words
        assert [i for i, words in facts.lines for _ in words] == [i for _, _, i in said]
        ends = [t + voice.duration(w, scene.cast[i].character.voice) for t, w, i in said]
        assert ends[-1] <= S.seconds - 0.05
        assert all(b[0] - end >= PAUSE - 1e-9 for end, b in zip(ends, said[1:], strict=False))
        if len(scene.cast) == 2:
            assert cast.distinct(*(a.character.voice for a in scene.cast))
            assert scene.cast[0].x < scene.cast[1].x
        assert Scene.from_json(scene.to_json()) == scene
        assert type(facts).from_dict(facts.to_dict()) == facts


def test_heads_are_large_enough(takes):
    least = {"medium": 20.0, "close-up": 30.0}
    for take in takes["train"]:
        scale = S.size / take.scene.view[0][3]
        for actor in take.scene.cast:
            a, b, _ = cast.HEADS[actor.character.head]
            assert 2.0 * min(a, b) * scale >= least[take.facts.shot]
    assert 2.0 * MOUTH * S.size / 2.35 >= 4.0


def mouth_box(take, i, size):
    """Returns rows and columns around the mouth of an actor, in every frame."""
    actor, times = take.scene.cast[i], S.frame_times()
    pose = acting.pose(actor, times)
    a, b, _ = cast.HEADS[actor.character.head]
    centre = pose["ground"] + pose["head"] + [0.0, -0.60 * b]
    centre[:, 0] += a * np.sin(pose["turn"])
    pixels = project(views(take.scene, times), centre, size)
    return pixels, size / take.scene.view[0][3]


def red(frame):
    """Returns the pixels of the inside of a mouth: dark red, whatever the style."""
    r, g, b = np.moveaxis(frame, -1, 0)
    return (r > 0.18) & (r < 0.62) & (g < 0.33 * r) & (b < 0.42 * r)


@pytest.mark.slow
def test_the_picture_shows_the_mouths_in_every_style():
    """The dark red area follows openness times width, equally in all styles, and an open mouth is
    at least 4 pixels high.
    """
    takes = [draw("train", i, family="talk") for i in range(6)]
    areas, heights = {}, []
    for style in FILM_STYLES:
        same = [in_style(take, style) for take in takes]
        assert all(a.scene.cast == b.scene.cast for a, b in zip(same, takes, strict=True))
        frames = np.asarray(render_batch(same, S)["frames"])
        rows = []
        for take, clip in zip(same, frames, strict=True):
            for i, actor in enumerate(take.scene.cast):
                pixels, scale = mouth_box(take, i, S.size)
                shape = acting.mouth(actor, S.frame_times())
                for f, (column, row) in enumerate(pixels):
                    reach = int(0.24 * scale)
                    c, r = round(column), round(row)
                    part = clip[f, max(r - reach, 0) : r + reach, max(c - reach, 0) : c + reach]
                    if shape[f, 0] == 0.0 or shape[f, 0] > 0.6:
                        rows.append((shape[f, 0] > 0.6, red(part).sum() / scale**2))
                    if shape[f, 0] > 0.95:
                        heights.append(red(part).sum(0).max())
        areas[style] = np.array(rows)
    for style, rows in areas.items():
        is_open, area = rows[:, 0] > 0, rows[:, 1]
        assert np.quantile(area[~is_open], 0.95) < 0.004, style
        assert np.quantile(area[is_open], 0.05) > 0.008, style
    assert len(heights) >= 8 and np.quantile(heights, 0.1) >= 4


def test_the_sound_is_the_words_of_the_actors():
    take = draw("train", 3, family="talk")
    silent = tuple(dataclasses.replace(a, speech=()) for a in take.scene.cast)
    mute = dataclasses.replace(take, scene=dataclasses.replace(take.scene, cast=silent))
    spoken = sound.beside(take, S.samples) - sound.beside(mute, S.samples)
    for actor in take.scene.cast:
        for start, word in actor.speech:
            first = round(start * 16_000)
            wave = voice.speak(word, actor.character.voice)
            np.testing.assert_allclose(
                spoken[first : first + len(wave)],
                sound.SPEECH_RMS / voice.NOMINAL * wave,
                atol=1e-9,
            )
            spoken[first : first + len(wave)] = 0.0
    assert np.abs(spoken).max() < 1e-9


def test_scenes_without_a_cast_keep_their_json():
    assert "cast" not in draw("train", 3).scene.to_json()


class Heard:
    """A reading of a clip that shows and says what the take does."""

    audio_fault = lips_fault = None

    def __init__(self, take):
        self.words, self.faces = list(take.facts.words), list(take.facts.names)
        self.ambience = take.facts.ambience
        self.lips = SimpleNamespace(follow=True, offset=0.0, correlation=0.9)
        turns = [SimpleNamespace(face=speaker) for speaker, _ in take.facts.lines]
        self.speakers = SimpleNamespace(turns=turns)


def judged(take, heard):
    return {line.fact: line.met for line in TALK.judge(take.facts, heard)}


def test_the_judge_compares_words_ambience_lips_and_speakers():
    take = next(t for i in range(20) if len((t := draw("val", i, family="talk")).facts.names) == 2)
    met = judged(take, Heard(take))
    read = {"words", "ambience", "lips", "speakers"}
    assert {fact for fact, one in met.items() if one} == read
    assert {one for fact, one in met.items() if fact not in read} == {None}
    for change, fact in (
        (lambda heard: heard.words.append("stop"), "words"),
        (lambda heard: setattr(heard, "ambience", None), "ambience"),
        (lambda heard: setattr(heard.lips, "follow", False), "lips"),
        (lambda heard: setattr(heard, "lips", None), "lips"),
        (lambda heard: heard.faces.pop(), "speakers"),
        (lambda heard: setattr(heard.speakers.turns[0], "face", None), "speakers"),
        (lambda heard: heard.speakers.turns.pop(), "speakers"),
    ):
        heard = Heard(take)
        change(heard)
        wrong = {name for name, one in judged(take, heard).items() if one is False}
        assert wrong == {fact}


def test_what_the_judge_cannot_read_is_unread():
    take = draw("val", 0, family="talk")
    heard = Heard(take)
    heard.lips_fault = "too few frames"
    assert judged(take, heard)["lips"] is None and judged(take, heard)["speakers"]
    heard.audio_fault = "no sound"
    assert set(judged(take, heard).values()) == {None}


@pytest.mark.slow
def test_the_oracle_hears_most_of_the_words():
    from sora_jax.clip import Clip
    from sora_jax.oracles.reading import Reading

    takes = [draw("identity", i, family="talk") for i in range(12)]
    batch = render_batch(takes, S)
    frames, samples = np.asarray(batch["frames"]), np.asarray(batch["samples"])
    right = [
        Reading(Clip(f, s, S.fps)).words == list(take.facts.words)
        for f, s, take in zip(frames, samples, takes, strict=True)
    ]
    assert sum(right) >= 9
