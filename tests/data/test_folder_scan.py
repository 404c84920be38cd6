"""A scan: no clip reaches over a cut, whatever gives no clip is named, and the plan is what is
built.
"""

import dataclasses
import itertools

import numpy as np
import pytest

from sora_jax import mp4
from sora_jax.clip import Clip
from sora_jax.data import folder_scan, scene_cuts, video_folder
from sora_jax.data.file_facts import FileFacts
from sora_jax.data.folder_plan import read_plan
from sora_jax.data.folder_scan import clip_starts, scan
from sora_jax.data.video_folder import VideoFolderConfig
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.tuning.scan_report import write_scan

SMALL = ClipFormat(frames=5, fps=8, height=16, width=16)  # 0.625 seconds
FACTS = FileFacts(5.0, 64, 48, 25.0, 0, 0, None, (), (), np.zeros((9, 9, 3), np.uint8))
LIGHT, DARK = 0.9, 0.1


def film(path, parts, fps=20, samples=None):
    """Writes a file of flat greys: (value, frames) of each part."""
    frames = np.concatenate([np.full((n, 48, 64, 3), value, np.float32) for value, n in parts])
    mp4.write_mp4(path, Clip(frames, samples, fps))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two good files, one of them of two scenes, a short one and a broken one."""
    folder = tmp_path_factory.mktemp("films")
    sound = 0.3 * np.sin(np.arange(48_000) / 5).astype(np.float32)
    film(folder / "two.mp4", [(LIGHT, 30), (DARK, 30)], samples=sound)
    film(folder / "one.mp4", [(LIGHT, 40)])
    film(folder / "short.mp4", [(DARK, 5)])
    (folder / "broken.mp4").write_bytes(b"no film")
    return folder


def test_clips_stay_within_scenes():
    seconds, most = SMALL.seconds, 64
    facts = dataclasses.replace(FACTS, seconds=5.0, cuts=(1.4, 3.0))
    starts, lost = clip_starts(facts, SMALL, most)
    assert starts == (0.0, seconds, 1.4, 2.025, 3.0, 3.625, 4.25) and not lost
    bounds = [0.0, 1.4, 3.0, 5.0]
    for start in starts:
        scenes = itertools.pairwise(bounds)
        assert sum(a <= start and start + seconds <= b + 0.03 for a, b in scenes) == 1
    _, lost = clip_starts(dataclasses.replace(facts, cuts=(0.5,)), SMALL, most)
    assert lost == ["the scene from 0.00 to 0.50 s is shorter than a clip of 0.62 s"]
    starts, lost = clip_starts(facts, SMALL, 3)
    assert len(starts) == 3 and lost == ["4 clips beyond the first 3 are left out"]


@pytest.fixture(scope="module")
def scanned(folder):
    return scan(folder, SMALL, "a clip", cuts="none")


def test_facts_and_problems(scanned):
    two = scanned.facts["two.mp4"]
    assert (two.width, two.height, two.audio_rate, two.channels) == (64, 48, 16_000, 1)
    assert two.seconds == pytest.approx(3.0, abs=0.05) and two.fps == 20
    assert two.loudness == pytest.approx(-13.5, abs=0.5)  # 0.3 / sqrt 2
    assert scanned.facts["one.mp4"].loudness is None
    problems = dict(scanned.problems)
    assert set(problems) == {"short.mp4", "broken.mp4"}
    assert "shorter than a clip" in problems["short.mp4"]
    assert set(scanned.plan.files) == {"one.mp4", "two.mp4"}
    assert {one.split for one in scanned.plan.files.values()} == {"train", "val"}
    assert {one.captions for one in scanned.plan.files.values()} == {("a clip",)}


def test_the_report_names_all_and_the_set_is_the_plan(scanned, tmp_path):
    write_scan(scanned, tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert all(name in page for name in ("two.mp4", "one.mp4", "short.mp4", "broken.mp4"))
    plan = read_plan(tmp_path / "plan.json")
    assert plan == scanned.plan
    config = VideoFolderConfig(plan.folder, SMALL, plan=plan)
    assert config.name != VideoFolderConfig(plan.folder, SMALL).name
    directory, report = video_folder.build(tmp_path / "sets", config)
    assert not report["skipped"] and report["clips"] == {
        split: plan.count(split) for split in ("train", "val")
    }
    for split in ("train", "val"):
        records, _ = video_folder.open_records(directory, split)
        for i in range(len(records)):
            one = plan.files[records[i]["key"].partition("#")[0]]
            assert one.split == split and np.float32(records[i]["start"]) in np.float32(one.starts)
            assert records[i]["captions"] == ("a clip",)


def test_a_table_chooses_the_split(folder, tmp_path):
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    table = tmp_path / "captions.csv"
    table.write_text("file,caption,split\none.mp4,x,val\ntwo.mp4,y,\n")
    plan = scan(tmp_path, SMALL, cuts="none").plan
    assert {name: one.split for name, one in plan.files.items()} == {
        "one.mp4": "val",
        "two.mp4": "train",
    }
    table.write_text("file,caption,split\none.mp4,x,val\ntwo.mp4,y,val\n")
    with pytest.raises(UserError, match=r"no usable video of .* is in the split train"):
        scan(tmp_path, SMALL, cuts="none")


def test_folders_that_cannot_be_used(folder, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"no folder .*nowhere; give the one"):
        scan(tmp_path / "nowhere", SMALL)
    with pytest.raises(UserError, match=r"no video in .* it should hold files ending in"):
        scan(tmp_path, SMALL)
    for name in ("broken.mp4", "short.mp4"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(UserError, match=r"has 0 usable videos of 2, .*broken\.mp4: "):
        scan(tmp_path, SMALL, "a clip", cuts="none")
    monkeypatch.setattr(scene_cuts, "available", lambda: False)
    with pytest.raises(UserError, match=r"needs PySceneDetect; pip install .* or give cuts=none"):
        scan(tmp_path, SMALL, "a clip")
    with pytest.raises(UserError, match="cuts=some; use detect or none"):
        scan(tmp_path, SMALL, "a clip", cuts="some")


def test_cuts_are_found(folder):
    pytest.importorskip("scenedetect")
    found = scan(folder, SMALL, "a clip")
    assert found.facts["two.mp4"].cuts == pytest.approx((1.5,), abs=0.05)
    assert found.facts["one.mp4"].cuts == ()
    assert folder_scan.clip_starts(found.facts["two.mp4"], SMALL, 9)[0] == (0.0, 0.625, 1.5, 2.125)
