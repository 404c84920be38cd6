"""Prompts as arrays: each word of a storyboard belongs to its shot."""

import numpy as np

from sora_jax.data.prompts import encode_prompts
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.storyboard_reader import shot_starts

CARDS = (
    "[STYLE anime | AMBIENCE rain | CAST @mika, @rolo] "
    '[SHOT 1 | 2 s | wide | static | room a] @mika says "two". '
    '[SHOT 2 | 2 s | close-up on @rolo | static | room a] @rolo says "five".'
)
TOKENIZER = TextTokenizer(FAMILIES["story"].words, length=192)


def test_cards():
    words = encode_prompts(TOKENIZER, [CARDS, "a red ball", CARDS.replace("wide", "wild"), ""])
    split = TOKENIZER.split(CARDS)
    shots = words["shots"][0, : len(split)]
    first, second = split.index("1") - 2, split.index("2", split.index("says")) - 2
    np.testing.assert_array_equal(shots[:first], 0)
    np.testing.assert_array_equal(shots[first:second], 1)
    np.testing.assert_array_equal(shots[second:], 2)
    assert split[first : first + 3] == ["[", "shot", "1"] and shots[split.index("five")] == 2
    assert not words["shots"][0, len(split) :].any() and not words["shots"][1:].any()
    assert words["tokens"].shape == words["mask"].shape == words["shots"].shape == (4, 192)


def test_both_forms_of_drawn_stories():
    for index in range(20):
        take = draw("train", index, family="story")
        for text in take.captions:
            starts = shot_starts(text)
            assert len(starts) == len(take.facts.board.shots)
            shots = encode_prompts(TOKENIZER, [text])["shots"][0]
            used = shots[: len(TOKENIZER.split(text))]
            assert set(used) == {0, 1, 2, 3} and (np.diff(used) >= 0).all()
            # the lines of a shot are words of that shot
            for number, shot in enumerate(take.facts.board.shots, 1):
                said = [word for act in shot.acts for word in act.words]
                split = np.array(TOKENIZER.split(text))[: len(used)]
                assert all(number in used[split == word] for word in said)


def test_a_name_is_a_name_behind_its_sign():
    texts = ["mika waits for @rolo and @mika's friend @rolos, says @mika", "@rolo @"]
    words = encode_prompts(TOKENIZER, texts, [("rolo", "mika"), ("rolo",)])
    split = TOKENIZER.split(texts[0])
    slots = words["slots"][0, : len(split)]
    named = [(word, int(slot)) for word, slot in zip(split, slots, strict=True) if slot]
    assert named == [("rolo", 1), ("mika's", 2), ("mika", 2)] and slots[0] == 0
    assert words["slots"][1].nonzero()[0].tolist() == [1]
