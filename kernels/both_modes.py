"""Forward mode, reverse mode and `jax.vmap` for an operation that is a few kernels.

`jax.custom_vjp` refuses forward mode, and JAX derives the reverse mode of a `jax.custom_jvp` by
transposing its rule, which no kernel allows. An operation here is four primitives of JAX:

    forward   the result
    joint     the result and its tangent, from the arrays and their tangents, in one kernel
    tangent   the tangent alone; linear in the tangents, and its transpose is the backward kernel
    second    the derivative of a tangent; an error when it is computed or transposed

The derivative of forward is joint. In reverse mode JAX evaluates what it knows, the arrays, and
keeps the rest for the backward pass: joint is divided into forward and tangent there. The
derivative of joint is tangent beside second. JAX drops a second whose result is unused, so a loss
may hold a tangent behind `jax.lax.stop_gradient`, as that of MeanFlow (Geng et al. 2025,
arXiv:2505.13447) does.
"""

import contextvars
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive, Var
from jax.interpreters import ad, batching, mlir
from jax.interpreters import partial_eval as pe

from kernels.batching import check_mapped, fold, unfold
from kernels.errors import Unsupported


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """The kernels of an operation of arrays, some of which may be None. Its result has the shape
    and the dtype of the first array. JAX compares operations by identity.

    Attributes:
        name: the operation and its implementation, for messages.
        forward: (*arrays) -> result.
        joint: (tangents, *arrays) -> (result, its tangent). `tangents` has one entry for each
            array, None where the array is None or constant.
        backward: (gradient of the result, *arrays) -> the gradient of each array, or None.
        has_batch: for each array, whether its first axis is the batch. `jax.vmap` folds its axis
            into that.
        varies: for each array, whether it has a derivative. The others are constants.
        context: the values of `kernels.settings` under which the kernels are traced. Default: those
            of the creation.
    """

    name: str
    forward: Callable[..., jax.Array]
    joint: Callable[..., tuple[jax.Array, jax.Array]]
    backward: Callable[..., tuple[jax.Array | None, ...]]
    has_batch: tuple[bool, ...]
    varies: tuple[bool, ...]
    context: contextvars.Context = dataclasses.field(default_factory=contextvars.copy_context)

    def __call__(self, *arrays: jax.Array | None) -> jax.Array:
        """Returns the result.

        Raises:
            Unsupported: on lowering, a second derivative is needed.
        """
        present = tuple(array is not None for array in arrays)
        flat = [array for array in arrays if array is not None]
        return forward_p.bind(*flat, operation=self, present=present)[0]

    def run(self, function: str, *arguments: Any) -> Any:
        """Calls the kernels named `function` under this operation's settings."""
        return self.context.copy().run(getattr(self, function), *arguments)

    def refusal(self) -> Unsupported:
        """Returns the error of a second derivative."""
        return Unsupported(
            f"{self.name}: differentiates once; implementation='xla' differentiates any number of "
            "times"
        )


forward_p, joint_p, tangent_p, second_p = (
    Primitive(f"kernels_{name}") for name in ("forward", "joint", "tangent", "second")
)


def _spread(flat: Any, chosen: tuple[bool, ...]) -> list[Any]:
    """Returns one entry for each of `chosen`: the next of `flat` where it is true, else None."""
    values = iter(flat)
    return [next(values) if c else None for c in chosen]


# What the primitives compute. The operands are the present arrays, and behind them the tangents of
# those that `moved` marks; `present` and `moved` have an entry for each array of the operation.


def _forward(*flat, operation, present):
    return [operation.run("forward", *_spread(flat, present))]


def _joint(*operands, operation, present, moved):
    arrays = _spread(operands, present)
    tangents = _spread(operands[sum(present) :], moved)
    for i, (array, varies) in enumerate(zip(arrays, operation.varies, strict=True)):
        if varies and array is not None and tangents[i] is None:
            tangents[i] = jnp.zeros_like(array)
    return list(operation.run("joint", tuple(tangents), *arrays))


def _tangent(*operands, **parameters):
    return _joint(*operands, **parameters)[1:]


def _second(*_, operation):
    raise operation.refusal()


for _primitive, _function, _results in (
    (forward_p, _forward, 1),
    (joint_p, _joint, 2),
    (tangent_p, _tangent, 1),
    (second_p, _second, 1),
):
    _primitive.multiple_results = True
    _primitive.def_impl(_function)
    _primitive.def_abstract_eval(
        lambda first, *_, _results=_results, **__: [first.update(weak_type=False)] * _results
    )
    mlir.register_lowering(_primitive, mlir.lower_fun(_function, multiple_results=True))


# Derivatives.


def _moving(tangents: Any) -> list[bool]:
    return [type(tangent) is not ad.Zero for tangent in tangents]


def _differentiate_forward(flat, tangents, *, operation, present):
    found = _spread(tangents, present)
    moved = tuple(
        varies and t is not None and type(t) is not ad.Zero
        for t, varies in zip(found, operation.varies, strict=True)
    )
    moving = [t for t, m in zip(found, moved, strict=True) if m]
    parameters = {"operation": operation, "present": present, "moved": moved}
    result, tangent = joint_p.bind(*flat, *moving, **parameters)
    return [result], [tangent]


def _differentiate_joint(operands, tangents, *, operation, present, moved):
    count = sum(present)
    result, tangent = joint_p.bind(*operands, operation=operation, present=present, moved=moved)
    moving = [t for t, m in zip(tangents, _moving(tangents), strict=True) if m]
    second = second_p.bind(tangent, *moving, operation=operation)[0]
    # The result's tangent depends on those of the arrays only.
    if not any(_moving(tangents[:count])):
        return [result, tangent], [ad.Zero(jax.typeof(result)), second]
    flat = list(operands[:count])
    arrays = {"operation": operation, "present": present}
    (of_result,) = _differentiate_forward(flat, tangents[:count], **arrays)[1]
    return [result, tangent], [of_result, second]


def _differentiate_tangent(operands, tangents, *, operation, present, moved):
    count = sum(present)
    if any(_moving(tangents[:count])):
        raise operation.refusal()
    parameters = {"operation": operation, "present": present}
    result = tangent_p.bind(*operands, moved=moved, **parameters)
    still = iter(_moving(tangents[count:]))
    moved = tuple(m and next(still) for m in moved)
    moving = [t for t in tangents[count:] if type(t) is not ad.Zero]
    return result, tangent_p.bind(*operands[:count], *moving, moved=moved, **parameters)


def _transpose_tangent(gradients, *operands, operation, present, moved):
    count, (gradient,) = sum(present), gradients
    if type(gradient) is ad.Zero:
        return [None] * len(operands)
    found = operation.run("backward", gradient, *_spread(operands, present))
    kept = [g for g, m in zip(found, moved, strict=True) if m]
    unknown = [ad.is_undefined_primal(operand) for operand in operands[count:]]
    return [None] * count + [g if u else None for g, u in zip(kept, unknown, strict=True)]


def _refuse(*_, operation, **__):
    raise operation.refusal()


ad.primitive_jvps[forward_p] = _differentiate_forward
ad.primitive_jvps[joint_p] = _differentiate_joint
ad.primitive_jvps[tangent_p] = _differentiate_tangent
ad.primitive_jvps[second_p] = _refuse
ad.primitive_transposes[tangent_p] = _transpose_tangent
ad.primitive_transposes[second_p] = _refuse


# Division of joint into what is known, forward, and what is linear, tangent.


def _divide(trace, *operands, operation, present, moved):
    """The rule of reverse mode: `operands` are tracers, known or not."""
    count = sum(present)
    parameters = {"operation": operation, "present": present}
    known = [operand.is_known() for operand in operands]
    if all(known) or not all(known[:count]):
        return trace.default_process_primitive(joint_p, operands, {**parameters, "moved": moved})
    (result,) = forward_p.bind(*(o.pval.get_known() for o in operands[:count]), **parameters)
    linear = trace.default_process_primitive(tangent_p, operands, {**parameters, "moved": moved})
    return [result, *linear]


def _divide_equation(saveable, unknown, held, equation):
    """The rule of `jax.checkpoint`, which divides a program into two.

    `saveable` is the policy. `unknown` and `held` say of each operand whether it depends on unknown
    values, and whether the second program has it. Returns the equation for each program, both
    properties of the results, and the operands that the first program must save for the second.
    """
    count, avals = sum(equation.params["present"]), [x.aval for x in equation.invars]
    forward, tangent = _forward_of(equation), _tangent_of(equation)
    operands = zip(equation.invars, held, strict=True)
    missing = [x for x, is_held in operands if isinstance(x, Var) and not is_held]
    if any(unknown[:count]):
        return None, equation, [True, True], [True, True], missing
    if not any(unknown):
        if saveable(joint_p, *avals, **equation.params) is True:
            return equation, None, [False, False], [False, False], []
        return equation, equation, [False, False], [True, True], missing
    if saveable(forward_p, *avals[:count], **forward.params) is True:
        return forward, tangent, [False, True], [False, True], missing
    return forward, equation, [False, True], [True, True], missing


def _forward_of(joint):
    names = ("operation", "present")
    return joint.replace(
        primitive=forward_p,
        invars=joint.invars[: sum(joint.params["present"])],
        outvars=joint.outvars[:1],
        params={name: joint.params[name] for name in names},
    )


def _tangent_of(joint):
    return joint.replace(primitive=tangent_p, outvars=joint.outvars[1:])


def _drop_unused(used, joint):
    """Returns which operands are used, and the equation that computes the used results alone."""
    count = sum(joint.params["present"])
    behind = len(joint.invars) - count
    if all(used):
        return [True] * (count + behind), joint
    if used[0]:
        return [True] * count + [False] * behind, _forward_of(joint)
    return [used[1]] * (count + behind), _tangent_of(joint) if used[1] else None


pe.custom_partial_eval_rules[joint_p] = _divide
pe.partial_eval_jaxpr_custom_rules[joint_p] = _divide_equation
pe.dce_rules[joint_p] = _drop_unused


# `jax.vmap`.


def _map(primitive):
    def rule(operands, axes, *, operation, present, **parameters):
        moved = parameters.get("moved", (False,) * len(present))
        of_arrays = [h for h, p in zip(operation.has_batch, present, strict=True) if p]
        of_tangents = [h for h, m in zip(operation.has_batch, moved, strict=True) if m]
        has_batch = of_arrays + of_tangents
        pairs = list(zip(operands, axes, strict=True))
        size = next(x.shape[axis] for x, axis in pairs if axis is not None)
        mapped = [axis is not None for axis in axes]
        check_mapped(mapped, has_batch, operation.name)
        in_front = [x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in pairs]
        folded = [
            fold(x, m, size) if has else x
            for x, m, has in zip(in_front, mapped, has_batch, strict=True)
        ]
        results = primitive.bind(*folded, operation=operation, present=present, **parameters)
        return [unfold(x, size) for x in results], [0] * len(results)

    return rule


def _map_joint(operands, axes, *, operation, present, moved):
    """The result is not mapped if only tangents are, as `jax.jacfwd` needs it."""
    count, arrays = sum(present), {"operation": operation, "present": present}
    if any(axis is not None for axis in axes[:count]):
        return _map(joint_p)(operands, axes, moved=moved, **arrays)
    (result,) = forward_p.bind(*operands[:count], **arrays)
    (tangent,), (axis,) = _map(tangent_p)(operands, axes, moved=moved, **arrays)
    return [result, tangent], [None, axis]


def _map_second(operands, axes, *, operation):
    """No batch is folded, since nothing is computed."""
    size = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)
    in_front = [batching.bdim_at_front(x, a, size) for x, a in zip(operands, axes, strict=True)]
    return second_p.bind(*in_front, operation=operation), [0]


for _primitive in (forward_p, tangent_p):
    batching.primitive_batchers[_primitive] = _map(_primitive)
batching.primitive_batchers[joint_p] = _map_joint
batching.primitive_batchers[second_p] = _map_second
