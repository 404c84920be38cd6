"""Films a capture for the conformance script: an actor of the world's cast who says a phrase.

python tests/studio/film_capture.py --actor=3 purple six down > capture.mp4
"""

import argparse
import sys
import tempfile
from pathlib import Path

from sora_jax.characters.capture import FORMAT, capture
from sora_jax.mp4 import write_mp4
from sora_jax.oracles.examples import render_takes
from sora_jax.worlds.playhouse.cast import catalogue


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--actor", type=int, default=3, help="number in the held-out cast")
    parser.add_argument("--seed", type=int, default=50, help="of light and timing")
    parser.add_argument("words", nargs="+", help="the phrase")
    options = parser.parse_args()
    take = capture(catalogue("held_out")[options.actor], options.words, options.seed)
    (clip,) = render_takes([take], FORMAT, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "capture.mp4"
        write_mp4(path, clip)
        sys.stdout.buffer.write(path.read_bytes())


if __name__ == "__main__":
    main()
