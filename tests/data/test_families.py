"""Every family builds, and comes back bitwise as it was drawn."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sora_jax.data import playhouse_set, tfds_sets
from sora_jax.data.sources import PlayhouseSource
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import FAMILIES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "family, format",
    [
        ("court", "S"),
        ("film", "nano"),
        ("occlude", "nano"),
        ("talk", "S"),
        ("story", "story3"),
        ("phyworld_collision_30k", "phyworld"),
    ],
)
def test_takes_come_back_bitwise(tmp_path, family, format):
    directory = playhouse_set.build(
        tmp_path, playhouse_set.PlayhouseConfig(14, 2, format, family=family)
    )
    for split in FAMILIES[family].splits:
        takes = playhouse_set.open_takes(directory, split)
        assert len(takes) == (14 if split == "train" else 2)
        for i in range(len(takes)):
            a, b = takes[i], draw(split, i, family=family)
            assert (a.scene, a.facts, a.captions, a.intents, a.family) == (
                b.scene,
                b.facts,
                b.captions,
                b.intents,
                family,
            )
            assert (a.margin, a.margin_speed, a.hidden, a.trajectory.contacts) == (
                b.margin,
                b.margin_speed,
                b.hidden,
                b.trajectory.contacts,
            )
            for name in ("arcs", "turns", "shifts"):
                for x, y in zip(
                    getattr(a.trajectory, name), getattr(b.trajectory, name), strict=True
                ):
                    np.testing.assert_array_equal(x, y)


def test_every_family_has_a_configuration():
    configs = playhouse_set.family_configs()
    assert {c.family for c in configs} == set(FAMILIES) and len({c.name for c in configs}) == len(
        configs
    )
    assert {c.family: c.num_train for c in configs}["phyworld_uniform_300k"] == 300_000
    with pytest.raises(UserError, match="no family 'zoo'"):
        playhouse_set.PlayhouseConfig(family="zoo")
    with pytest.raises(UserError, match="no style 'anime' to choose"):
        playhouse_set.PlayhouseConfig(family="court", style="anime")


def test_a_style_can_be_asked_for(tmp_path):
    directory = playhouse_set.build(
        tmp_path, playhouse_set.PlayhouseConfig(3, 1, "nano", family="film", style="flat")
    )
    takes = playhouse_set.open_takes(directory, "train")
    assert [takes[i].scene for i in range(3)] == [
        draw("train", i, family="film", style="flat").scene for i in range(3)
    ]
    assert {takes[i].scene.style for i in range(3)} == {
        "flat"
    } and directory.parent.name == "film_flat_nano_3_1"
    record = tfds_sets.open_source(directory, "length", "playhouse")[0]
    # twice as long, less one frame
    assert record["views"].shape == (33, 3) and record["tracks"].shape[0] == 33
    with pytest.raises(UserError, match="no split 'combo'"):  # none of its pairs is flat
        playhouse_set.open_takes(directory, "combo")


@pytest.mark.parametrize(
    "command, reason",
    [
        (["experiments.build_data", "--family=zoo"], "no family 'zoo'; did you mean 'room'?"),
        (
            ["experiments.build_data", "--family=room", "--style=anime"],
            "no style 'anime' to choose",
        ),
        (
            ["experiments.precompute", "--family=film", "--split=gap", "--output=x"],
            "no split 'gap'; it has train, val",
        ),
    ],
)
def test_commands_say_what_is_wrong(command, reason):
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=ROOT,
    )
    assert done.returncode == 2 and reason in done.stderr + done.stdout


def test_a_record_of_an_older_set_is_refused():
    record = playhouse_set.to_record(draw("train", 2), FORMATS["nano"])
    assert playhouse_set.from_record(record).scene == draw("train", 2).scene
    for name in playhouse_set.NEWER:
        old = {k: v for k, v in record.items() if k != name}
        with pytest.raises(UserError, match=f"lack {name}; build it again"):
            playhouse_set.from_record(old)


def test_phyworld_is_silent_and_as_long_as_the_papers():
    batch = next(PlayhouseSource("val", FORMATS["phyworld"], 2, family="phyworld_parabola_30k")())
    assert batch["frames"].shape[1] == 32
    assert not batch["has_audio"].any() and not np.asarray(batch["samples"]).any()
    assert batch["keys"][0] == "phyworld_parabola_30k/val/0" and batch["captions"][0][0] == ""


@pytest.mark.parametrize(
    "family, count",
    [
        ("court", 12),
        ("film", 40),
        ("occlude", 30),
        ("talk", 30),
        ("story", 30),
        ("phyworld_uniform_30k", 2),
    ],
)
def test_prompts_fit_the_vocabulary_and_the_length_of_their_family(family, count):
    kind = FAMILIES[family]
    tokenizer = TextTokenizer(kind.words, length=kind.text_length)
    takes = [
        draw(split, i, family=family)
        for split in kind.splits
        if split in ("train", "paraphrase", "order")
        for i in range(count)
    ]
    for text in (text for take in takes for text in (*take.captions, *take.intents)):
        assert (
            not [word for word in tokenizer.unknown(text) if word[0].isalnum()]
            and len(tokenizer.split(text)) <= kind.text_length
        )


def test_a_look_without_a_tuple_in_a_small_split_is_drawn_again():
    # no scene, once: its fate had no colour, size and launch in val in its look
    assert draw("val", 50, family="occlude").facts.fate


def test_a_set_says_its_family():
    identity = PlayhouseSource("train", FORMATS["nano"], 2, family="film", style="anime").identity
    assert (identity["family"], identity["style"], identity["family_version"]) == (
        "film",
        "anime",
        FAMILIES["film"].version,
    )
    rooms = PlayhouseSource("train", FORMATS["nano"], 2).identity
    assert (rooms["family"], rooms["family_version"]) == ("room", FAMILIES["room"].version)


def test_what_a_family_cannot_give_is_said_at_once():
    with pytest.raises(UserError, match="30000 scenes in train"):
        PlayhouseSource("train", FORMATS["phyworld"], 40_000, family="phyworld_uniform_30k")
    with pytest.raises(UserError, match=r"played for 2\.125 s"):
        PlayhouseSource("train", FORMATS["phyworld"], 4, family="room")


def test_a_story_in_a_format_of_other_shots_is_refused_at_once():
    with pytest.raises(UserError, match=r"has 3 shots, and the format has 1, .* choose story3"):
        PlayhouseSource("val", FORMATS["nano"], 4, family="story")
    PlayhouseSource("val", FORMATS["story3"], 4, family="story")
