"""Mixtures take turns by weight, and go on where a checkpoint left them."""

import itertools
import json

import grain
import pytest

from sora_jax.data.mixture import mix, part


def numbers(name):
    return grain.MapDataset.range(7).map(lambda i: (name, int(i))).repeat()


@pytest.fixture
def sets():
    return {name: numbers(name) for name in ("room", "talk", "story")}


WEIGHTS = {"room": 1.0, "talk": 3.0, "story": 2.5}


def test_shares_are_the_weights_after_any_number_of_batches(sets):
    given = dict.fromkeys(WEIGHTS, 0)
    for n, batch in enumerate(itertools.islice(mix(sets, WEIGHTS), 400), 1):
        name, inner = part(batch)
        assert inner[0] == name and inner[1] == given[name] % 7  # each set in its own order
        given[name] += 1
        for one, weight in WEIGHTS.items():
            assert abs(given[one] - n * weight / 6.5) < 2


def test_a_mixture_goes_on_where_it_was(sets):
    stream = mix(sets, WEIGHTS)
    first = list(itertools.islice(stream, 11))
    state = json.loads(json.dumps(stream.get_state()))
    following = list(itertools.islice(stream, 9))
    again = mix(sets, WEIGHTS)
    again.set_state(state)
    assert list(itertools.islice(again, 9)) == following != first[:9]


def test_one_set_is_itself(sets):
    stream = mix({"talk": sets["talk"]}, {"talk": 2.0})
    assert [part(batch)[1][1] for batch in itertools.islice(stream, 9)] == [*range(7), 0, 1]
