"""A pattern that breaks its contract is told in one line that names it."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from sora_jax.errors import UserError
from sora_jax.models.attention_patterns import ATTENTION, pure
from sora_jax.models.st_dit import STDiT, STDiTConfig

SMALL = {"pairs": 1, "width": 16, "heads": 2, "text_layers": 1}


def array(tokens):
    return jnp.zeros((2, 2))


def nothing(tokens):
    pass


def three(tokens):
    return *pure(tokens), pure(tokens)[0]


def one_block(tokens):
    return pure(tokens)[0]


def no_function(tokens):
    space, (phi, _) = pure(tokens)
    return space, (phi, phi)


def other_angles(tokens):
    space, (phi, over) = pure(tokens)
    return space, (phi[:, :3], over)


def turned(tokens):
    (phi, over), time = pure(tokens)
    return (phi, lambda q, *rest: over(q, *rest).swapaxes(1, 2)), time


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (array, "pattern 'array' returns an array of shape (2, 2); return the spatial and the"),
        (three, "attention pattern 'three' returns a tuple of 3; return the spatial and the temp"),
        (nothing, "attention pattern 'nothing' returns None; return the spatial and the temporal"),
        (
            one_block,
            "the spatial block of attention pattern 'one_block' is an array of shape (6, 4",
        ),
        (
            no_function,
            "the temporal block of attention pattern 'no_function' is a tuple of 2; give (phi",
        ),
        (
            other_angles,
            "phi of the temporal block of attention pattern 'other_angles' is an array of shape "
            "(3, 3); give angles of shape (6, 4), (3, 4) or (3, 6, 4)",
        ),
        (
            turned,
            "over of the spatial block of attention pattern 'turned' gives an array of shape "
            "(1, 6, 3, 2, 8); give the shape of q, (1, 3, 6, 2, 8)",
        ),
    ],
)
def test_a_wrong_pattern_is_named(pattern, said):
    ATTENTION.register(pattern)
    latents = {"video": jnp.zeros((1, 3, 4, 6, 16)), "audio": jnp.zeros((1, 5, 64))}
    levels = {"video": jnp.zeros((1, 3)), "audio": jnp.zeros((1, 5))}
    text = {"tokens": jnp.zeros((1, 4), int), "mask": jnp.ones((1, 4), bool)}
    times = {"video": jnp.arange(3.0), "audio": jnp.arange(5.0)}

    def evaluate():
        config = STDiTConfig(attention=pattern.__name__, **SMALL)
        return STDiT(config, nnx.Rngs(0))(latents, levels, text, times)

    try:
        with pytest.raises(UserError) as error:
            jax.eval_shape(evaluate)
    finally:
        del ATTENTION[pattern.__name__]
    assert said in str(error.value) and "\n" not in str(error.value)
