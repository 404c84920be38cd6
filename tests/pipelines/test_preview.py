"""Clips made on the way are written, and come back as pictures."""

from sora_jax import media
from sora_jax.training.preview import preview
from sora_jax.training.watch import SampleConfig


def test_preview(pipeline, tmp_path):
    prompts = ("a red ball is dropped", "a large blue ball rolls to the left")
    sheets = preview(
        pipeline, SampleConfig(every=1, steps=2, prompts=prompts), tmp_path / "samples" / "0000010"
    )
    assert sorted(p.name for p in (tmp_path / "samples" / "0000010").iterdir()) == [
        "clip_0.mp4",
        "clip_0.png",
        "clip_1.mp4",
        "clip_1.png",
    ]
    assert list(sheets) == ["clip_0", "clip_1"] and all(
        s.dtype == "uint8" and s.shape[-1] == 3 and s.std() > 0 for s in sheets.values()
    )
    assert len(media.read_video(tmp_path / "samples" / "0000010" / "clip_1.mp4").frames) == 17
