"""A model trains on several formats: each batch as its format alone, resumed to the bit."""

import collections
import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from toy_latents import write_latents
from toy_model import MODEL

from sora_jax import config as config_lib
from sora_jax import weights
from sora_jax.errors import UserError
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.parallel.mesh import MeshConfig
from sora_jax.training import inputs, metrics
from sora_jax.training.data_config import ModelDataConfig, SetConfig, batch_sizes
from sora_jax.training.program import assemble
from sora_jax.training.run import Run
from sora_jax.training.state import split_module
from sora_jax.training.train import train
from sora_jax.tree import flatten

# a square, a wide and a tall bucket, each at a rate of its own; 24 is three latents of 8 pixels,
# which patches of 2 x 2 do not divide
BUCKETS = {
    "square": {"height": 16, "width": 16, "weight": 2.0},
    "wide": {"height": 16, "width": 24, "fps": 12.0},
    "tall": {"height": 24, "width": 16, "fps": 24.0, "seconds": 1.0},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder, sets = tmp_path_factory.mktemp("buckets"), []
    for name, fields in BUCKETS.items():
        one = {"path": str(folder / name), **fields}
        write_latents(folder / name, config_lib.from_dict(SetConfig, one).clip_format, 24)
        sets.append(one)
    values = {
        "model": MODEL,
        "data": {"sets": sets, "text_length": 8},
        "train": {"steps": 8, "batch_size": 4, "log_every": 4, "checkpoint_every": 2, "keep": 9},
    }
    return config_lib.from_dict(Run, values)


def batches(run, count):
    folders = {one.name: one.path for one in run.data.sets}
    words, _ = inputs.vocabulary({"a": {}}, 8)
    tokenizer = TextTokenizer.of_vocabulary(words, run.model.vocabulary, 8)
    sizes = batch_sizes(run.data, run.train.batch_size)
    tokenizers = dict.fromkeys(folders, tokenizer)
    stream = inputs.open_mixture(run.data, folders, sizes, tokenizers, 0)
    return [next(iter(next(stream).items())) for _ in range(count)]


def test_formats_and_batches_follow_the_fields(run):
    formats = {one.name: one.clip_format for one in run.data.mixture}
    names = ["square@nano-16x16", "wide@nano-24x16-12fps", "tall@nano-16x24-24fps-1s"]
    assert list(formats) == names
    assert [format.latent_sides for format in formats.values()] == [(2, 2), (2, 3), (3, 2)]
    assert [format.frames for format in formats.values()] == [17, 25, 25]
    # 4 clips of 5 x 4 sites are as many as 1.9 of 7 x 6
    assert list(batch_sizes(run.data, 4).values()) == [4, 2, 2]
    drawn = ModelDataConfig(family="film", style="anime", split="val", fps=12, seconds=1)
    assert drawn.name == "film-anime-val@nano-12fps-1s" and drawn.clip_format.frames == 13
    story = SetConfig(family="story", format="story2", fps=16)
    assert story.clip_format.shots == (33, 33) and story.clip_format.fps == 16


def test_prompts_have_the_words_of_their_set(run):
    sets = {"own": {}, "room": {"family": "room"}, "story": {"family": "story"}}
    words, lengths = inputs.vocabulary(sets, 8)
    assert lengths == {"own": 8, "room": 48, "story": 192} and {"ball", "shot"} <= set(words)
    names = [one.name for one in run.data.mixture]
    program = assemble(
        run, MeshConfig().make(), text_lengths=dict(zip(names, (8, 48, 192), strict=True))
    )
    assert [batch["tokens"].shape[1] for batch in program.batches.values()] == [8, 48, 192]
    tokens, mask = TextTokenizer(words, length=48).of_length(8)(["a red ball"])
    assert tokens.shape == (1, 8) and mask.sum() == 3


@pytest.mark.slow
def test_a_batch_of_a_mixture_is_that_of_its_format_alone(run):
    """Loss and gradients are those of a run on that set alone, and each format compiles once."""
    mesh = MeshConfig().make()
    program = assemble(run, mesh)
    params = split_module(program.create())[0]

    def gradients(program):
        return jax.jit(jax.value_and_grad(program.loss, has_aux=True))

    both, seen = gradients(program), set()
    for name, batch in batches(run, 8):
        (loss, _), gradient = both(params, batch, jax.random.key(1))
        if name in seen:
            continue
        seen.add(name)
        (one,) = (one for one in run.data.mixture if one.name == name)
        sets = config_lib.from_dict(ModelDataConfig, {"sets": [one], "text_length": 8})
        alone = gradients(assemble(dataclasses.replace(run, data=sets), mesh))
        (expected, _), expected_gradient = alone(params, batch, jax.random.key(1))
        assert loss == expected and np.isfinite(loss)
        jax.tree.map(np.testing.assert_array_equal, gradient, expected_gradient)
    assert seen == set(program.formats) and both._cache_size() == len(seen)


def test_shares_of_batches_are_the_weights(run):
    count = collections.Counter(name for name, _ in batches(run, 400))
    for name, weight in run.data.weights.items():
        assert abs(count[name] / 400 - weight / 4) < 0.01


@pytest.mark.slow
def test_a_mixture_resumes_to_the_bit(run, tmp_path):
    data = dataclasses.replace(run.data, sets=run.data.sets[:2])
    run = dataclasses.replace(run, data=data)
    whole = train(run, tmp_path / "whole")
    for kept in (2, 6):  # stopped in the middle of a round of the sets, twice
        shutil.copytree(tmp_path / "whole", tmp_path / "cut", dirs_exist_ok=True)
        for step in range(kept + 2, 10, 2):
            shutil.rmtree(tmp_path / "cut" / "checkpoints" / str(step))
        resumed = train(run, tmp_path / "cut")
        ours, theirs = (weights.load_weights(t.weights, "st_dit") for t in (whole, resumed))
        jax.tree.map(np.testing.assert_array_equal, flatten(ours.params), flatten(theirs.params))
        shutil.rmtree(tmp_path / "cut")
    card = ours.metadata
    assert list(card["data"]["sets"]) == list(run.data.weights) and len(card["formats"]) == 2
    assert "/" not in json.dumps([one["path"] for one in card["run"]["data"]["sets"]])
    rows = metrics.read(tmp_path / "whole" / "metrics.jsonl")
    for name in run.data.weights:
        losses = [row[f"{name}/video_loss"] for row in rows if f"{name}/video_loss" in row]
        assert losses and np.isfinite(losses).all()
    assert rows[-1]["clips_per_second"] > 0


def test_mixtures_that_cannot_be_are_refused(run, tmp_path):
    with pytest.raises(UserError, match="square@nano-16x16 twice"):
        sets = [run.data.sets[0], run.data.sets[0]]
        config_lib.from_dict(ModelDataConfig, {"sets": sets})
    other = write_latents(
        tmp_path / "other",
        run.data.sets[0].clip_format,
        tokenizers={"video_tokenizer": "another", "audio_tokenizer": "made up"},
    )
    path = dataclasses.replace(run.data.sets[0], path=str(other))
    data = config_lib.from_dict(ModelDataConfig, {"sets": [run.data.sets[0], path]})
    with pytest.raises(UserError, match=r"of other@nano-16x16 were made by other tokenizers"):
        inputs.latents_of(data, tmp_path)
    boxed = {"source": "video_folder", "path": str(other), "fit": "letterbox"}
    with pytest.raises(UserError, match="holds latents, whose frames are fitted already"):
        inputs.identify(config_lib.from_dict(ModelDataConfig, {"sets": [boxed]}))
    wrong = dataclasses.replace(run.data.sets[0], height=24)
    data = config_lib.from_dict(ModelDataConfig, {"sets": [wrong, run.data.sets[1]]})
    folders = {one.name: one.path for one in data.sets}
    tokenizer = TextTokenizer.of_vocabulary(("a",), 8, 8)
    with pytest.raises(UserError, match="have the format 17 frames of 16 x 16 at 8/s, not 17 fra"):
        tokenizers = dict.fromkeys(folders, tokenizer)
        inputs.open_mixture(data, folders, batch_sizes(data, 2), tokenizers, 0)


def test_labels_tell_folders_of_one_name_apart_and_let_them_be_renamed(run, tmp_path):
    """A stopped run goes on after its labelled folders were renamed."""
    sets = []
    for label in ("mine", "yours"):
        path = shutil.copytree(run.data.sets[0].path, tmp_path / label / "latents")
        sets.append(dataclasses.replace(run.data.sets[0], path=str(path), label=label))
    with pytest.raises(ValueError, match=r"twice; .* a label"):
        dataclasses.replace(run.data, sets=tuple(dataclasses.replace(s, label="") for s in sets))
    with pytest.raises(ValueError, match="label='a/b'; use letters"):
        dataclasses.replace(sets[0], label="a/b")
    short = dataclasses.replace(run.train, steps=4, log_every=1)

    def trained(sets, steps):
        data = dataclasses.replace(run.data, sets=tuple(sets))
        done = dataclasses.replace(run, data=data, train=dataclasses.replace(short, steps=steps))
        return train(done, tmp_path / "run")

    trained(sets, 4)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
    (tmp_path / "mine" / "latents").rename(tmp_path / "mine" / "renamed")
    sets[0] = dataclasses.replace(sets[0], path=str(tmp_path / "mine" / "renamed"))
    card = weights.load_weights(trained(sets, 4).weights, "st_dit").metadata
    assert list(card["data"]["sets"]) == ["mine", "yours"]
    rows = metrics.read(tmp_path / "run" / "metrics.jsonl")
    assert {"mine/video_loss", "yours/video_loss"} <= {name for row in rows for name in row}


def test_a_run_on_one_set_of_its_mixture(run):
    """It has that set's format and the batch that the mixture gives it."""
    wide = run.on_set("wide@nano-24x16-12fps")
    assert [one.path for one in wide.data.mixture] == [run.data.sets[1].path]
    assert batch_sizes(wide.data, wide.train.batch_size) == {"wide@nano-24x16-12fps": 2}
    assert wide.train.batch_size == 2 and run.on_set().train.batch_size == 4
    with pytest.raises(UserError, match="no set wide@nano; did you mean 'wide@nano-24x16-12fps'"):
        run.on_set("wide@nano")
