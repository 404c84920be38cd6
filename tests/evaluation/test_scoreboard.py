"""The scoreboard: what was not learned or cannot be read is never 0, and a stopped run goes on."""

import dataclasses
import functools
import json
import types

import numpy as np
import pytest
from toy_board import ROOM, Grey, board, files_of

from sora_jax.errors import UserError
from sora_jax.evaluation import baselines, measuring, report, run, scoreboard, suites
from sora_jax.evaluation.cells import cell
from sora_jax.evaluation.suites import Metric, Part, Suite, Unscored
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import Example, example
from sora_jax.oracles.reading import Reading
from sora_jax.pipelines.likeness import check_characters
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.phyworld import PhyWorld
from sora_jax.worlds.playhouse.families.room import Room

pytestmark = pytest.mark.usefixtures("no_tokenizers")


def count(clip: Example, reading: Reading):
    return float(len(clip.take.scene.balls))


@pytest.fixture
def tiny(monkeypatch):
    """A suite that reads nothing from pixels, in the pipeline's small format."""
    made = []

    def read(clip, reading):
        made.append(clip.take.index)
        known = {1: None, 2: Unscored("too dark")}
        return known.get(clip.take.index, count(clip, reading))

    metrics = {"balls": Metric("tracker", read), "later": suites.judged("not there yet")}
    suite = Suite("tiny", {"": Part("room", trained_on=("room",))}, metrics, mixed=None)
    monkeypatch.setitem(suites.SUITES, "tiny", suite)
    return made


def test_a_stopped_suite_goes_on_and_a_complete_one_is_not_measured_again(tmp_path, tiny):
    whole = board(tmp_path / "a").run("tiny")
    entry, rows = whole["balls"], whole["balls"]["rows"]
    assert set(rows) == {"model", "unconditional", *scoreboard.BASELINES}
    # clip 1 was not asked
    assert (
        entry["n"] == 1
        and entry["value"] == len(draw("val", 0).scene.balls)
        and entry["unscored"] == {"too dark": 1}
    )
    assert entry["floor"] is None and entry["ceiling"] == rows["ground truth"]["value"]
    assert {p.name for p in (tmp_path / "a" / "pictures").iterdir()} == {
        f"tiny-{row}-00{kind}.png" for row in ("model", "ground_truth") for kind in ("", "-tracked")
    } | {"tiny-model-00.mp4"}
    assert whole["later"]["status"] == "no oracle" and whole["later"]["value"] is None
    values = tmp_path / "a" / "values" / "tiny" / "all"
    seen, stamps = len(tiny), {p: p.stat().st_mtime_ns for p in values.iterdir()}
    assert seen == 3 * len(rows)
    # stopped before the end, with one batch of one row missing
    (tmp_path / "a" / "scores" / "tiny.json").unlink()
    (values / "linear_extrapolation-0001.json").unlink()
    assert board(tmp_path / "a").run("tiny") == whole
    assert len(tiny) == seen + 1 and all(
        p.stat().st_mtime_ns == t for p, t in stamps.items() if "linear" not in p.name
    )
    assert board(tmp_path / "a").run("tiny") == whole and len(tiny) == seen + 1


@pytest.mark.parametrize("where", ["oracle", "model"])
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0], ids=["first", "middle", "last"])
def test_a_suite_that_is_interrupted_leaves_no_half_and_goes_on(
    tmp_path, monkeypatch, where, share
):
    calls, stop = {"oracle": 0, "model": 0}, {}

    def called(what):
        calls[what] += 1
        if calls[what] == stop.get(what):
            raise KeyboardInterrupt

    def read(clip, reading):
        called("oracle")
        return float(clip.frames.mean()) * (1 + clip.take.index)

    class Stoppable(Grey):
        def generate_batch(self, requests, show):
            called("model")
            return super().generate_batch(requests, show)

    own = Suite("own", suites.ROOM, {"spread": Metric("tracker", read)})
    monkeypatch.setitem(suites.SUITES, "own", own)
    whole = board(tmp_path / "whole", Stoppable(), clips=5).run("own")
    total = dict(calls)
    assert total["oracle"] > 100 and total["model"] == 6
    stop[where] = total[where] + max(1, round(share * total[where]))
    with pytest.raises(KeyboardInterrupt):
        board(tmp_path / "parts", Stoppable(), clips=5).run("own")
    left = files_of(tmp_path / "parts")
    assert not any(path.startswith("scores") or path.endswith(".part") for path in left)
    done = {path: json.loads(text) for path, text in left.items() if path.startswith("values")}
    assert all(len(done[path]) == (1 if path.endswith("-0002.json") else 2) for path in done)
    assert bool(done) == (share > 0)

    stop.clear()
    calls.update(dict.fromkeys(calls, 0))
    assert board(tmp_path / "parts", Stoppable(), clips=5).run("own") == whole
    wanted, now = files_of(tmp_path / "whole"), files_of(tmp_path / "parts")
    assert now.items() >= left.items(), "what was done stays as it was"
    kept = [len(clip["floors"]["spread"]) for clips in done.values() for clip in clips]
    assert calls["oracle"] == total["oracle"] - len(kept) - sum(kept), "and is not measured again"
    same = ("values", "scores", "clips")
    assert [p for p in wanted if p.startswith(same) and wanted[p] != now.get(p)] == []


@pytest.mark.parametrize("mixed", ["clips", "sounds"])
def test_scores_and_floors_do_not_depend_on_the_batch(tmp_path, monkeypatch, mixed):
    """Five clips: batches of two and of four leave one alone, which has a floor all the same."""

    def read(clip, reading):
        assert reading.frames is clip.frames and reading.samples is clip.samples
        loud = np.abs(reading.samples).max() if mixed == "sounds" else clip.frames.mean()
        return float(loud) * (1 + clip.take.index)

    metrics = {"mean": Metric("tracker", read), "corrected": Metric("tracker", read, "F1", True)}
    monkeypatch.setitem(suites.SUITES, "own", Suite("own", suites.ROOM, metrics, mixed=mixed))
    found, floors = {}, {}
    for batch in (2, 4, 5):
        found[batch] = board(tmp_path / str(batch), clips=5, batch=batch).run("own")
        files = sorted((tmp_path / str(batch) / "values" / "own" / "all").glob("ground_truth-*"))
        clips = [clip for file in files for clip in json.loads(file.read_text())]
        assert len(files) == -(-5 // batch)
        floors[batch] = [clip["floors"]["mean"] for clip in clips]
    assert found[2] == found[4] == found[5] and floors[2] == floors[4] == floors[5]
    assert all(floors[2]) and len({tuple(own) for own in floors[2]}) == 5
    assert found[2]["corrected"]["rows"]["ground truth"]["n"] == 5


def test_an_oracle_that_comes_later_is_asked(tmp_path, tiny, monkeypatch):
    board(tmp_path, clips=2).run("tiny")

    class Later(Oracle):
        name, media, tolerance = "not there yet", ("video",), ""

        def read(self, reading):
            return None

        def judge(self, example, reading):
            return True

    monkeypatch.setitem(ORACLES, "not there yet", Later())
    assert board(tmp_path, clips=2).run("tiny")["later"]["value"] == 1.0


def test_other_weights_are_not_trained_and_never_0(tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(scoreboard.FORMATS, "nano", Grey().format)
    scores = board(tmp_path, data={**ROOM, "family": "court"}, clips=2).run("tiny")
    assert (
        scores["balls"]["status"] == "not trained"
        and scores["balls"]["value"] is None
        and "model" not in scores["balls"]["rows"]
    )
    header, (line, later) = report.table(scores)
    assert line[header.index("model")] == "not trained" and line[
        header.index("ground truth")
    ].endswith("; 1)")
    assert set(later[1 : header.index("floor")]) == {"no oracle"}


@pytest.mark.parametrize(
    "data, knows",
    [
        (
            ROOM,
            {
                *("physics", "sync", "sound", "facts", "conditional", "conditional_sync", "loops"),
                "tokenizers",
            },
        ),
        ({**ROOM, "family": "film"}, {"styles", "speech"}),
        ({**ROOM, "family": "talk"}, {"dialogue", "likeness", "soundscape"}),
        ({**ROOM, "family": "story"}, {"stories", "persistence", "edits"}),
        ({**ROOM, "family": "phyworld_uniform_300k"}, {"phyworld"}),
        ({"source": "video_folder"}, set()),
    ],
)
def test_what_weights_were_trained_for(data, knows):
    assert {
        n
        for n, suite in suites.SUITES.items()
        if any(suites.trained(part, data) for part in suite.parts.values())
    } == knows


def test_a_clip_that_an_oracle_cannot_read_says_why():
    take = next(t for t in (draw("val", i) for i in range(9)) if t.trajectory.contacts)
    frames = np.zeros((17, 16, 16, 3), np.float32)
    for name, samples, shown, reason in (
        ("sync", None, frames, "the clip has no audio"),
        ("speech", np.zeros(1600, np.float32), frames, "0.10 s of audio are too short"),
        ("soundscape", None, frames, "the clip has no audio"),
        ("stories", None, frames[:3], "3 frames are too few"),
        ("physics", np.zeros(34000, np.float32), frames[:3], "3 frames are too few"),
        ("facts", None, frames[:3], "3 frames are too few"),
    ):
        clip, suite = example(take, shown, samples, Grey().format), suites.SUITES[name]
        for metric, value in suites.values(suite, clip, Reading(clip)).items():
            assert isinstance(value, Unscored) and reason in value
            kept = [json.loads(json.dumps(measuring._to_json(x))) for x in (value, 1.0)]
            rows = [{"values": {metric: x}, "floors": {metric: []}} for x in kept]
            one = cell(Metric("tracker", None), metric, rows)
            assert (one["value"], one["n"], sum(one["unscored"].values())) == (1.0, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["soundscape", "stories"])
def test_a_model_of_rooms_has_not_learned_talk_and_stories(tmp_path, name):
    entry, *_ = board(tmp_path, clips=2).run(name).values()
    assert entry["status"] == "not trained" and entry["value"] is None
    rows = entry["rows"]
    assert "model" not in rows and entry["ceiling"] == rows["ground truth"]["value"] == 1.0
    assert rows["copy last frame"]["value"] == 0.0 and rows["ground truth"]["floor"] < 0.5


def test_a_model_of_references_is_shown_the_cast():
    take = draw("identity", 2, family="talk")
    clip = example(take, np.zeros((17, 16, 16, 3), np.float32), None, Grey().format)
    ask = functools.partial(measuring.request_of, seed=0, sampler=SamplerConfig(steps=1))
    knows = Grey()
    knows.model = types.SimpleNamespace(config=types.SimpleNamespace(references=2))
    shown = ask(clip, "prompt", pipeline=knows)
    assert list(shown.characters) == [actor.name for actor in take.scene.cast]
    for actor in take.scene.cast:
        one = shown.characters[actor.name]
        assert one.stills.shape == (4, 16, 16, 3) and np.abs(one.samples).max() > 0.01
        assert one.character == actor.character
    check_characters(shown, 2, 16)
    Grey().gate.check(shown.prompt, shown.characters)
    for request in (ask(clip, "prompt", pipeline=Grey()), ask(clip, None, pipeline=knows)):
        assert request.characters == {}


def test_suites_are_chosen_by_name():
    assert run.chosen(["facts", "sync"]) == ["sync", "facts"]
    assert run.chosen(["all"]) == list(suites.SUITES)
    with pytest.raises(UserError, match="did you mean 'physics'"):
        run.chosen(["phisics"])


def test_a_suite_of_ones_own_is_run_by_its_name():
    own = Suite("own", suites.ROOM, {"balls": Metric("tracker", count)})
    suites.SUITES.register(own)
    try:
        assert run.chosen(["own"]) == ["own"] and run.chosen(["all"])[-1] == "own"
        assert own.ready == ("balls",)
        with pytest.raises(UserError, match="suite 'own' is registered twice"):
            suites.SUITES.register(Suite("own", suites.ROOM, {}))
    finally:
        del suites.SUITES["own"]


def test_every_metric_of_a_suite_names_a_registered_oracle():
    for name, suite in suites.SUITES.items():
        assert (suite.name, suite.ready) == (name, tuple(suite.metrics))


def test_suites_that_ask_the_same_share_the_models_clips(tmp_path, monkeypatch):
    asked = []

    class Counting(Grey):
        def generate_batch(self, requests, show):
            asked.append(len(requests))
            return super().generate_batch(requests, show)

    here = board(tmp_path, Counting(), clips=2)
    truth = scoreboard.examples.render_takes([draw("val", i) for i in range(2)], Grey().format, 2)
    one = here._made(here.pipeline, "key", truth, "prompt", 0)
    other = here._made(here.pipeline, "key", truth, "prompt", 0)
    assert asked == [2] and np.array_equal(one[0].frames, other[0].frames)


def test_a_part_is_scored_in_the_format_that_the_model_learned_it_in(tmp_path):
    """A mixture has a format for each set; what it did not learn has that of the suite."""
    wide = ClipFormat(frames=13, fps=12, height=16, width=24)
    film = {"source": "playhouse", "family": "film", "format": wide.to_dict()}
    data = {"sets": {"room@nano": ROOM, "film@wide": film}}
    mixed = board(tmp_path, data=data, clips=2)
    for name, expected in (
        ("facts", ("room", mixed.pipeline.format)),
        ("styles", ("film", wide)),
        ("permanence", ("occlude", FORMATS[suites.SUITES["permanence"].format])),
    ):
        suite = suites.SUITES[name]
        assert mixed._learned(suite, suite.parts[""]) == expected
    takes = [draw("val", i, family="film") for i in range(2)]
    suite = suites.SUITES["styles"]
    makers = mixed._makers(suite, suite.parts[""], wide, takes)
    for row in ("model", "unconditional", "ground truth"):
        assert [clip.frames.shape for clip in makers[row](0)] == [(13, 16, 24, 3)] * 2
    assert len(list((tmp_path / "clips").iterdir())) == 2


def test_pictures_and_baselines_know_families_by_their_facts(tmp_path):
    """A family of one's own is drawn and extrapolated as the one of ours that it is made of."""
    own = type("Moon", (Room,), {"name": "moon"})(), PhyWorld("uniform", "30k")
    own[1].name = "discs"
    format = ClipFormat(frames=5, fps=10)
    for family in own:
        FAMILIES.register(family)
    try:
        for name in ("room", "moon", "court", "phyworld_uniform_30k", "discs"):
            balls, discs = name in ("room", "moon"), name in ("phyworld_uniform_30k", "discs")
            (clip,) = scoreboard.examples.render_takes([draw("val", 0, family=name)], format, 1)
            board(tmp_path)._draw(name, [clip], film=False)
            assert (tmp_path / "pictures" / f"{name}-00.png").exists()
            assert (tmp_path / "pictures" / f"{name}-00-tracked.png").exists() == balls
            moved = dataclasses.replace(clip, frames=np.roll(clip.frames, 4, axis=2))
            start, other = (
                baselines._straight(c).trajectory.positions(np.zeros(1)) for c in (clip, moved)
            )
            seen = 4 * clip.take.scene.extent / format.size if discs else 0.0
            assert np.allclose(other[..., 0] - start[..., 0], seen, atol=0.01), name
    finally:
        for family in own:
            del FAMILIES[family.name]


def test_the_papers_errors_stand_beside_those_of_any_suite_that_asks_for_them():
    cell = {"value": 0.5, "low": 0.4, "high": 0.6, "floor": 0.7, "n": 2, "unscored": {}}
    entry = {**cell, "ceiling": 0.0125, "unit": "units/s", "rows": {"model": cell}}
    scores = {
        f"{task}_{of}_error": entry for task in ("uniform", "parabola") for of in ("id", "ood")
    }
    text = report.report(Grey(), {"mine": scores, "facts": {"all": entry}}, 2)
    assert text.count("Kang et al. (2024)") == 1
    rows = report.paper_rows(scores)
    assert ["uniform", "paper, S", "30000", "0.0221", "0.4350", "0.0099"] in rows
    assert ["parabola", "model", "", "0.5000", "0.5000", "0.0125"] in rows
    assert {row[0] for row in rows} == {"uniform", "parabola"}
    assert report.paper_rows({"all": entry}) == []
