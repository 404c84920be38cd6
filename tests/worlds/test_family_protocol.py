"""What every family has, and what one that a user adds gets without asking."""

import dataclasses
import itertools
import zlib

import pytest

from sora_jax.errors import UserError
from sora_jax.registry import Registry
from sora_jax.worlds.playhouse.captions import CaptionError
from sora_jax.worlds.playhouse.draw import SPLITS, draw
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.base import FIRST_KEYS, Family, Line
from sora_jax.worlds.playhouse.families.room import Room


class Hall(Room):
    name = "hall"


def test_a_family_of_ones_own_draws_scenes_of_its_own():
    """Its key is above those of ours, whatever its name; a subclass does not inherit a key."""
    ours = [part for family in FAMILIES.values() for part in family.random_key]
    assert FAMILIES["room"].random_key == () and FIRST_KEYS.keys() <= FAMILIES.keys()
    assert max(ours) < Hall().random_key[0] == 2**32 + zlib.crc32(b"hall")


def test_random_keys_are_apart():
    """But for the two sizes of a task of PhyWorld, which share `val` and more."""
    for a, b in itertools.combinations(FAMILIES.values(), 2):
        shared = a.name[:-3].startswith("phyworld") and getattr(a, "task", 0) == getattr(
            b, "task", 1
        )
        assert (a.random_key == b.random_key) == shared, (a.name, b.name)


def test_what_is_missing_is_an_error():
    class Bare(Family):
        name, facts_type, words = "bare", dict, ()

    with pytest.raises((TypeError, UserError), match=r"draw_facts.*draw_scene|abstract"):
        Registry("family", Family).register(Bare)
    with pytest.raises(UserError, match="registered twice"):
        FAMILIES.register(Room())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_reads_back_what_it_says(name):
    family = FAMILIES[name]
    assert set(family.splits) <= set(SPLITS) and family.formats and family.version >= 1
    take = draw("val", 1, family=name)
    if not take.captions[0]:
        with pytest.raises(CaptionError, match="no captions"):
            family.parse(take.captions[0])
        assert all(line.met is None and line.reason for line in family.judge(take.facts, None))
        return
    for text in (*take.captions, *take.intents):
        assert isinstance(family.parse(text), family.facts_type)
    assert bool(take.intents) == (family.intent(take.facts, 0) is not None)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.words])
def test_no_other_family_reads_its_captions(name):
    """But for families of one kind, such as stories of one and of three shots."""
    take = draw("val", 3, family=name)
    for other in FAMILIES.values():
        if type(other) is not type(FAMILIES[name]):
            with pytest.raises(CaptionError):
                other.parse(take.captions[0])


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(UserError, match="no family 'cuort'; did you mean 'court'"):
        draw("val", 0, family="cuort")


def test_a_style_that_a_split_lacks_is_refused():
    with pytest.raises(UserError, match="combo of film has no clips in style 'flat'; it has real"):
        draw("combo", 0, family="film", style="flat")
    assert FAMILIES["film"].styles_of("val") == FAMILIES["film"].styles
    with pytest.raises(UserError, match="use film or occlude"):
        draw("val", 0, family="court", style="flat")


def test_a_line_says_what_it_compares():
    assert Line.compare("red", "size", "small", "small", "why").reason is None
    assert Line.compare("red", "size", "small", None, "why") == Line(
        "red", "size", "small", None, False, "why"
    )
    unread = Line.unread(None, "voice", "red", "no sound")
    assert unread.met is None and dataclasses.asdict(unread)["reason"] == "no sound"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cast_and_the_balls_of_a_scene_fit_their_family(name):
    """Arrays of a batch, and the references of a set, have as many places."""
    family = FAMILIES[name]
    scenes = [draw("train", i, family=name).scene for i in range(12)]
    assert max(len(scene.cast) for scene in scenes) == family.max_cast
    assert max(len(scene.balls) for scene in scenes) <= family.max_balls
