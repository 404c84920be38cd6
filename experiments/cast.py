r"""Draw a character of Playhouse's cast: the pictures and the voice that show a model who it is.

    python -m experiments.cast --index=3 --output=outputs/mika
    python -m experiments.cast --part=held_out --index=10 --style=anime --output=outputs/rolo
    python -m experiments.sample --weights=WEIGHTS --character=@mika=outputs/mika \
        --prompt='realistic, in the rain, the face of @mika: @mika says "floor two"'

The folder gets four stills of the character (front.png, left.png, right.png and blink.png),
voice.wav if it speaks (animals do not), character.json with the parameters of its looks and voice,
and sheet.png, which shows all of it. No training split shows the characters of --part=held_out.
"""

import json
from collections.abc import Sequence

from absl import flags

from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.clip import Clip
from sora_jax.contact_sheet import contact_sheet
from sora_jax.errors import UserError
from sora_jax.pipelines.likeness import Likeness
from sora_jax.worlds.playhouse.cast import KINDS, catalogue
from sora_jax.worlds.playhouse.references import VOICE_SECONDS, references
from sora_jax.worlds.playhouse.spec import FILM_STYLES

_INDEX = flags.DEFINE_integer("index", 0, "Number of the character in its part.", lower_bound=0)
_PART = flags.DEFINE_enum(
    "part", "train", ["train", "held_out"], "Part of the catalogue: train or held_out."
)
_KIND = flags.DEFINE_enum("kind", "person", list(KINDS), "Kind of character.")
_STYLE = flags.DEFINE_enum(
    "style", None, list(FILM_STYLES), "Style of the stills. Default: drawn from --seed."
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Draws light, background and the words of the voice.", lower_bound=0
)
_SIZE = flags.DEFINE_integer(
    "size", 64, "Side of the stills in pixels: the shorter side of the clips.", lower_bound=16
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write. Required.")


def main(_: Sequence[str]) -> None:
    if not _OUTPUT.value:
        raise UserError("no --output; give the folder to write, such as outputs/mika")
    cast = catalogue(_PART.value, _KIND.value)
    if _INDEX.value >= len(cast):
        raise UserError(
            f"--index={_INDEX.value}: the part {_PART.value} has {len(cast)} of kind "
            f"{_KIND.value}; give 0 to {len(cast) - 1}"
        )
    folder = files.check_output("output", _OUTPUT.value)
    character = cast[_INDEX.value]
    shown = references(character, _SEED.value, _STYLE.value, size=_SIZE.value)
    Likeness.of(shown).save(folder)
    title = f"{_KIND.value} {_INDEX.value} of {_PART.value}, in style {shown.style}"
    if shown.words:
        title += f', says "{" ".join(shown.words)}"'
    clip = Clip(shown.stills, shown.samples, len(shown.stills) / VOICE_SECONDS)
    contact_sheet(folder / "sheet.png", clip, title)
    numbers = {**character.to_dict(), "style": shown.style, "words": list(shown.words)}
    files.write(folder / "character.json", json.dumps(numbers, indent=1) + "\n")
    print(f"{folder}: {title}")


if __name__ == "__main__":
    run_main(main)
