"""The programs that `kernels.tpu_schedule` compiles: kernels for TPUs, and workloads of each."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from kernels.conv_prologue import pallas_tpu as prologue_kernels
from kernels.conv_prologue import specs as prologue_specs
from kernels.cross_attention import pallas_tpu as cross_kernels
from kernels.cross_attention import specs as cross_specs
from kernels.temporal_attention import pallas_tpu as attention_kernels
from kernels.temporal_attention import specs as attention_specs


def _attention_cases() -> dict:
    """Returns {name: spec} of workloads with one batch element and 1024 sites.

    These two sizes do not matter, because the table shows bundles and bytes per site.
    """
    SPECS = attention_specs.SPECS
    one = functools.partial(dataclasses.replace, B=1, S=1024)
    return {
        "d128": attention_specs.Spec(1, 16, 1024, 8, 128),
        "d64": one(SPECS["t16"]),
        "d64_shared": one(SPECS["t16_shared"]),
        "d64_causal": one(SPECS["t16_causal"]),
        "t8": one(SPECS["t8"]),
        "t32": one(SPECS["t32"]),
        "xl": one(SPECS["xl"]),
        "wide": one(SPECS["wide"]),
        "f32": one(SPECS["t16_f32"]),
    }


def _attention(spec, direction: str):
    """Returns the function to compile and its arguments, as shape structs.

    The arguments are [B, T, S, H D], as the projections of a model give them. The function reshapes
    them to [B, T, S, H, D] for the kernel.
    """
    given = jax.eval_shape(functools.partial(attention_specs.inputs, spec))
    names = ("q", "k", "v", "q_scale", "k_scale", "angles", "visible", "shared_k", "shared_v")
    arrays = [given.get(name) for name in names]

    def split(x):
        return x.reshape(*x.shape[:-1], spec.H, spec.D) if x is not None and x.ndim > 2 else x

    def merge(x):
        return x.reshape(*x.shape[:-2], -1) if x is not None and x.ndim > 3 else x

    def run(*arrays):
        kernel = getattr(attention_kernels, direction)
        return jax.tree.map(merge, kernel(spec, *map(split, arrays)))

    arrays = arrays if direction == "forward" else [given["q"], *arrays]
    return run, [None if a is None else jax.eval_shape(merge, a) for a in arrays]


def _prologue_cases() -> dict:
    """Returns {name: spec} of workloads whose channels are a multiple of 128, the lanes of a
    register, because the kernel takes no others.
    """
    SPECS = prologue_specs.SPECS
    cases = {name: SPECS[name] for name in ("wan_704_quarter", "wan_704_latent")}
    return cases | {"unpadded": dataclasses.replace(SPECS["wan_704_quarter"], P=0)}


def _prologue(spec, direction: str):
    def frames(number, around=0):
        shape = (spec.B, number, spec.H + 2 * around, spec.W + 2 * around, spec.C)
        return jax.ShapeDtypeStruct(shape, jnp.dtype(spec.dtype))

    x, gain, cache = frames(spec.T), jax.ShapeDtypeStruct((spec.C,), jnp.float32), frames(spec.K)
    run = functools.partial(getattr(prologue_kernels, direction), spec)
    if direction == "forward":
        return run, [x, gain, cache]
    return run, [x, gain, frames(spec.K + spec.T, spec.P), cache]


def _cross_cases() -> dict:
    """Returns {name: spec} of the workloads whose dtype the kernel takes, and of a stream of audio
    that reads words.
    """
    SPECS = cross_specs.SPECS
    cases = {name: spec for name, spec in SPECS.items() if spec.dtype != "float16"}
    return cases | {"sound": cross_specs.Spec(1, 43, 1, 4, 64, 129, masks=1)}


def _cross(spec, direction: str):
    """Returns the function to compile and its arguments, as shape structs: queries [B, T, S, H D]
    and keys [B, M, H D], as the projections of a model give them.
    """
    given = jax.eval_shape(functools.partial(cross_specs.inputs, spec))
    names = ("q", "k", "v", "q_scale", "angles", "visible")
    arrays = [given.get(name) for name in names]

    def split(x):
        return x.reshape(*x.shape[:-1], spec.H, spec.D)

    def merge(x):
        return x.reshape(*x.shape[:-2], -1)

    def forward(q, k, v, *rest):
        return merge(cross_kernels.forward(spec, *map(split, (q, k, v)), *rest)[0])

    def backward(do, q, k, v, *rest):
        do, q, k, v = map(split, (do, q, k, v))
        *gradients, dscale = cross_kernels.backward(spec, q, (), do, q, k, v, *rest)
        return *map(merge, gradients), dscale

    arrays[:3] = (jax.eval_shape(merge, x) for x in arrays[:3])
    return (forward, arrays) if direction == "forward" else (backward, [arrays[0], *arrays])


def _sites(spec) -> int:
    return spec.B * spec.S


def _tokens(spec) -> int:
    return spec.B * spec.T * spec.S


def _positions(spec) -> int:
    return spec.B * spec.T * spec.H * spec.W


# Operation -> (function that returns its cases by name; function of a spec and a direction that
# returns the function to compile and its arguments; function that returns the number of units of a
# spec, sites, tokens or positions, by which figures are divided; whether bundles count cycles).
OPS = {
    "temporal_attention": (_attention_cases, _attention, _sites, True),
    "cross_attention": (_cross_cases, _cross, _tokens, False),
    "conv_prologue": (_prologue_cases, _prologue, _positions, False),
}


def cases(op: str = "temporal_attention") -> dict:
    """Returns the workloads of an operation as {name: spec}. Default: those of
    "temporal_attention".
    """
    return OPS[op][0]()
