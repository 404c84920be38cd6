"""Who may show a character, and in which clips."""

import dataclasses
import json

import numpy as np
import pytest

from sora_jax.characters.gate import Gate, shows
from sora_jax.characters.records import Character, Records, fingerprint
from sora_jax.characters.restrictions import Restriction, board_of
from sora_jax.characters.verifier import Identity
from sora_jax.errors import UserError
from sora_jax.worlds.playhouse import cast
from sora_jax.worlds.playhouse.families.talk_captions import TalkFacts, caption
from sora_jax.worlds.playhouse.references import references
from sora_jax.worlds.playhouse.storyboard import Act, Shot, Storyboard
from sora_jax.worlds.playhouse.storyboard_text import write


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a gate asks of a likeness."""

    fingerprint: str = ""
    character: cast.Character | None = None


def record(folder, handle="mika", **fields):
    """A record of ann, with references of its own; returns its likeness."""
    stills, samples = np.full((4, 8, 8, 3), 0.1 + 0.1 * len(handle)), np.zeros(8)
    shown = Shown(fingerprint(stills, samples))
    identity = Identity((0.0,) * 20, 120.0, 1.0)
    Records(folder).add(
        Character(handle, "ann", shown.fingerprint, identity, **fields), stills, samples
    )
    return shown


def asked(folder, account, shown, prompt="@mika waits", accounts=None, **others):
    Gate(account, Records(folder), accounts).check(prompt, {"mika": shown, **others})


def refused(folder, account, shown, words, *rest, **fields):
    with pytest.raises(UserError, match=words) as told:
        asked(folder, account, shown, *rest, **fields)
    assert (told.value.field, told.value.code) == ("characters", "forbidden")
    assert "\n" not in str(told.value)


def test_the_cast_of_the_world_carries_a_standing_grant():
    for part in ("train", "held_out"):
        for kind in cast.KINDS:
            Gate().check("@mika waits", {"mika": Shown(character=cast.catalogue(part, kind)[1])})
    one = cast.catalogue()[0]
    drawn = dataclasses.replace(one, skin="mint" if one.skin != "mint" else "sky")
    for nobody in (Shown(character=drawn), Shown("0123")):
        with pytest.raises(UserError, match="no consent to this likeness is recorded"):
            Gate().check("@mika waits", {"mika": nobody})


def test_grants(tmp_path):
    shown = record(tmp_path)
    records = Records(tmp_path)
    asked(tmp_path, "ann", shown)
    refused(tmp_path, "bob", shown, "@mika: @mika is not granted to you; ask its owner")
    records.set_grant("mika", "ann", "accounts", ["bob"])
    asked(tmp_path, "bob", shown)
    refused(tmp_path, "eve", shown, "not granted")
    records.set_grant("mika", "ann", "mutuals")
    refused(tmp_path, "bob", shown, "not granted", accounts={"bob": ["ann"]})
    refused(tmp_path, "bob", shown, "not granted", accounts={"ann": ["bob"]})
    asked(tmp_path, "bob", shown, accounts={"ann": ["bob"], "bob": ["ann"]})
    records.set_grant("mika", "ann", "everyone")
    asked(tmp_path, "eve", shown)
    records.revoke("mika", "ann")
    for account in ("ann", "bob"):
        refused(tmp_path, account, shown, "its owner took @mika back")


def test_only_the_owner_changes_a_record(tmp_path):
    record(tmp_path)
    records = Records(tmp_path)
    for change in (
        lambda: records.set_grant("mika", "bob", "everyone"),
        lambda: records.restrict("mika", "bob", []),
        lambda: records.revoke("mika", "bob"),
    ):
        with pytest.raises(UserError, match="belongs to another account") as told:
            change()
        assert told.value.code == "forbidden"
    with pytest.raises(UserError, match="give nobody, accounts, mutuals, everyone"):
        records.set_grant("mika", "ann", "all")
    with pytest.raises(UserError, match="no character @x is recorded"):
        records.revoke("x", "ann")
    with pytest.raises(UserError, match="is recorded already"):
        record(tmp_path)
    with pytest.raises(UserError, match="give 2 to 32 letters"):
        record(tmp_path, "../x")
    assert records.get("mika").grant == "nobody" and not records.get("mika").revoked


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    record(tmp_path, restrictions=("no throw", "be kind"), grant="accounts", accounts=("bob",))
    one = Records(tmp_path).get("mika")
    assert json.loads((tmp_path / "mika.json").read_text()) == json.loads(json.dumps(one.to_dict()))
    assert [str(rule) for rule in one.rules] == ["no throw", "be kind (not enforced)"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mika.json", "mika.npz"]


@pytest.mark.parametrize(
    ("text", "prompt", "kept"),
    [
        ("no anime", "TALK", False),
        ("No  Anime.", "TALK", False),
        ("no realistic", "TALK", True),
        ("only realistic", "TALK", False),
        ("only anime", "TALK", True),
        ("never says stop", "TALK", False),
        ("never says red", "TALK", True),
        ("no throw", "TALK", True),
        ("no throw", "STORY", False),
        ("no walk", "STORY", True),
        ("no room a", "STORY", False),
        ("no room b", "STORY", True),
        ("only room b", "STORY", False),
        ("only room a", "STORY", True),
        ("no say", "STORY", False),
        ("never says stop", "STORY", True),
        ("not with @rolo", "STORY", False),
        ("not with @odo", "STORY", True),
    ],
)
def test_restrictions(tmp_path, text, prompt, kept):
    prompt = captions()[prompt]
    shown = record(tmp_path, restrictions=(text,))
    others = {"rolo": Shown(character=cast.catalogue()[1])} if "@rolo" in prompt else {}
    if kept:
        asked(tmp_path, "ann", shown, prompt, **others)
    else:
        refused(tmp_path, "ann", shown, f"its owner says '{text}'", prompt, **others)


def captions():
    talk = caption(TalkFacts("anime", "wind", "close-up", ("mika",), ((0, ("two", "stop")),)))
    acts = (Act("@mika", "throw", "@rolo", "caught"), Act("@mika", "say", words=("two",)))
    shots = (Shot("room a", acts=acts[:1]), Shot("room a", "close-up", "@mika", acts=acts[1:]))
    board = Storyboard("flat", "wind", ("@mika", "@rolo"), shots, ball="red")
    return {"TALK": talk, "STORY": write(board, cards=True)}


def test_a_restriction_of_other_words_is_shown_as_not_enforced(tmp_path):
    for text in ("no weapons", "not with friends", "only on Sundays", "never says please", ""):
        rule = Restriction.of(text)
        assert not rule.enforced and str(rule) == f"{text} (not enforced)"
    shown = record(tmp_path, restrictions=("no weapons",))
    asked(tmp_path, "ann", shown, "any text with @mika")


def test_a_prompt_that_is_no_storyboard_cannot_be_checked(tmp_path):
    shown = record(tmp_path, restrictions=("no throw",))
    refused(tmp_path, "ann", shown, "is no storyboard, so 'no throw' cannot", "@mika waits")
    assert board_of("@mika waits") is None


def test_a_recorded_co_star_is_known_by_its_handle(tmp_path):
    """Whatever the prompt calls it."""
    shown = record(tmp_path, restrictions=("not with @zed",))
    zed = record(tmp_path, "zed")
    refused(tmp_path, "ann", shown, "'not with @zed'", captions()["STORY"], rolo=zed)
    asked(tmp_path, "ann", shown, captions()["STORY"], rolo=record(tmp_path, "bodo"))


def test_references_of_the_cast_are_known_by_what_they_show():
    one = cast.catalogue()[5]
    other = next(who for who in cast.catalogue() if cast.distinct(who.voice, one.voice))
    own, theirs = references(one, 3), references(other, 4)
    assert shows(one, own.stills, own.samples) and shows(one, own.stills, None)
    animal = cast.catalogue("train", "animal")[2]
    for who in (one, animal):
        assert shows(who, references(who, 6, "cinematic").stills, None)
    assert not shows(animal, own.stills, None) and not shows(animal, own.stills, own.samples)
    assert not shows(one, theirs.stills, own.samples)
    assert not shows(one, own.stills, theirs.samples)
    drawn = dataclasses.replace(one, freckles=not one.freckles)
    assert not shows(drawn, own.stills, None)
