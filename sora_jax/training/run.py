"""The configuration of a training run, as frozen dataclasses."""

import dataclasses

from sora_jax.config import nearest
from sora_jax.errors import UserError
from sora_jax.flow.loss import FlowConfig
from sora_jax.models.st_dit import STDiTConfig
from sora_jax.parallel.mesh import MeshConfig
from sora_jax.training.adapt import AdaptConfig
from sora_jax.training.data_config import ModelDataConfig, batch_sizes
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig
from sora_jax.training.watch import ProfileConfig, SampleConfig, ValidationConfig


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """The encoder of prompts.

    Attributes:
        t5: folder of a T5 encoder (`sora_jax.models.t5`). It is not trained, so the features of all
            captions are computed once. `data.text_length` then counts its tokens, not words.
            Default "": the model embeds words itself.
    """

    t5: str = ""


@dataclasses.dataclass(frozen=True)
class Run:
    """The configuration of a training run: everything but the weights it starts from.

    `mesh`, `profile`, `validation` and `sample` do not change the weights.

    Attributes:
        model: the sizes of the network.
        flow: the loss.
        data: the sets of clips, or of latents.
        optim: the optimizer and its learning rate.
        train: steps, seed, checkpoints and logs.
        adapt: the parameters that are trained. Default: all.
        text: the encoder of prompts. Default: the model itself.
        mesh: the axes of the mesh of devices.
        profile: steps to profile. Default: none.
        validation: loss on held-out clips during training. Default: none.
        sample: preview clips during training. Default: none.
    """

    model: STDiTConfig = STDiTConfig()
    flow: FlowConfig = FlowConfig()
    data: ModelDataConfig = dataclasses.field(default_factory=ModelDataConfig)
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    adapt: AdaptConfig = AdaptConfig()
    text: TextConfig = TextConfig()
    mesh: MeshConfig = MeshConfig()
    profile: ProfileConfig = ProfileConfig()
    validation: ValidationConfig = ValidationConfig()
    sample: SampleConfig = SampleConfig()

    def __post_init__(self):
        if self.flow.output != self.model.output:
            raise ValueError(
                f"model.output={self.model.output!r} and flow.output={self.flow.output!r} "
                "differ; set both alike"
            )
        if every := self.flow.shortcut.every:
            if not self.model.step_sizes:
                raise ValueError(
                    "flow.shortcut trains large steps, and the model takes no step sizes; set "
                    "model.step_sizes=True"
                )
            for name, size in batch_sizes(self.data, self.train.batch_size).items():
                if size % every:
                    raise ValueError(
                        f"flow.shortcut.every={every} does not divide the {size} clips of a batch"
                        + f" of {name}" * bool(self.data.sets)
                    )

    def on_set(self, name: str = "") -> "Run":
        """Returns the run on one set of its mixture alone, with that set's batch size.

        Args:
            name: the name of the set (`SetConfig.name`). Default "": the first.

        Raises:
            UserError: the mixture has no such set.
        """
        sets = {one.name: one for one in self.data.mixture}
        name = name or next(iter(sets))
        if name not in sets:
            raise UserError(f"the data have no set {name}; {nearest(name, sets)}", field="set")
        size = batch_sizes(self.data, self.train.batch_size)[name]
        one = dataclasses.replace(sets[name], batch_size=size)
        data = dataclasses.replace(self.data, sets=(one,)) if self.data.sets else self.data
        return dataclasses.replace(
            self, data=data, train=dataclasses.replace(self.train, batch_size=size)
        )
