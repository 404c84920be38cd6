"""The whole line on a tiny model: what it writes, what it skips, and what it refuses."""

import json
import re

import numpy as np
import pytest
from tiny_base import FORMAT, WORDS

from sora_jax import weights
from sora_jax.errors import UserError
from sora_jax.pipelines.load import load_pipeline
from sora_jax.training.loop import Every
from sora_jax.tree import flatten
from sora_jax.tuning import cost, finetuning
from sora_jax.tuning.forecast import Forecast, calls
from sora_jax.tuning.page import Page
from sora_jax.tuning.result import _measured
from sora_jax.tuning.round_trip import mel_distance, spread
from sora_jax.tuning.scores import _mean, frechet
from sora_jax.tuning.settings import Settings, set_values

GB = 10**9


def test_memory_that_does_not_suffice_names_what_fits():
    asked = []

    def of_batch(size):
        asked.append(size)
        return GB + size * GB // 4

    assert cost.check_memory(of_batch, 16, 6 * GB, "the training") == 5 * GB
    with pytest.raises(
        UserError, match=r"batch_size=16 needs 5 GB, and 2.6 GB .*batch_size=4 fits"
    ):
        cost.check_memory(of_batch, 16, 26 * GB // 10, "the training")
    with pytest.raises(UserError, match="no batch fits; give LoRA, a smaller model"):
        cost.check_memory(of_batch, 16, GB, "the training")
    assert asked[-1] == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tokenizer": "encoder"}, "tokenizer='encoder'; use 'both', 'decoder', 'refuse'"),
        ({"steps": 0}, "steps"),
        ({"freeze": ("sound",)}, "freeze='sound'"),
        ({"lora_rank": -1}, "lora_rank"),
    ],
)
def test_wrong_settings_are_one_line(values, message):
    with pytest.raises(UserError, match=message):
        Settings.checked(videos="x", **values)


def test_formats_are_named_by_the_configuration(tmp_path):
    assert set_values(FORMAT, tmp_path)["height"] == 16
    nano = weights.load_weights(weights.shipped("nano"), "st_dit")
    found = set_values(finetuning.format_of(nano), tmp_path)
    assert found["format"] == "nano" and "height" not in found


def test_a_tokenizer_that_is_too_poor_may_be_refused(base):
    files = {"base": str(base / "nano.safetensors")}
    line = finetuning._Line(Settings.checked(videos="x", tokenizer="refuse", **files), base / "no")
    assert not line._tunes(28.1)
    with pytest.raises(
        UserError, match=r"held-out clips is 21.6 dB, below 28: .* give both or decoder"
    ):
        line._tunes(21.6)


def test_the_forecast_is_one_line():
    found = Forecast(7200.0, 2 * GB, 8 * GB, 400, 16, (1000, 1.5), (300, 0.25))
    assert found.sentence() == (
        "to come: 2.00 hours (tokenizer 300 steps of 0.25 s, model 1000 steps of 1.50 s); memory "
        "2 GB of 8 GB; 40 passes over 400 clips"
    )


def test_the_forecast_counts_validations_as_the_loop_makes_them():
    for steps, every in ((100, 30), (90, 30), (7, 100), (1, 1)):
        due = [Every(dict, every).due(step, step == steps) for step in range(1, steps + 1)]
        assert calls(steps, every) == sum(due)
    assert calls(100, 0) == 0


def test_a_quarter_without_a_value_is_not_measured():
    assert _mean([np.nan, np.nan]) is None and _mean([]) is None
    assert _mean([np.nan, 2.0, 4.0]) == 3.0
    assert [_measured(value) for value in (None, 0.0)] == ["not measured", "0.0000"]


def test_pages_escape_what_users_write(tmp_path):
    page = Page("<b>")
    page.text("a & b", wrong=True)
    page.table(("x",), [("<i>",)])
    page.picture('a".mp4', "c")
    text = page.write(tmp_path / "a.html").read_text()
    assert "<h1>&lt;b&gt;</h1>" in text and 'class="wrong">a &amp; b' in text
    assert "<td>&lt;i&gt;</td>" in text and 'src="a&quot;.mp4"' in text and "<i>" not in text


def test_the_distance_of_features():
    rng = np.random.default_rng(0)
    x, scale = rng.normal(size=(200, 3)), np.array([1.0, 2.0, 1.0])
    assert frechet(x, x, scale) == 0
    assert frechet(x + np.array([0, 4, 0]), x, scale) == pytest.approx(4.0)  # (4 / 2)^2
    wider = (x - x.mean(0)) * [1, 1, 3] + x.mean(0)
    assert frechet(wider, x, scale) == pytest.approx((2 * x.std(0)[2]) ** 2)
    assert spread(3, 16) == [0, 1, 2] and spread(100, 3) == [0, 50, 99]
    tone = np.sin(np.arange(8000) / 4)
    assert mel_distance(tone, tone) == 0 and mel_distance(tone, rng.normal(size=8000)) > 10


def test_nothing_of_a_folder_that_is_not_there(settings, tmp_path):
    with pytest.raises(UserError, match=r"no folder .*nowhere; give the one"):
        finetuning.finetune(tmp_path / "nowhere", tmp_path / "run", **settings)


@pytest.mark.slow
def test_the_line_ends_with_weights_previews_and_a_page(made):
    pytest.importorskip("scenedetect")
    done, workdir = made
    scores = json.loads((workdir / "result" / "scores.json").read_text())
    assert scores == done.scores and scores["loss"]["clips"] > 8
    assert scores["told"]["seconds"] > 0 and scores["took"]["memory_bytes"] > 0
    page = done.page.read_text()
    for path in re.findall(r'src="([^"]+)"', page):
        assert (done.page.parent / path).is_file(), path
    pipeline = load_pipeline(done.weights, done.video_tokenizer, done.audio_tokenizer)
    words = pipeline.text_tokenizer.words
    assert words[: len(WORDS)] == WORDS and {"moss", "dusk", "talks"} <= set(words)
    prompts = json.loads((workdir / "result" / "previews.json").read_text())
    assert len(prompts) == 2 and not pipeline.text_tokenizer.unknown(prompts[0]["prompt"])


@pytest.mark.slow
def test_done_stations_are_skipped_and_changed_ones_named(made, videos, settings, capsys):
    _, workdir = made
    before = (workdir / "stations.json").read_text()
    finetuning.finetune(videos, workdir, **settings)
    assert (workdir / "stations.json").read_text() == before
    with pytest.raises(UserError, match=r"station cost was made with another its command; delete"):
        finetuning.finetune(videos, workdir, **{**settings, "steps": 3})


@pytest.mark.slow
def test_decoder_only_keeps_the_latents(videos, settings, base, tmp_path):
    changes = {"min_psnr": 90.0, "tokenizer": "decoder", "tokenizer_steps": 3}
    with pytest.raises(UserError, match=r"the fine-tuned tokenizer gives .* below 90; give more"):
        finetuning.finetune(videos, tmp_path / "run", **{**settings, **changes, "cuts": "none"})
    first = weights.load_weights(base / "video.safetensors", "video_tokenizer")
    tuned = tmp_path / "run" / "tokenizer" / "weights.safetensors"
    second = weights.load_weights(tuned, "video_tokenizer")
    assert second.latents == first.fingerprint != second.fingerprint
    before, after = flatten(first.params), flatten(second.params)
    halves = {path: [np.asarray(of[path], np.float16) for of in (before, after)] for path in before}
    changed = {path.split("/")[0] for path, (a, b) in halves.items() if (a != b).any()}
    # a block whose last layer is zero at first gets no gradient in its first step
    decoder = {"from_latent", "decoder_coarse", "up", "decoder_fine", "head"}
    assert changed and changed <= decoder, changed


@pytest.mark.slow
def test_lora_of_a_folder(videos, settings, base, tmp_path):
    changes = {"lora_rank": 2, "freeze": ("audio",), "cuts": "none"}
    done = finetuning.finetune(videos, tmp_path / "run", **{**settings, **changes})
    assert done.weights.name == "lora.safetensors"
    names = flatten(weights.load_weights(done.weights, "lora").params)
    assert names and not any(re.match("audio_|pairs/audio", name) for name in names)
    files = (done.video_tokenizer, done.audio_tokenizer)
    pipeline = load_pipeline(base / "nano.safetensors", *files, done.weights)
    assert "moss" in pipeline.text_tokenizer.ids


def test_a_scan_alone(videos, settings, tmp_path):
    page = finetuning.scan_videos(videos, tmp_path / "run", **settings)
    assert "word" in page.read_text()
    assert {p.name for p in (tmp_path / "run").iterdir() if p.is_dir()} == {"scan"}
