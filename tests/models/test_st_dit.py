"""STDiT: information crosses where it must and nowhere else, and the contract of its inputs holds.

A new model is the identity with a zero head, so the tests first move every parameter off its start
("open").
"""

import dataclasses
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sora_jax.models.blocks import Exchange
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.models.tokens import from_patches, of_shot, on_clock, patches, place_features
from sora_jax.nn.attention import attend, over_frames
from sora_jax.nn.norm import rms_norm
from sora_jax.nn.rope import SECONDS, angles
from sora_jax.tree import flatten

TINY = STDiTConfig(
    video_channels=3,
    audio_channels=5,
    depth=2,
    width=16,
    heads=2,
    mlp_ratio=2.0,
    audio_width=16,
    audio_heads=2,
    exchange_width=16,
    exchange_heads=2,
    frame_tokens=2,
    text_width=16,
    text_heads=2,
    text_layers=1,
    vocabulary=32,
    window=(2, 1, 1),
)
B, T, H, W, N, L = 2, 5, 4, 6, 7, 4
GRID = (T, H // 2, W // 2)


@functools.cache
def shaped(config):
    """A model without values, as (graphdef, state of shapes)."""
    return nnx.split(nnx.eval_shape(lambda: STDiT(config, nnx.Rngs(0))))


def opened(config, seed=0):
    """A model whose every parameter is off its start, as (graphdef, state)."""
    graphdef, state = shaped(config)
    rng = np.random.default_rng(seed)
    values = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape) * (x.shape[-2:][0] ** -0.5), x.dtype), state
    )
    return graphdef, values


def inputs(seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    latents = {
        "video": jax.random.normal(keys[0], (B, T, H, W, 3)),
        "audio": jax.random.normal(keys[1], (B, N, 5)),
    }
    levels = {
        "video": jax.random.uniform(keys[2], (B, T)),
        "audio": jax.random.uniform(keys[3], (B, N)),
    }
    text = {
        "tokens": jnp.array([[1, 2, 3, 0], [4, 5, 0, 0]]),
        "mask": jnp.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool),
    }
    times = {"video": jnp.linspace(0.05, 2.0, T), "audio": jnp.linspace(0.02, 2.1, N)}
    return latents, levels, text, times


def changes(model, edit, couple=1.0):
    """How much each output moves when `edit` changes the inputs: {"video": [B, T, rows, columns]
    tokens, "audio": [B, N]}.
    """
    before, after = model(*inputs(), couple), model(*edit(*inputs()), couple)
    v = (
        np.abs(np.asarray(before["video"] - after["video"]))
        .reshape(B, T, GRID[1], 2, GRID[2], 2, -1)
        .max((3, 5, 6))
    )
    return {"video": v, "audio": np.abs(np.asarray(before["audio"] - after["audio"])).max(-1)}


def move(modality, *index):
    def edit(latents, levels, text, times):
        return {**latents, modality: latents[modality].at[index].add(1.0)}, levels, text, times

    return edit


def only(moved, place):
    """Moved at `place` (an index or a mask) and exactly still elsewhere."""
    inside = np.zeros(moved.shape, bool)
    inside[place] = True
    return bool((moved[inside] > 1e-6).all() and (moved[~inside] == 0).all())


def silence(state, *blocks):
    """Cut the self-attention of "space" or "time" blocks."""
    for block in blocks:
        kernel = state["pairs"][block]["attention"]["out"]["kernel"]
        kernel[...] = jnp.zeros_like(kernel[...])
    return state


@functools.cache
def bound(config, *cut):
    graphdef, state = opened(config)
    return jax.jit(nnx.merge(graphdef, silence(state, *cut)).__call__)


# The token at frame 1, row 0, column 2 is moved; with both attentions of a pair cut in turn, what
# is left shows its pattern.
MOVED = move("video", 0, 1, 0, 4)
EVERY = np.s_[0]
FRAME = np.s_[0, 1]
SITE = np.s_[0, :, 0, 2]


@pytest.mark.parametrize(
    "variant,cut,reach",
    [
        ("pure", ("space", "time"), np.s_[0, 1, 0, 2]),
        ("pure", ("time",), FRAME),
        ("pure", ("space",), SITE),
        ("pure", (), EVERY),
        ("window", ("time",), FRAME),
        ("window", ("space",), np.s_[0, 0:3, 0, 2]),  # frames 0-1, then, shifted, frame 2
        ("matrix", ("time",), FRAME),
        ("matrix", ("space",), EVERY),
        ("full", ("time",), EVERY),
        ("full", ("space",), EVERY),
    ],
)
def test_variants_reach(variant, cut, reach):
    model = bound(dataclasses.replace(TINY, attention=variant), *cut)
    moved = changes(model, MOVED, couple=0.0)
    assert only(moved["video"], reach)
    assert (moved["audio"] == 0).all()


@pytest.mark.parametrize("every, reach", [(1, SITE), (2, EVERY), (3, FRAME)])
def test_interleaved_time(every, reach):
    """Of two pairs all, the second or none attends along time; the others within the frame."""
    config = dataclasses.replace(TINY, attention="interleaved", time_every=every)
    assert only(changes(bound(config, "space"), MOVED, 0.0)["video"], reach)


def test_frames_attend_as_wholes():
    """All sites of a frame share the weights, which are those of `attend` on whole frames."""
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, v = (jax.random.normal(key, (2, 3, 4, 2, 6)) for key in keys)
    one, still = jnp.ones(6), jnp.zeros((3, 4, 3))
    got = over_frames(q, k, v, one, one, still)

    def frames(x):  # [B, T, h, S d]
        return jnp.moveaxis(x, 2, 3).reshape(2, 3, 2, 24)

    expected = attend(frames(rms_norm(q, one)), frames(rms_norm(k, one)), frames(v))
    np.testing.assert_allclose(frames(got), expected, atol=1e-5)


def test_windows_reach_their_window_then_its_shifted_neighbours():
    """Windows of 2 frames x 1 row x 2 columns: one pair reaches frames 0-1 and columns 2-3, the
    shifted second reaches beyond.
    """
    config = dataclasses.replace(TINY, attention="window", window=(2, 1, 2), depth=1)
    one = np.zeros((B, *GRID), bool)
    one[0, 0:2, 0, 2:] = True
    assert only(changes(bound(config, "space"), MOVED, 0.0)["video"], one)
    # Shifted by (1, 0, 1): frames (0) (1 2) (3 4), columns (0) (1 2). From frames 0-1, column 2:
    # frames 0-2, columns 1-2.
    two = np.zeros((B, *GRID), bool)
    two[0, 0:3, 0, 1:] = True
    assert only(
        changes(bound(dataclasses.replace(config, depth=2), "space"), MOVED, 0.0)["video"], two
    )


def test_streams_meet_only_through_the_exchange():
    model = bound(TINY)
    assert only(changes(model, move("audio", 0, 3), 0.0)["audio"], np.s_[0])
    assert (changes(model, move("audio", 0, 3), 0.0)["video"] == 0).all()
    for edit in (MOVED, move("audio", 0, 3)):
        moved = changes(model, edit, 1.0)
        assert only(moved["video"], EVERY) and only(moved["audio"], EVERY)


@pytest.mark.parametrize("exchange", ["to_video", "to_audio", "none"])
def test_an_exchange_of_one_direction(exchange):
    model = bound(dataclasses.replace(TINY, exchange=exchange))
    heard, seen = changes(model, move("audio", 0, 3), 1.0), changes(model, MOVED, 1.0)
    assert np.any(heard["video"] != 0) == (exchange == "to_video")
    assert np.any(seen["audio"] != 0) == (exchange == "to_audio")
    names = flatten(shaped(dataclasses.replace(TINY, exchange=exchange))[1])
    assert any("exchange" in name for name in names) == (exchange != "none")


def test_without_attention_to_text_only_the_pooled_prompt_is_read():
    """The words reach the model through the modulation, which is the same at every token."""
    plain, silent = (shaped(dataclasses.replace(TINY, text_attention=on)) for on in (True, False))
    lost = flatten(plain[1]).keys() - flatten(silent[1]).keys()
    assert lost and all(re.search(r"pairs/(space|audio)/text/", name) for name in lost)
    latents, levels, text, times = inputs()
    model = bound(dataclasses.replace(TINY, text_attention=False))
    other = {**text, "tokens": text["tokens"].at[0, 1].set(9)}
    moved = {k: model(latents, levels, other, times)[k] - x for k, x in model(*inputs()).items()}
    assert all(np.all(x[0] != 0) and not np.any(x[1]) for x in moved.values())


def test_words_of_a_shot_are_read_in_that_shot():
    mask = jnp.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], bool)
    of = of_shot(
        mask, jnp.array([[0, 1, 2, 0], [2, 2, 0, 0]], jnp.int8), jnp.array([1.0, 2.0, 2.0])
    )
    np.testing.assert_array_equal(of[0].astype(int), [[1, 1, 1, 0, 0]] + 2 * [[1, 1, 0, 1, 0]])
    np.testing.assert_array_equal(of[1].astype(int), [[1, 0, 0, 0, 0]] + 2 * [[1, 1, 1, 0, 0]])

    config = dataclasses.replace(TINY, shot_words=True)
    latents, levels, text, times = inputs()
    cut = times | {
        "video_shots": jnp.array([1.0, 1, 2, 2, 2]),
        "audio_shots": 1.0 + (jnp.arange(N) > 2),
    }
    told = {**text, "shots": jnp.array([[0, 1, 2, 0], [1, 2, 0, 0]], jnp.int8)}
    plain, shots = bound(TINY), bound(config)
    for m, x in plain(latents, levels, text, times).items():
        # the words count only where both the clip and the words have shots
        for words, clock in (
            (told, times),
            (text, cut),
            ({**told, "shots": 0 * told["shots"]}, cut),
        ):
            np.testing.assert_allclose(shots(latents, levels, words, clock)[m], x, atol=1e-5)
        assert np.abs(shots(latents, levels, told, cut)[m] - x).max() > 1e-3
        np.testing.assert_array_equal(plain(latents, levels, told, cut)[m], x)


def test_the_clock_of_indices_does_not_know_the_frame_rate():
    latents, levels, text, times = inputs()
    faster = {m: t / 3 for m, t in times.items()}
    for clock, same in (("index", True), ("seconds", False)):
        model = bound(dataclasses.replace(TINY, clock=clock))
        for m, x in model(latents, levels, text, times).items():
            assert np.array_equal(x, model(latents, levels, text, faster)[m]) == same
    index = {m: on_clock(t, m, "index") for m, t in times.items()}
    np.testing.assert_allclose(index["video"], [0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(index["audio"][:3], [0, 0.04, 0.08])


def test_memory_reads_every_frame_at_every_site():
    """What attention along time at a site cannot bring across a cut, and without the sound."""
    config = dataclasses.replace(TINY, depth=1, memory=True)
    moved = changes(bound(config, "space", "time"), MOVED, couple=0.0)
    assert only(moved["video"], EVERY) and (moved["audio"] == 0).all()


def test_memory_starts_shut_and_leaves_other_parameters_as_they_were():
    plain, memory = (STDiT(c, nnx.Rngs(0)) for c in (TINY, dataclasses.replace(TINY, memory=True)))
    shared = flatten(nnx.state(plain))
    added = flatten(nnx.state(memory))
    for name, x in shared.items():
        np.testing.assert_array_equal(added.pop(name), x)
    assert added and all("exchange/memory" in name for name in added)
    assert not np.any(memory.pairs.exchange.memory_gate[...])


def test_couple_may_differ_within_a_batch():
    model = bound(TINY)
    mixed = model(*inputs(), jnp.array([0.0, 1.0]))
    for row, couple in enumerate((0.0, 1.0)):
        alone = model(*inputs(), couple)
        for k in mixed:
            np.testing.assert_allclose(mixed[k][row], alone[k][row], atol=1e-5)
    assert (
        float(jnp.abs(model(*inputs(), 0.0)["audio"] - model(*inputs(), 1.0)["audio"]).max()) > 1e-3
    )


def exchange(couple=1.0, video_gate=1.0, audio_gate=1.0, video_shift=0.0, audio_shift=0.0):
    module = Exchange(TINY, nnx.Rngs(0))
    module.video_gate[...], module.audio_gate[...] = (
        jnp.full((16,), g) for g in (video_gate, audio_gate)
    )
    v, a = (
        jax.random.normal(jax.random.key(0), (B, T, 6, 16)),
        jax.random.normal(jax.random.key(1), (B, N, 16)),
    )
    phi = {
        "video": jnp.linspace(0.05, 2, T) + video_shift,
        "audio": jnp.linspace(0.02, 2, N) + audio_shift,
    }
    after = jax.jit(module.__call__)(
        v, a, {k: angles(t, 4, SECONDS) for k, t in phi.items()}, jnp.full((B, 1, 1), couple)
    )
    return [np.asarray(x - y) for x, y in zip(after, (v, a), strict=True)]


def test_exchange_starts_shut_and_reads_both_streams_as_they_were():
    fresh = Exchange(TINY, nnx.Rngs(0))
    assert not np.any(fresh.video_gate[...]) and not np.any(fresh.audio_gate[...])
    assert all(np.abs(x).max() == 0 for x in exchange(video_gate=0.0, audio_gate=0.0))
    # What the sound receives does not depend on what the picture has just received, and the other
    # way round.
    np.testing.assert_array_equal(exchange(video_gate=5.0)[1], exchange(video_gate=0.0)[1])
    np.testing.assert_array_equal(exchange(audio_gate=5.0)[0], exchange(audio_gate=0.0)[0])


def test_exchange_has_one_clock():
    """Moving both clocks changes nothing; moving one does."""
    for now, together, apart in zip(
        exchange(),
        exchange(video_shift=1.5, audio_shift=1.5),
        exchange(audio_shift=1.5),
        strict=True,
    ):
        np.testing.assert_allclose(now, together, atol=1e-4)
        assert np.abs(now - apart).max() > 1e-2


def test_levels_act_on_their_own_frame():
    model = bound(TINY, "space", "time")

    def edit(latents, levels, text, times):
        return latents, {**levels, "video": levels["video"].at[0, 3].set(0.123)}, text, times

    assert only(changes(model, edit, 0.0)["video"], np.s_[0, 3])

    def edit_audio(latents, levels, text, times):
        return latents, {**levels, "audio": levels["audio"].at[1, 2].set(0.123)}, text, times

    assert only(changes(bound(TINY), edit_audio, 0.0)["audio"], np.s_[1])


def test_text_acts_where_it_is_visible():
    model = bound(TINY)

    def word(i):
        return lambda latents, levels, text, times: (
            latents,
            levels,
            {**text, "tokens": text["tokens"].at[1, i].set(9)},
            times,
        )

    moved = changes(model, word(1))
    assert only(moved["video"], np.s_[1]) and only(moved["audio"], np.s_[1])
    assert all((x == 0).all() for x in changes(model, word(2)).values())  # masked out


def test_video_can_tell_place_and_beginning():
    """Rotary positions alone could not: a constant input gives different outputs at different rows,
    columns and frames.
    """
    model = bound(TINY)
    latents, levels, text, times = inputs()
    latents = jax.tree.map(jnp.zeros_like, latents)
    levels = jax.tree.map(jnp.ones_like, levels)
    out = np.asarray(model(latents, levels, text, times, 0.0)["video"])[:, :, ::2, ::2]
    assert min(np.ptp(out, axis=axis).max() for axis in (1, 2, 3)) > 1e-3


def test_variable_lengths_and_sizes_share_parameters():
    graphdef, state = shaped(TINY)

    def model(*args):
        return jax.eval_shape(lambda state, *args: nnx.merge(graphdef, state)(*args), state, *args)

    for t, h, w, n in [(1, 2, 2, 3), (3, 8, 4, 9), (2, 7, 3, 9)]:  # patches are 2 x 2
        latents = {"video": jnp.ones((1, t, h, w, 3)), "audio": jnp.ones((1, n, 5))}
        levels = {"video": jnp.ones((1, t)), "audio": jnp.ones((1, n))}
        text = {"tokens": jnp.zeros((1, 2), int), "mask": jnp.zeros((1, 2), bool)}
        times = {"video": jnp.arange(t) / 2.0, "audio": jnp.arange(n) / 25.0}
        out = model(latents, levels, text, times)
        assert jax.tree.map(jnp.shape, out) == jax.tree.map(jnp.shape, latents)


@pytest.mark.parametrize("sides", [(4, 6), (7, 5), (1, 1)])
def test_patches_are_inverted_and_filled_with_zeros(sides):
    x = np.random.default_rng(0).normal(size=(2, 3, *sides, 4)).astype(np.float32)
    tokens = patches(x, 2)
    rows, columns = TINY.grid(sides)
    assert tokens.shape == (2, 3, rows * columns, 16)
    np.testing.assert_array_equal(from_patches(tokens, 2, sides), x)
    assert np.abs(tokens).sum() == pytest.approx(np.abs(x).sum(), rel=1e-5)


def test_the_central_square_has_the_same_places_in_every_aspect():
    times = np.arange(2.0)
    square = np.asarray(place_features(times, (4, 4))).reshape(2, 4, 4, -1)
    wide = np.asarray(place_features(times, (4, 8))).reshape(2, 4, 8, -1)
    tall = np.asarray(place_features(times, (7, 4))).reshape(2, 7, 4, -1)
    np.testing.assert_array_equal(wide[:, :, 2:6], square)
    assert np.abs(wide[:, :, :4] - square).max() > 0.1
    between = np.asarray(place_features(times, (6, 4))).reshape(2, 6, 4, -1)
    np.testing.assert_array_equal(between[:, 1:5], square)
    assert np.abs(tall[:, 2:6] - square).max() > 1e-3  # half a token apart


@functools.cache
def gradient(config):
    """The gradient of a fixed scalar of the outputs, at the same open parameters for every config
    of the same sizes.
    """
    (graphdef, _), (_, state) = shaped(config), opened(TINY)

    def scalar(state):
        return sum(jnp.sum(jnp.sin(x)) for x in nnx.merge(graphdef, state)(*inputs()).values())

    return jax.jit(jax.grad(scalar))(state)


def test_memory_with_a_shut_gate_changes_no_bit():
    (_, values), config = opened(TINY), dataclasses.replace(TINY, memory=True)
    graphdef, state = opened(config)
    known = flatten(values)
    shut = {n: known.get(n, jnp.zeros_like(x)) for n, x in flatten(state).items()}
    state = jax.tree.unflatten(jax.tree.structure(state), list(shut.values()))
    for name, x in bound(TINY)(*inputs()).items():
        made = jax.jit(nnx.merge(graphdef, state).__call__)(*inputs())[name]
        np.testing.assert_array_equal(made, x)


@pytest.mark.parametrize("variant", ["pure", "window", "matrix"])
def test_gradients_reach_every_parameter(variant):
    for path, leaf in jax.tree_util.tree_leaves_with_path(
        gradient(dataclasses.replace(TINY, attention=variant))
    ):
        size = np.abs(np.asarray(leaf)).max()
        assert np.isfinite(size) and size > 0, jax.tree_util.keystr(path)


def test_a_new_model_predicts_zero_and_learns():
    graphdef, _ = shaped(TINY)
    state = jax.jit(lambda: nnx.state(STDiT(TINY, nnx.Rngs(0))))()
    target = inputs(seed=5)[0]

    def loss(state):
        out = nnx.merge(graphdef, state)(*inputs())
        return sum(jnp.mean((out[k] - target[k]) ** 2) for k in out)

    @jax.jit
    def step(state):
        value, grads = jax.value_and_grad(loss)(state)
        return value, jax.tree.map(lambda p, g: p - 0.004 * jnp.sign(g), state, grads)

    losses = []
    for _ in range(12):
        value, state = step(state)
        losses.append(float(value))
    # the loss of predicting zero
    np.testing.assert_allclose(losses[0], sum(jnp.mean(x**2) for x in target.values()), rtol=1e-6)
    assert losses[-1] < 0.8 * losses[0]


def test_half_precision_stays_near():
    graphdef, state = opened(TINY)
    half, _ = shaped(dataclasses.replace(TINY, dtype="bfloat16"))
    a, b = (jax.jit(lambda s, g=g: nnx.merge(g, s)(*inputs()))(state) for g in (graphdef, half))
    for k in a:
        assert b[k].dtype == jnp.float32
        assert float(jnp.sqrt(jnp.mean((a[k] - b[k]) ** 2))) < 0.05 * float(jnp.std(a[k]))


def test_remat_and_unroll_change_nothing():
    plain, other = gradient(TINY), gradient(dataclasses.replace(TINY, remat="attention", unroll=2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), plain, other)


def test_config_survives_json_and_refuses_nonsense():
    for config in PRESETS.values():
        assert STDiTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="pure"):
        STDiTConfig(attention="ful")
    with pytest.raises(ValueError, match="'x', 'v'"):
        STDiTConfig(output="eps")
    with pytest.raises(TypeError, match="blocks"):
        STDiTConfig.from_dict({"blocks": 3})


@pytest.mark.parametrize(
    "name,low,high",
    [("nano", 2e6, 4e6), ("S", 25e6, 40e6), ("B", 1e8, 2e8), ("XL", 1e9, 2e9), ("14B", 13e9, 15e9)],
)
def test_presets_have_the_sizes_their_names_promise(name, low, high):
    assert low <= sum(x.size for x in jax.tree.leaves(shaped(PRESETS[name])[1])) <= high


def test_a_wrong_dtype_is_answered_with_all_that_fit():
    with pytest.raises(ValueError, match=r"dtype='int8'; use one of ") as error:
        STDiTConfig(dtype="int8")
    for dtype in ("float32", "bfloat16", "float16"):
        assert STDiTConfig(dtype=dtype).dtype == dtype and repr(dtype) in str(error.value)
