"""Words that the shipped model never learned: the nearest known word, and a refusal where there is
no known word at all.
"""

import pytest

from sora_jax.errors import UserError
from sora_jax.pipelines.load import load_pipeline
from sora_jax.pipelines.notes import check_words
from sora_jax.pipelines.request import Request


@pytest.fixture(scope="module")
def nano():
    return load_pipeline()


@pytest.mark.parametrize(
    "prompt, words",
    [
        ("a lrage red ball", "lrage (did you mean large?)"),
        ("a rde ball bouces twise", "rde (did you mean red?), bouces (did you mean bounces?), "),
        ("a zebra", "never learned: zebra"),
        ("a " + "q" * 300, "never learned: " + "q" * 20 + "..."),
    ],
)
def test_a_misspelt_word_gets_the_nearest(nano, prompt, words):
    (note,) = nano.notes(Request(prompt))
    assert note.startswith("the prompt has words outside the vocabulary") and words in note
    (note,) = nano.notes(Request("a ball", negative_prompt=prompt))
    assert note.startswith("the negative prompt has words") and words in note


@pytest.mark.parametrize(
    "prompt", ["zebra", "my cat jumps", "???", "чёрный кот", "\U0001f600", "."]
)
def test_a_prompt_without_a_known_word_is_refused(nano, prompt):
    with pytest.raises(UserError, match="the model learned no word of the prompt") as refusal:
        nano(prompt, progress=False)
    assert refusal.value.field == "prompt" and str(refusal.value).endswith(", or set any_words")
    assert "any_words" not in refusal.value.message  # which a server shows, and has no such field
    nano.check(Request(prompt, any_words=True))


def test_what_passes(nano):
    for prompt in ("a zebra", "BALL", "a" * 300, None):
        nano.check(Request(prompt, unconditional=prompt is None))
    # A model of a user's videos learned the words of their captions, as hashes.
    for trained_on in ({}, {"source": "video_folder"}):
        check_words(Request("my cat jumps"), nano.text_tokenizer, trained_on)


@pytest.mark.slow
def test_any_words_makes_a_clip(nano):
    clip = nano("zebra", any_words=True, steps=1, progress=False)
    assert "outside the vocabulary, which the model never learned: zebra" in clip.notes[0]


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
def test_text_that_is_not_unicode_is_refused(nano, name):
    """An argument in another encoding than the terminal's arrives as surrogates."""
    texts = {"prompt": "a ball"} | {name: "a caf\udce9 ball"}
    with pytest.raises(UserError, match=f"{name} is not Unicode text"):
        nano.check(Request(**texts))
