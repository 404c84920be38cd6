"""The model and the video tokenizer learn with the kernels as they do without: twenty steps each,
Triton's interpreter for a GPU.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from kernels import target, triton_call
from sora_jax.flow.loss import flow_loss
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig, video_loss

MODEL = STDiTConfig(
    video_channels=4,
    audio_channels=4,
    depth=1,
    width=32,
    heads=2,
    mlp_ratio=2.0,
    audio_width=16,
    audio_heads=2,
    exchange_width=16,
    exchange_heads=2,
    frame_tokens=1,
    text_width=16,
    text_heads=2,
    text_layers=1,
    vocabulary=8,
)
TOKENIZER = VideoTokenizerConfig(
    fine_width=8,
    coarse_width=16,
    encoder_fine=1,
    encoder_coarse=1,
    decoder_coarse=1,
    decoder_fine=1,
)


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def model_loss(module, key):
    batch = {
        "video": draw(0, 2, 3, 4, 4, 4),
        "audio": draw(1, 2, 5, 4),
        "tokens": jnp.ones((2, 3), int),
        "text_mask": jnp.ones((2, 3), bool),
    }
    times = {"video": jnp.linspace(0.1, 1.0, 3), "audio": jnp.linspace(0.02, 1.0, 5)}
    return flow_loss(module, batch, key, times)[0]


def tokenizer_loss(module, key):
    return video_loss(module, jax.nn.sigmoid(draw(2, 1, 5, 16, 16, 3)), key)[0]


def losses(make, loss, device):
    """Of twenty steps of Adam on the same noise, traced for `device`.

    Every parameter begins off its start, or half of the model would do nothing.
    """
    graphdef, params, rest = nnx.split(make(), nnx.Param, ...)
    params = jax.tree.map(lambda p: p + 0.05 * draw(p.size, *p.shape), params)
    adam = optax.adam(2e-3)

    @jax.jit
    def train(params):
        def step(carry, _):
            params, state = carry
            value, gradient = jax.value_and_grad(
                lambda p: loss(nnx.merge(graphdef, p, rest), jax.random.key(7))
            )(params)
            updates, state = adam.update(gradient, state)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, adam.init(params)), length=20)[1]

    with target.assume(device):
        return np.asarray(train(params))


CASES = {
    "model": (
        lambda: STDiT(MODEL, nnx.Rngs(0)),
        model_loss,
        {
            "temporal_attention forward_kernel",
            "temporal_attention backward_kernel",
            "cross_attention forward_kernel",
            "cross_attention backward_kernel",
            "gated_norm forward_kernel",
            "gated_norm backward_kernel",
        },
    ),
    "tokenizer": (
        lambda: VideoTokenizer(TOKENIZER, rngs=nnx.Rngs(0)),
        tokenizer_loss,
        {"conv_prologue forward_kernel", "conv_prologue backward_kernel"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_losses_are_the_same(name, monkeypatch):
    make, loss, kernels = CASES[name]
    ran, interpret = set(), triton_call.interpret

    def spy(launch, *arrays):
        ran.add(f"{launch.kernel.fn.__module__.split('.')[1]} {launch.kernel.fn.__name__}")
        return interpret(launch, *arrays)

    monkeypatch.setattr(triton_call, "interpret", spy)
    curve = functools.partial(losses, make, loss)
    want = curve(target.CPU)
    assert not ran
    np.testing.assert_allclose(curve(target.H200), want, rtol=2e-4)
    assert ran == kernels
    assert want[-5:].mean() < 0.97 * want[:5].mean()
