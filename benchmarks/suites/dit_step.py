"""The whole model: one evaluation, as in sampling, and one training step.

The training step includes the optimizer and the running average of the weights. FLOPs are those of
the model's matrix products, without the recomputation of activations (`remat`). Where the FLOPs and
not the bytes limit the speed, the percentage of the roofline is therefore the model FLOPs
utilisation.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.suites.ours import program_forms
from benchmarks.workload import Cost, Workload
from sora_jax.flow.loss import flow_loss
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.models import cost
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.training.optim import OptimConfig, make_optimizer
from sora_jax.training.state import new_state, split_module
from sora_jax.training.step import make_step

WORDS = 64  # tokens of a prompt


@dataclasses.dataclass(frozen=True)
class Case:
    """A case of this suite.

    Attributes:
        model: configuration of the model.
        format: format of the clips.
        batch: number of clips in a batch.
    """

    model: STDiTConfig
    format: ClipFormat
    batch: int


TINY = STDiTConfig(
    depth=1,
    width=16,
    heads=2,
    audio_width=8,
    audio_heads=2,
    exchange_width=8,
    exchange_heads=2,
    text_width=8,
    text_heads=2,
    text_layers=1,
)
SIZES = {
    "tiny": {"tiny": Case(TINY, ClipFormat(frames=5, fps=8, height=16, width=16), 2)},
    "cpu": {"nano_b8": Case(PRESETS["nano"], FORMATS["nano"], 8)},
    "gpu": {
        # 61 frames of 512 x 512 pixels: 16 latent frames of 1024 tokens.
        "XL_b2_61f_512px": Case(PRESETS["XL"], FORMATS["XL"], 2),
        "S_b128_33f_64px": Case(PRESETS["S"], FORMATS["S"], 128),
        "XL_b2_61f_512px_no_remat": Case(
            dataclasses.replace(PRESETS["XL"], remat="none"),
            FORMATS["XL"],
            2,
        ),
        "nano_b64_17f_64px": Case(PRESETS["nano"], FORMATS["nano"], 64),
    },
}


def workloads(size: str) -> list[Workload]:
    """Returns the cases of this suite at a size: "tiny" (for tests), "cpu" or "gpu"
    (also for TPUs).
    """
    return [
        make(name, case) for name, case in SIZES[size].items() for make in (training, evaluation)
    ]


def evaluation(name: str, case: Case) -> Workload:
    """Returns the workload of one evaluation of the model on noised latents, as in a step of the
    sampler. `name` is the name of the case.
    """

    def function(config: STDiTConfig) -> Callable:
        def evaluate(x: dict) -> dict[str, jax.Array]:
            params, latents = x["params"], {m: x[m] for m in ("video", "audio")}
            return _merge(config)(params)(
                latents, x["levels"], {"tokens": x["tokens"], "mask": x["text_mask"]}, _times(case)
            )

        return evaluate

    def inputs(seed: int) -> dict:
        batch = _batch(case, seed)
        levels = {
            m: jax.random.uniform(jax.random.key(seed), batch[m].shape[:2])
            for m in ("video", "audio")
        }
        return {**batch, "levels": levels, "params": _parameters(case.model)}

    return _workload(f"{name}_evaluation", case, "forward", inputs, function)


def training(name: str, case: Case) -> Workload:
    """Returns the workload of one training step, with AdamW, clipping of gradients and the running
    average of the weights. `name` is the name of the case.

    Its specification is the loss alone.
    """

    def function(config: STDiTConfig) -> Callable:
        merge = _merge(config)

        def loss_function(params: Any, batch: dict, key: jax.Array) -> tuple:
            return flow_loss(merge(params), batch, key, _times(case))

        step = make_step(loss_function, _optimizer())

        def train(x: dict) -> dict:
            state, metrics = step(x["state"], x["batch"])
            return {"state": state, "loss": metrics["loss"]}

        return train

    def inputs(seed: int) -> dict:
        return {
            "state": new_state(_parameters(case.model), _optimizer(), seed=0),
            "batch": _batch(case, seed),
        }

    def loss(x: dict) -> dict:
        return {"loss": function(dataclasses.replace(case.model, dtype="float32"))(x)["loss"]}

    return _workload(
        name, case, "forward_backward", inputs, function, reference=loss, carry="state"
    )


def _workload(
    name: str,
    case: Case,
    direction: str,
    inputs: Callable[[int], dict],
    function: Callable[[STDiTConfig], Callable],
    reference: Callable | None = None,
    carry: str | None = None,
) -> Workload:
    counted = _counted(dataclasses.replace(case.model, remat="none"), case.format, case.batch)
    latents = case.batch * (
        case.format.video_latents * math.prod(case.format.latent_sides) * case.model.video_channels
    )
    # Evaluation reads the weights once. Training moves 9 arrays of their size: weights, two moments
    # and average, each read and written, and the gradients. Latents go in and out. Activations need
    # not leave the chip.
    arrays = 1 if direction == "forward" else 9
    minimum = Cost(
        4 * (arrays * sum(counted.parameters.values()) + 2 * latents),
        counted.forward if direction == "forward" else counted.step,
    )
    how = (
        f"{case.model.dtype}, remat"
        if case.model.remat != "none" and direction != "forward"
        else case.model.dtype
    )
    return Workload(
        name=name,
        costs={direction: minimum},
        inputs=inputs,
        reference=reference or function(dataclasses.replace(case.model, dtype="float32")),
        forms=program_forms(how, functools.partial(function, case.model)),
        timer="wall",
        carry=carry,
        items=case.batch,
        unit="clips",
    )


@functools.cache
def _counted(model: STDiTConfig, format: ClipFormat, batch: int) -> cost.Cost:
    """Returns the parameters and FLOPs of a model for a batch of clips of a format. The result is
    cached, because counting traces the model, which takes seconds.
    """
    return cost.measure(model, format, batch, WORDS)


def _optimizer() -> optax.GradientTransformation:
    return make_optimizer(OptimConfig(), 1000)


def _times(case: Case) -> dict[str, jax.Array]:
    return {m: jnp.asarray(t, jnp.float32) for m, t in case.format.latent_times().items()}


def _parameters(config: STDiTConfig) -> Any:
    """Returns new weights of a model, plus small random numbers.

    The model initialises the gates of its branches to zero. They must not be zero here, because the
    compiler could then skip the branches.
    """

    @jax.jit
    def initial() -> Any:
        return split_module(_model(config))[0]

    params = initial()
    return jax.tree.map(
        lambda p: p + 0.01 * jax.random.normal(jax.random.key(p.size), p.shape), params
    )


def _model(config: STDiTConfig) -> STDiT:
    return STDiT(config, nnx.Rngs(0))


def _merge(config: STDiTConfig) -> Callable:
    return split_module(nnx.eval_shape(functools.partial(_model, config)))[1]


def _batch(case: Case, seed: int) -> dict[str, jax.Array]:
    video, audio, words = jax.random.split(jax.random.key(seed), 3)
    format = case.format
    return {
        "video": jax.random.normal(
            video,
            (case.batch, format.video_latents, *format.latent_sides, case.model.video_channels),
        ),
        "audio": jax.random.normal(
            audio, (case.batch, format.audio_latents, case.model.audio_channels)
        ),
        "tokens": jax.random.randint(words, (case.batch, WORDS), 1, case.model.vocabulary),
        "text_mask": jnp.ones((case.batch, WORDS), bool),
    }
