"""Measure what tokenizers keep: the score of each oracle before and after encoding and decoding.

  python -m experiments.round_trip --output=outputs/round_trip
  python -m experiments.round_trip --oracles=lips,words --num_clips=16 --output=outputs/two \
      --video_tokenizer=runs/video/weights.safetensors

An oracle is a program that measures one property of a clip. Its score is the share of clips that
it reads correctly. round_trip.json holds {oracle: {stage, n, truth, decoded, low, high}}: the kind
of scenes, the number of clips that test the oracle, its score on ground truth and on decoded clips,
and the 95 % interval of the latter. The exit status is 1 if a score falls by more than 0.03.
"""

import json
import sys
from collections.abc import Sequence

from absl import flags

from sora_jax import environment, files, weights
from sora_jax.cli import run_main
from sora_jax.compat import check_platform, enable_compile_cache
from sora_jax.errors import UserError
from sora_jax.evaluation.tokenizer_oracles import LOSS, Pair, scores_through
from sora_jax.tables import plain

_OUTPUT = flags.DEFINE_string("output", None, "Folder for the scores. Required.")
_NUM_CLIPS = flags.DEFINE_integer("num_clips", 64, "Scenes of each stage.", lower_bound=2)
_ORACLES = flags.DEFINE_list("oracles", None, "Oracles, with commas. Default: all.")
_VIDEO = flags.DEFINE_string("video_tokenizer", None, "Its weights. Default: the shipped ones.")
_AUDIO = flags.DEFINE_string("audio_tokenizer", None, "Its weights. Default: the shipped ones.")


def main(_: Sequence[str]) -> None:
    if not _OUTPUT.value:
        raise UserError("--output is missing; give a folder, such as outputs/round_trip")
    folder = files.check_output("output", _OUTPUT.value)
    check_platform()
    enable_compile_cache()
    video, video_weights = weights.load_video_tokenizer(_VIDEO.value)
    audio, audio_weights = weights.load_audio_tokenizer(_AUDIO.value)
    both = Pair(video, audio)
    scores = scores_through(both, _NUM_CLIPS.value, _ORACLES.value, lambda s: print(s, flush=True))
    tokenizers = {
        "video_tokenizer": video_weights.fingerprint,
        "audio_tokenizer": audio_weights.fingerprint,
    }
    result = {"command": environment.command(), "tokenizers": tokenizers, "oracles": scores}
    result |= {"hardware": environment.hardware(), "commit": environment.commit()}
    files.write(folder / "round_trip.json", json.dumps(result, indent=1) + "\n")
    rows = [
        (name, one["stage"], str(one["n"]), *(f"{one[key]:.3f}" for key in ("truth", "decoded")))
        for name, one in scores.items()
        if one["n"]
    ]
    print(plain(("oracle", "scenes", "n", "truth", "decoded"), rows))
    lost = [n for n, one in scores.items() if one["n"] and one["truth"] - one["decoded"] > LOSS]
    print(f"lose more than {LOSS}: {', '.join(lost) or 'none'}")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    run_main(main)
