r"""Measure drift: extend clips again and again, and compare each part with the beginning.

  python -m experiments.drift --output=outputs/drift
  python -m experiments.drift --output=outputs/long --extensions=20 \
      --weights=runs/nano/weights.safetensors

Each clip is generated from the caption of a held-out scene, and extended from its own end with the
same prompt. drift.json and drift.png in the folder have the colour of background and balls, the
level of the audio, and the share of clips that keep their balls, over the seconds, with 95 %
intervals. The same command continues a stopped measurement.
"""

from collections.abc import Sequence

from absl import flags

from experiments import generation
from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.tables import plain

flags.adopt_module_key_flags(generation)

_OUTPUT = flags.DEFINE_string("output", None, "Folder of the results. Required.")
_NUM_CLIPS = flags.DEFINE_integer("num_clips", 16, "Number of clips.", lower_bound=1)
_EXTENSIONS = flags.DEFINE_integer("extensions", 10, "Extensions of each clip.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 2.0, "Duration of an extension.", lower_bound=0.1)
_FAMILY = flags.DEFINE_string("family", "room", "Family of the scenes, one with balls.")


def main(_: Sequence[str]) -> None:
    if not _OUTPUT.value:
        raise UserError("--output is missing; give a folder, such as outputs/drift")
    generation.check_weights()
    folder = files.check_output("output", _OUTPUT.value)
    # Imported after the flags are checked, so that a wrong flag is reported before JAX loads.
    from sora_jax.evaluation.drift import MEASURES, PICTURE, measure_drift

    sampler = generation.sampler()
    found = measure_drift(
        generation.load(),
        folder,
        num_clips=_NUM_CLIPS.value,
        extensions=_EXTENSIONS.value,
        seconds=_SECONDS.value,
        sampler=sampler,
        seed=generation.SEED.value,
        family=_FAMILY.value,
        say=lambda text: print(text, flush=True),
    )
    rows = []
    for window in found["windows"]:
        values = (window[name]["value"] for name in MEASURES)
        cells = ("-" if value is None else f"{value:.2f}" for value in values)
        rows.append((f"{window['seconds']:.3g}", *cells))
    print(plain(("seconds", *MEASURES), rows))
    print(folder / PICTURE)


if __name__ == "__main__":
    run_main(main)
