"""Recipes: stations run once, continue, and notice when what they were made from has changed."""

import json
import shutil
from pathlib import Path

import ml_collections
import pytest

from experiments.configs import world as config_of_world
from experiments.recipes import world
from sora_jax import config as config_lib
from sora_jax.errors import UserError
from sora_jax.recipe import Kitchen, Station, read_recipe
from sora_jax.training.run import Run

COPY = ("json.tool", "--indent=1")  # a real command: copies a JSON file
FIRST = Station("first", (*COPY, "{workdir}/in.json", "{folder}/out.json"), "out.json")
SECOND = Station("second", (*COPY, "{first}", "{folder}/out.json"), "out.json")


@pytest.fixture
def kitchen(tmp_path):
    (tmp_path / "in.json").write_text("[1, 2]")
    return Kitchen([FIRST, SECOND], tmp_path)


def test_stations_run_in_order_and_once(kitchen, tmp_path):
    for station in kitchen.stations:
        assert not kitchen.is_done(station)
        kitchen.run(station)
    assert json.loads((tmp_path / "second" / "out.json").read_text()) == [1, 2]
    record = json.loads((tmp_path / "stations.json").read_text())
    assert record["second"]["inputs"]["first"] == record["first"]["output"]
    assert record["first"]["seconds"] > 0 and record["first"]["hardware"]
    again = Kitchen([FIRST, SECOND], tmp_path)
    assert all(map(again.is_done, again.stations))


def test_a_station_whose_input_has_changed_is_named(kitchen, tmp_path):
    for station in kitchen.stations:
        kitchen.run(station)
    (tmp_path / "first" / "out.json").write_text("[3]")
    with pytest.raises(UserError, match="second was made with another first; delete"):
        kitchen.is_done(SECOND)
    other = Station("first", (*COPY, "{workdir}/in.json", "{folder}/out.json", "--json-lines"))
    with pytest.raises(UserError, match="first was made with another its command"):
        Kitchen([other], tmp_path).is_done(other)


def test_a_station_that_fails_is_run_again(kitchen, tmp_path):
    (tmp_path / "in.json").write_text("no JSON")
    with pytest.raises(UserError, match="first ended with status 1; mend what it says"):
        kitchen.run(FIRST)
    again = Kitchen([FIRST, SECOND], tmp_path)
    before = again.record["first"]["seconds"]
    assert not again.is_done(FIRST)
    (tmp_path / "in.json").write_text("[1]")
    again.run(FIRST)
    assert again.is_done(FIRST) and again.record["first"]["seconds"] > before


def test_a_station_that_is_stopped_is_not_done(tmp_path):
    """A training that a signal stops ends with status 0, without its weights."""
    stopped = Station(
        "first", ("json.tool", "{workdir}/in.json", "{workdir}/elsewhere"), "out.json"
    )
    (tmp_path / "in.json").write_text("[1]")
    with pytest.raises(UserError, match="first was stopped; give the same command again to go on"):
        Kitchen([stopped], tmp_path).run(stopped)
    again = Kitchen([FIRST], tmp_path)
    assert again.record["first"]["seconds"] > 0 and not again.is_done(FIRST)


def test_a_new_run_goes_on_from_its_milestone(tmp_path):
    kept = tmp_path / "kept.safetensors"
    station = Station("model", ("experiments.train",), milestone=str(kept))
    kitchen = Kitchen([station], tmp_path / "run")
    assert kitchen.command(station) == ["experiments.train"]
    kept.write_bytes(b"")
    assert kitchen.command(station)[1:] == [f"--continue_from={kept}"]
    (tmp_path / "run" / "model" / "checkpoints").mkdir(parents=True)
    assert kitchen.command(station)[1:] == []


def test_a_run_that_began_from_a_milestone_continues_with_the_same_one(tmp_path):
    """A training refuses to continue without its --continue_from; the milestone may be newer."""
    milestone = tmp_path / "kept.safetensors"
    milestone.write_bytes(b"step 10")
    station = Station(
        "model",
        ("experiments.train",),
        "weights.safetensors",
        milestone=str(milestone),
        call=lambda folder: (folder / "checkpoints").mkdir(),
    )
    workdir = tmp_path / "run"
    for newer in (b"step 20", b"step 30"):  # the second time, the folder was deleted
        began_from = milestone.read_bytes()
        with pytest.raises(UserError, match="was stopped"):
            Kitchen([station], workdir).run(station)
        milestone.write_bytes(newer)
        (flag,) = Kitchen([station], workdir).command(station)[1:]
        assert Path(flag.removeprefix("--continue_from=")).read_bytes() == began_from
        shutil.rmtree(workdir / "model")
    milestone.unlink()
    with pytest.raises(UserError, match="was stopped"):
        Kitchen([station], workdir).run(station)
    assert Kitchen([station], workdir).command(station) == ["experiments.train"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no attribute"),
        ("def get_recipe(): return 1 / 0", "fails: ZeroDivisionError"),
        ("def get_recipe(): return [S('a', ()), S('a', ())]", "name of its own; not 'a'"),
        ("def get_recipe(): return [S('a', ('{b}',)), S('b', ())]", "a reads b, which does not"),
    ],
)
def test_mistakes_in_a_recipe(tmp_path, text, message):
    file = tmp_path / "mine.py"
    file.write_text(f"from sora_jax.recipe import Station as S\n{text}\n")
    with pytest.raises(UserError, match=message):
        read_recipe(file)
    for wrong, hint in (("mnie", f"did you mean {file}"), ("absent", "give a file such as those")):
        with pytest.raises(UserError, match=f"no recipe .*{wrong}.py; {hint}"):
            read_recipe(tmp_path / f"{wrong}.py")


def test_the_recipe_of_the_world_trains_on_what_it_encodes(tmp_path):
    stations = {station.name: station for station in read_recipe(world.__file__)}
    assert list(stations)[:2] == ["video_tokenizer", "audio_tokenizer"]
    values = config_of_world.get_config(str(tmp_path))
    assert isinstance(values, ml_collections.ConfigDict)
    run = config_lib.from_dict(Run, values.to_dict())
    assert len(run.data.mixture) == len(world.SETS)
    for one in run.data.mixture:
        name = one.path.rsplit("/")[-1]
        assert world.SETS[name][:2] == (one.family, one.format)
        assert f"latents_{name}" in stations and f"latents_{name}_val" in stations
