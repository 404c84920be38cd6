"""The loaded model, as its workers describe it in the database: its name and the formats of its
clips.

An API process loads no weights. It reads here which sizes and durations can be made, and whether a
worker is ready.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.pipelines import formats as format_lib
from sora_jax.pipelines.storyboards import format_of_prompt, storyboard_of
from sora_jax.studio.database.store import Store
from sora_jax.studio.database.tables import workers
from sora_jax.studio.problems import invalid, of_user_error, unavailable
from sora_jax.weights import families_of

if TYPE_CHECKING:
    from sora_jax.pipelines.generate import Pipeline

ALIAS = "sora-2"  # names of models that begin so, as OpenAI's do, mean the loaded model
SILENT_SECONDS = 15.0  # a worker that has reported nothing for longer is not ready
SLACK = 1e-6  # tolerance in seconds, for rounding


@dataclasses.dataclass(frozen=True)
class Model:
    """What an API process knows of the loaded model.

    Attributes:
        name: name with the fingerprint of the weights, such as "nano-03a75eb25d39".
        formats: formats of its clips, the default first.
        references: largest number of characters that it can show by their references. Default 0.
        families: families of scenes that it was trained on. Default: none.
    """

    name: str
    formats: tuple[ClipFormat, ...]
    references: int = 0
    families: tuple[str, ...] = ()

    @classmethod
    def of(cls, pipeline: "Pipeline", name: str = "sora_jax") -> "Model":
        """Returns the model of a pipeline. `name` is put before the fingerprint of its weights."""
        fingerprint = pipeline.fingerprints.get("model", "unnamed")
        formats = (pipeline.format, *pipeline.formats)
        families = families_of({"data": pipeline.trained_on})
        return cls(f"{name}-{fingerprint}", formats, pipeline.model.config.references, families)

    def to_dict(self) -> dict[str, Any]:
        """Returns the model as JSON values."""
        formats = [one.to_dict() for one in self.formats]
        return {
            "name": self.name,
            "formats": formats,
            "references": self.references,
            "families": list(self.families),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Model":
        """Returns the model of `values`, the result of `to_dict`."""
        formats = tuple(map(ClipFormat.from_dict, values["formats"]))
        references, families = values.get("references", 0), values.get("families", ())
        return cls(values["name"], formats, references, tuple(families))

    def check_name(self, asked: str | None) -> None:
        """Raises Problem for the name of another model; None, no name, is accepted."""
        if asked is None or asked == self.name or asked.startswith(ALIAS):
            return
        raise invalid(
            f"This server has the model {self.name!r}, which {ALIAS!r} means too; leave out the "
            "model, or give one of these.",
            "model",
            "model_not_found",
        )

    def choose(self, size: str | None, seconds: float | None, prompt: str) -> ClipFormat:
        """Returns the format of a new clip.

        Args:
            size: width x height, such as "64x64". None: any.
            seconds: duration. That of the format differs by at most half a video latent. None: any.
            prompt: the prompt. If it is a storyboard of several shots, the format has its shots;
                otherwise formats of one shot are preferred.

        Raises:
            Problem: the model makes no clips of this size or duration, or the prompt begins like a
                storyboard but cannot be read.
        """
        fitting = [one for one in self.formats if size in (None, size_of(one))]
        if not fitting:
            raise invalid(f"This model makes {self._listed()}; not {size}.", "size")
        try:
            board = storyboard_of(prompt)
            shots = 1 if board is None else len(board.shots)
            if shots > 1:
                first = format_of_prompt(prompt, fitting[0], fitting)
                fitting = [one for one in fitting if one.shots == first.shots]
        except UserError as error:
            raise of_user_error(error, "prompt") from None
        if shots == 1 and any(not one.shots for one in fitting):
            fitting = [one for one in fitting if not one.shots]
        if seconds is None:
            return fitting[0]
        nearest = min(fitting, key=lambda one: abs(one.seconds - seconds))
        if abs(nearest.seconds - seconds) > half_latent(nearest) + SLACK:
            raise invalid(
                f"This model makes {self._listed()}; not {seconds:g} seconds. Extend a clip to "
                "make it longer.",
                "seconds",
            )
        return nearest

    def like(self, sides: tuple[int, int], rate: float) -> ClipFormat:
        """Returns the format with the sides (height, width) and rate of a clip that
        `pipelines.formats.like` prefers; the default format if there is none.
        """
        return format_lib.like(self.formats, sides, rate, {}) or self.formats[0]

    def _listed(self) -> str:
        known = dict.fromkeys(f"{size_of(one)} of {one.seconds:g} s" for one in self.formats)
        return ", ".join(known)


def size_of(format: ClipFormat) -> str:
    """Returns width x height, such as "64x64"."""
    return f"{format.width}x{format.height}"


def half_latent(format: ClipFormat) -> float:
    """Returns half the duration of a video latent in seconds."""
    return float(format.frames_per_latent / format.fps) / 2


def seconds_text(seconds: float, format: ClipFormat) -> str:
    """Returns a duration as the API writes it: rounded to whole seconds if that changes it by at
    most half a video latent of the format, else with up to three decimals.
    """
    whole = max(1, round(seconds))
    if abs(whole - seconds) <= half_latent(format) + SLACK:
        return str(whole)
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def register(store: Store, worker: str, model: Model) -> None:
    """Records that a worker has loaded a model and is ready. Rows of workers that reported nothing
    for a day are deleted.
    """
    times = {"started_at": store.clock(), "seen_at": store.clock()}
    with store.engine.begin() as connection:
        row = {"id": worker, "model": model.to_dict(), **times}
        connection.execute(sa.insert(workers).values(row))
        old = workers.c.seen_at < store.clock() - 86_400
        newest = sa.select(sa.func.max(workers.c.seen_at)).scalar_subquery()
        connection.execute(sa.delete(workers).where(old, workers.c.seen_at < newest))


def seen(store: Store, worker: str) -> None:
    """Records that a worker is alive. It is called at least every SILENT_SECONDS."""
    with store.engine.begin() as connection:
        alive = sa.update(workers).where(workers.c.id == worker).values(seen_at=store.clock())
        connection.execute(alive)


def unregister(store: Store, worker: str) -> None:
    """Records that a worker ended. Its model stays known."""
    with store.engine.begin() as connection:
        ended = sa.update(workers).where(workers.c.id == worker)
        connection.execute(ended.values(seen_at=store.clock() - 2 * SILENT_SECONDS))


def ready(store: Store) -> int:
    """Returns the number of workers that are ready."""
    alive = workers.c.seen_at > store.clock() - SILENT_SECONDS
    with store.engine.connect() as connection:
        asked = sa.select(sa.func.count()).select_from(workers).where(alive)
        return connection.execute(asked).scalar_one()


def current(store: Store) -> Model:
    """Returns the model of the worker that reported last.

    Raises:
        Problem: no worker was ever ready.
    """
    with store.engine.connect() as connection:
        asked = sa.select(workers.c.model).order_by(workers.c.seen_at.desc()).limit(1)
        values = connection.execute(asked).scalar_one_or_none()
    if values is None:
        raise unavailable(
            "No worker has loaded its weights yet; try again in a moment.", "not_ready"
        )
    return Model.from_dict(values)
