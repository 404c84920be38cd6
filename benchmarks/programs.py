"""Programs: a form of a workload (one way to compute it), ready to run in one direction on several
sets of inputs. Every program has

    start(i)    begins a call on set i (modulo the number of sets) and returns its results, which
                may still be pending
    wait(x)     waits for the results x and all earlier ones
    results()   runs a call on set 0 and returns its results as jax arrays: {"results": ...,
                "gradients": ...} or one of the two

    ran         description of the form and of the custom calls in the compiled program
    lower_s     seconds of tracing and lowering
    compile_s   seconds of compiling
    peak_bytes  bytes of the arguments, results and temporaries of one call; None if unknown

Direction "backward" starts from the values that the form's own forward pass saved;
"forward_backward" includes that pass.
"""

import collections
import functools
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.workload import Absent, Form, Workload


def prepare(workload: Workload, form: Form, direction: str, sets: Sequence[dict]) -> "Program":
    """Returns the compiled program of one form of a workload.

    Args:
        workload: the workload.
        form: the way to compute it.
        direction: "forward", "backward" or "forward_backward".
        sets: sets of inputs, each {name: array}.

    Raises:
        Absent: the form cannot run in this direction, or the compiled program lacks the call that
            it `expects`.
    """
    kind = {"jax": JaxProgram, "torch": TorchProgram, "python": PythonProgram}[form.backend]
    return kind(workload, form, direction, sets)


def split(workload: Workload, inputs: dict) -> tuple[dict, dict]:
    """Splits the inputs of a workload, {name: array}, into two dicts: those that gradients flow
    into (`workload.differentiable`), and the rest.
    """
    differentiable = {name: inputs[name] for name in workload.differentiable if name in inputs}
    return differentiable, {name: x for name, x in inputs.items() if name not in differentiable}


def directed(function: Callable, direction: str) -> Callable:
    """Returns a function (differentiable, rest, cotangents) -> {"results", "gradients"} that runs
    `function` in a direction.

    "gradients", by the differentiable inputs, are absent if the direction is "forward". cotangents
    are the gradients of a loss by the results.

    Args:
        function: (differentiable, rest) -> results, of the two dicts of `split`.
        direction: "forward"; with any other, the forward and the backward pass run.
    """

    def run(differentiable: dict, rest: dict, cotangents: Any) -> dict:
        if direction == "forward":
            return {"results": function(differentiable, rest)}
        results, pull = jax.vjp(functools.partial(function, rest=rest), differentiable)
        return {"results": results, "gradients": pull(cotangents)[0]}

    return run


def cotangents_like(results: Any, seed: int = 1) -> Any:
    """Returns cotangents, the gradients of an imagined loss by `results`: standard normal numbers
    of the shapes and dtypes of `results`.

    All forms with results of the same shapes get the same numbers. The default seed is 1.
    """
    leaves, tree = jax.tree.flatten(results)
    keys = jax.random.split(jax.random.key(seed), max(len(leaves), 1))
    numbers = [
        jax.random.normal(k, x.shape, jnp.float32).astype(x.dtype)
        for k, x in zip(keys, leaves, strict=False)  # without leaves there is still one key
    ]
    return jax.tree.unflatten(tree, numbers)


def reference(workload: Workload, direction: str, inputs: dict) -> dict | None:
    """Returns what a workload's specification computes, in float32 with full-precision products:
    {"results": ...}, with "gradients" unless the direction is "forward".

    Returns None if the workload has no reference.

    Args:
        workload: the workload.
        direction: "forward", "backward" or "forward_backward".
        inputs: one set of inputs.
    """
    specification = workload.reference
    if specification is None:
        return None
    if workload.carry is not None:
        direction = "forward"  # a training step, which computes its gradient itself

    def widen(tree: Any) -> Any:
        return jax.tree.map(
            lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
        )

    def function(differentiable: dict, rest: dict) -> Any:
        with jax.default_matmul_precision("highest"):
            return specification({**rest, **differentiable})

    differentiable, rest = split(workload, inputs)
    cotangents = None
    if direction != "forward":  # the same numbers as for the forms, with their rounding
        like = next(iter(jax.tree.leaves(differentiable))).dtype
        shapes = jax.eval_shape(function, widen(differentiable), widen(rest))
        cotangents = widen(
            cotangents_like(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, like), shapes))
        )
    return jax.jit(directed(function, direction))(widen(differentiable), widen(rest), cotangents)


@jax.jit
def _relative(expected: Any, got: Any) -> jax.Array:
    def one(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.linalg.norm((b.astype(jnp.float32) - a).ravel()) / jnp.maximum(
            jnp.linalg.norm(a.ravel()), 1e-30
        )

    return jnp.stack(jax.tree.leaves(jax.tree.map(one, expected, got))).max()


def error(expected: dict | None, got: dict) -> float | None:
    """Returns the largest relative error, |x - expected| / |expected| with Euclidean norms, of all
    arrays x that are in both `got` and `expected`.

    Returns None if there are no such arrays, or `expected` is None.

    Args:
        expected: the result of `reference`.
        got: the results of a program, {"results", "gradients"} or one of the two.
    """
    if expected is None or expected.keys().isdisjoint(got):
        return None
    common = expected.keys() & got.keys()
    return float(_relative({n: expected[n] for n in common}, {n: got[n] for n in common}))


class JaxProgram:
    """A form of a workload in JAX, compiled ahead of time, that can be timed."""

    def __init__(self, workload: Workload, form: Form, direction: str, sets: Sequence[dict]):
        if form.prepare is not None:
            sets = [jax.jit(form.prepare)(inputs) for inputs in sets]
        self._carry = workload.carry
        if self._carry is not None:
            self._state = jax.tree.map(jnp.copy, sets[0][self._carry])  # each call donates it
            self._arguments = [
                ({n: x for n, x in inputs.items() if n != self._carry},) for inputs in sets
            ]

            def step(state: Any, rest: dict) -> Any:
                return form.function({**rest, self._carry: state})

            options = dict(form.compiler_options)
            function = jax.jit(step, donate_argnums=0, compiler_options=options)
            self._compile(form, function, (self._state, *self._arguments[0]))
            return

        def results(differentiable: dict, rest: dict) -> Any:
            return form.function({**rest, **differentiable})

        inputs_by_set = [split(workload, inputs) for inputs in sets]
        shapes = jax.eval_shape(results, *inputs_by_set[0]) if direction != "forward" else None
        cotangents = cotangents_like(shapes)
        options = dict(form.compiler_options)
        if direction == "backward":

            def save(differentiable: dict, rest: dict) -> tuple:
                return jax.vjp(functools.partial(results, rest=rest), differentiable)

            def function(pull: Callable, cotangents: Any) -> dict:
                return {"gradients": pull(cotangents)[0]}

            with form.tracing():
                saved = jax.jit(save, compiler_options=options).lower(*inputs_by_set[0]).compile()
            self._arguments = [(saved(*inputs)[1], cotangents) for inputs in inputs_by_set]
        else:
            self._arguments = [(*inputs, cotangents) for inputs in inputs_by_set]
            function = directed(results, direction)
        self._compile(form, jax.jit(function, compiler_options=options), self._arguments[0])

    def _compile(self, form: Form, function: Any, arguments: tuple) -> None:
        with form.tracing():
            start = time.perf_counter()
            lowered = function.lower(*arguments)
            middle = time.perf_counter()
            self._compiled = lowered.compile()
        self.lower_s, self.compile_s = middle - start, time.perf_counter() - middle
        calls = collections.Counter(
            re.findall(r'custom_call_target="([^"]+)"', self._compiled.as_text())
        )
        if form.expects and not any(form.expects in name for name in calls):
            raise Absent(f"the compiled program has no {form.expects} call")
        self.ran = "; ".join(
            [form.how, *(f"{name} x{n}" if n > 1 else name for name, n in sorted(calls.items()))]
        )
        memory = self._compiled.memory_analysis()
        self.peak_bytes = memory and int(
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes
        )

    def start(self, i: int) -> Any:
        """Starts call number i without waiting for it. Returns its pending results, for `wait`."""
        arguments = self._arguments[i % len(self._arguments)]
        if self._carry is None:
            return self._compiled(*arguments)
        results = self._compiled(self._state, *arguments)
        self._state = results.pop(self._carry)
        return {"results": results}

    def wait(self, x: Any) -> None:
        """Waits for the call whose `start` returned x."""
        jax.block_until_ready(x)

    def results(self) -> dict:
        """Runs the first call and returns its "results", its "gradients" or both, according to the
        direction.
        """
        return self.start(0)


class PythonProgram:
    """A form of a workload in plain Python, that can be timed. A call has finished when it
    returns.
    """

    def __init__(self, workload: Workload, form: Form, direction: str, sets: Sequence[dict]):
        if direction != "forward":
            raise Absent("plain Python has no gradient")
        self._function, self._sets = form.function, sets
        self.ran, self.lower_s, self.compile_s, self.peak_bytes = form.how, 0.0, 0.0, None

    def start(self, i: int) -> Any:
        """Runs call number i and returns its result."""
        return self._function(self._sets[i % len(self._sets)])

    def wait(self, x: Any) -> None:
        """Waits for the arrays of the result x."""
        jax.block_until_ready(x)

    def results(self) -> dict:
        """Runs the first call and returns {"results": its result}."""
        return {"results": self.start(0)}


def _as_jax(x: Any) -> jax.Array:
    """Converts a tensor of PyTorch to an array."""
    return jnp.from_dlpack(x.detach().contiguous())


class TorchProgram:
    """A form of a workload in PyTorch, with the same inputs as in JAX, that can be timed.

    PyTorch compiles in its first call, so `compile_s` is the time of that call.
    """

    def __init__(self, workload: Workload, form: Form, direction: str, sets: Sequence[dict]):
        import torch  # may be absent; `torch_or_absent` has found it here

        self._torch, self._direction = torch, direction
        self._cuda = next(iter(jax.tree.leaves(sets[0]))).device.platform == "gpu"
        sets = [
            {name: torch.from_dlpack(x).clone() for name, x in inputs.items()} for inputs in sets
        ]
        self._differentiable = [
            [
                inputs[name].requires_grad_(direction != "forward")
                for name in workload.differentiable
                if name in inputs
            ]
            for inputs in sets
        ]
        self._names = [name for name in workload.differentiable if name in sets[0]]
        self._sets = [form.prepare(inputs) if form.prepare else inputs for inputs in sets]
        self._function = form.function
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            allocated = torch.cuda.memory_allocated()
        if direction != "forward":
            from torch._functorch import config  # a part of PyTorch, as above

            config.donated_buffer = False  # the backward pass is repeated
            like = self._as_tuple(self._call(0))
            shapes = tuple(
                jax.ShapeDtypeStruct(tuple(x.shape), jnp.dtype(str(x.dtype).removeprefix("torch.")))
                for x in like
            )
            cotangents = cotangents_like(shapes)
            self._cotangents = [torch.from_dlpack(x).clone() for x in cotangents]
            self._saved = (
                [self._as_tuple(self._call(i)) for i in range(len(self._sets))]
                if direction == "backward"
                else []
            )
        start = time.perf_counter()
        self.wait(self.start(0))
        self.lower_s, self.compile_s, self.ran = (
            0.0,
            time.perf_counter() - start,
            f"{form.how}, PyTorch {torch.__version__}",
        )
        self.peak_bytes = None
        if self._cuda:
            inputs_bytes = sum(x.nbytes for x in self._sets[0].values())
            self.peak_bytes = torch.cuda.max_memory_allocated() - allocated + inputs_bytes

    @staticmethod
    def _as_tuple(x: Any) -> tuple:
        return tuple(x) if isinstance(x, tuple | list) else (x,)

    def _call(self, i: int) -> Any:
        return self._function(self._sets[i])

    def start(self, i: int) -> Any:
        """Starts call number i without waiting for it; returns (results, gradients)."""
        i %= len(self._sets)
        if self._direction == "forward":
            with self._torch.no_grad():
                return self._call(i), None
        results = self._saved[i] if self._direction == "backward" else self._as_tuple(self._call(i))
        gradients = self._torch.autograd.grad(
            results,
            self._differentiable[i],
            self._cotangents,
            retain_graph=self._direction == "backward",
        )
        return None if self._direction == "backward" else results, gradients

    def wait(self, x: Any) -> None:
        """Waits for all calls on the GPU; x is not used."""
        if self._cuda:
            self._torch.cuda.synchronize()

    def results(self) -> dict:
        """Runs the first call; returns its "results" and "gradients" as jax arrays."""
        results, gradients = self.start(0)
        self.wait(results)
        found = {}
        if results is not None:
            got = tuple(_as_jax(x) for x in self._as_tuple(results))
            found["results"] = got[0] if len(got) == 1 else got
        if gradients is not None:
            found["gradients"] = {
                name: _as_jax(x) for name, x in zip(self._names, gradients, strict=True)
            }
        return found


Program = JaxProgram | TorchProgram | PythonProgram
