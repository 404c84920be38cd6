"""Consent without captures: grants, restrictions and handles in the database, and the worker that
asks them again.
"""

import dataclasses
import os
import threading
import time

import numpy as np
import pytest
from studio_parts import FORM, MODEL, PROMPT, Bench, add_character, refused, save_weights

from sora_jax.errors import UserError
from sora_jax.pipelines.load import load_pipeline
from sora_jax.studio.consent import captures, permissions
from sora_jax.studio.database import accounts, jobs, likenesses
from sora_jax.studio.endpoints import videos
from sora_jax.studio.problems import Problem
from sora_jax.studio.storage import content

DENIED = "character_permission_denied"
PATH = "/v1/characters/{}"


@pytest.fixture(scope="module")
def showing(tmp_path_factory):
    """Files and pipeline of a model that shows two characters."""
    files = save_weights(
        tmp_path_factory.mktemp("weights"), dataclasses.replace(MODEL, references=2), (FORM,)
    )
    return load_pipeline(*files.values()), files


@pytest.fixture
def studio(tmp_path, showing):
    """An application with the accounts ann and bob; ann owns @mika."""
    with Bench(tmp_path, *showing) as made:
        store = made.studio.store
        made.keys = {name: accounts.new_key(store, name) for name in ("ann", "bob")}
        made.ids = {name: accounts.of_key(store, key) for name, key in made.keys.items()}
        made.mika = add_character(made, made.ids["ann"], "mika")
        yield made


def call(studio, who, method, path, **request):
    headers = {"authorization": f"Bearer {studio.keys[who]}"}
    return studio.call(method, path, headers=headers, **request)


def ask(studio, who, prompt=f"@mika: {PROMPT}", **fields):
    return call(studio, who, "POST", "/v1/videos", json={"prompt": prompt, **fields})


def grant(studio, account="bob"):
    place = f"{PATH.format(studio.mika)}/grants"
    assert call(studio, "ann", "POST", place, json={"account": account}).status_code == 200


def taken_back(studio, account="bob"):
    place = f"{PATH.format(studio.mika)}/grants/{account}"
    assert call(studio, "ann", "DELETE", place).status_code == 200


def test_a_clip_with_a_granted_character(studio):
    """The references enter the clip, which its owner finds; after the grant it is hidden."""
    refused(ask(studio, "bob"), 403, DENIED, "characters")
    grant(studio)
    video = ask(studio, "bob", seed=3).json()
    studio.worker.work()
    row = studio.row(video)
    assert (row.status, row.error) == ("completed", None)
    clip = jobs.find_clip(studio.studio.store, video["id"])
    stills, samples = captures.load(
        studio.studio.media.path(captures.likeness_key(studio.mika)),
        likenesses.find(studio.studio.store, studio.mika).fingerprint,
    )
    assert clip.provenance["characters"].keys() == {"mika"} and len(stills) == 4
    place = f"{PATH.format(studio.mika)}/clips"
    (listed,) = call(studio, "ann", "GET", place).json()["data"]
    assert (listed["id"], listed["account"]) == (video["id"], "bob")
    content = f"/v1/videos/{video['id']}/content"
    assert call(studio, "ann", "GET", content).status_code == 200
    assert studio.call("GET", listed["content_urls"]["sound"]).status_code == 200
    taken_back(studio)
    refused(call(studio, "bob", "GET", content), 403, DENIED, "video_id")
    page = call(studio, "bob", "GET", "/v1/videos").json()
    assert page["data"] == [] and page["last_id"] == video["id"]
    assert studio.call("GET", listed["content_urls"]["sound"]).status_code == 200
    assert len(samples) == 24_000


@pytest.mark.parametrize("how", ["handle", "id", "look-alike", "id in the prompt"])
def test_the_worker_asks_again(studio, monkeypatch, how):
    """With the check of the API taken out."""
    prompt, fields = f"@mika: {PROMPT}", {}
    if how == "id":
        fields = {"characters": [{"id": studio.mika}]}
    elif how == "look-alike":
        prompt = f"@m1ka: {PROMPT}"
    elif how == "id in the prompt":
        prompt = f"{PROMPT} {studio.mika}"
    refused(ask(studio, "bob", prompt, **fields), 403, DENIED, "characters")
    monkeypatch.setattr(videos, "_admit", lambda call, model, prompt, given, *_: (list(given), []))
    video = ask(studio, "bob", prompt, **fields).json()
    monkeypatch.undo()
    studio.worker.work()
    row = studio.row(video)
    assert (row.status, row.error["code"]) == ("failed", DENIED)
    assert not list(studio.studio.media.folder.glob("clips/*"))


def test_a_remix_shows_whom_its_source_shows(studio, monkeypatch):
    grant(studio)
    source = ask(studio, "bob").json()
    studio.worker.work()
    remix = f"/v1/videos/{source['id']}/remix"
    made = call(studio, "bob", "POST", remix, json={"prompt": PROMPT}).json()
    shown = likenesses.shown_by(studio.studio.store, [made["id"]])
    assert [one.id for one in shown[made["id"]]] == [studio.mika]
    taken_back(studio)
    studio.worker.work()
    assert studio.row(made).error["code"] == DENIED


@pytest.mark.slow
def test_a_grant_taken_back_stops_the_sampler(studio):
    """At its next step; a job of the same batch goes on."""
    grant(studio)
    add_character(studio, studio.ids["bob"], "rolo", 1)
    video = ask(studio, "bob", steps=1000).json()
    other = ask(studio, "bob", f"@rolo: {PROMPT}", steps=1000).json()
    beating = threading.Thread(target=studio.worker._beat, daemon=True)
    beating.start()

    def revoke_when_running():
        while studio.row(video).status == "queued" or studio.worker._progress < 1:
            time.sleep(0.01)
        taken_back(studio)

    revoking = threading.Thread(target=revoke_when_running)
    revoking.start()
    studio.worker.work()
    revoking.join()
    studio.worker._ended.set()
    beating.join()
    row = studio.row(video)
    assert (row.status, row.error["code"]) == ("failed", DENIED)
    assert row.progress < 99 and studio.row(other).status == "completed"
    made = studio.studio.media.folder.glob("clips/*")
    assert [path.name for path in made] == [other["id"]]


@pytest.mark.slow
def test_a_grant_taken_back_while_the_clip_is_written(studio, monkeypatch):
    grant(studio)
    video = ask(studio, "bob").json()
    real = permissions.withdrawn
    monkeypatch.setattr(
        permissions, "withdrawn", lambda *args: (taken_back(studio), real(*args))[1]
    )
    studio.worker.work()
    assert studio.row(video).error["code"] == DENIED
    assert not list(studio.studio.media.folder.glob("clips/*/*"))


def test_references_that_were_exchanged_are_refused(studio):
    """The file of the media store has to be the one that was recorded."""
    media, other = studio.studio.media, add_character(studio, studio.ids["bob"], "rolo", 1)
    foreign = media.path(captures.likeness_key(other)).read_bytes()
    media.path(captures.likeness_key(studio.mika)).write_bytes(foreign)
    video = ask(studio, "ann").json()
    studio.worker.work()
    assert "not those that it was recorded with" in studio.row(video).error["message"]


def test_a_model_without_references(bench):
    """It shows no recorded character, which the API says at once."""
    account = accounts.local(bench.studio.store)
    add_character(bench, account, "mika")
    answer = bench.call("POST", "/v1/videos", json={"prompt": f"@mika: {PROMPT}"})
    refused(answer, 400, "too_many_characters", "characters")


def test_grants_and_restrictions(studio):
    """What they may be, and who may change them."""
    place = PATH.format(studio.mika)
    for name in ("nobody", "ann", "acct_0", "../x"):
        answer = call(studio, "ann", "POST", f"{place}/grants", json={"account": name})
        assert answer.status_code == 400, answer.text
    for name in ("everyone", "mutuals", "bob", "bob"):
        grant(studio, name)
    listed = call(studio, "ann", "GET", f"{place}/grants").json()["data"]
    assert [one["account"] for one in listed] == ["everyone", "mutuals", "bob"]
    for method, rest in (("GET", "/grants"), ("PUT", "/restrictions"), ("DELETE", "")):
        body = {"json": {"restrictions": []}} if method == "PUT" else {}
        answer = call(studio, "bob", method, place + rest, **body)
        refused(answer, 404, "not_found", "character_id")
    rules = {"restrictions": ["no throw", "be kind"]}
    made = call(studio, "ann", "PUT", f"{place}/restrictions", json=rules).json()
    assert [one["enforced"] for one in made["data"]] == [True, False]
    assert "no storyboard" in refused(ask(studio, "ann"), 403, DENIED, "characters")
    for wrong in ("x", [1], ["x" * 201], [""], ["a"] * 33, None):
        answer = call(studio, "ann", "PUT", f"{place}/restrictions", json={"restrictions": wrong})
        assert answer.status_code == 400, wrong
    seen = call(studio, "bob", "GET", place).json()
    assert seen["handle"] == "mika" and "notices" not in seen
    assert call(studio, "ann", "GET", place).json()["notices"] == []


def test_handles():
    assert likenesses.handle_of("Mika the Second") == "mika_the_second"
    for name in ("m", "1ka", "m\u0456ka", "../x", "x" * 40, "<b>"):
        with pytest.raises(Problem):
            likenesses.handle_of(name)
    alike = ("mika", "m1ka", "mlka", "rnika", "mi_ka", "rn_1ka")
    assert len({likenesses.skeleton(one) for one in alike}) == 1
    assert likenesses.skeleton("mika") != likenesses.skeleton("miko")


def test_a_handle_is_taken_once(studio):
    with pytest.raises(Problem, match="is taken"):
        add_character(studio, studio.ids["bob"], "m1ka", 5)
    row = dict(likenesses.find(studio.studio.store, studio.mika)._mapping)
    late = row | {"id": "char_2", "handle": "rolo", "account_id": studio.ids["bob"]}
    with pytest.raises(LookupError):  # @mika was recorded after the comparison
        likenesses.add_verified(studio.studio.store, late, ())


def test_files_of_no_character_are_swept(studio):
    """Those of an API process that was killed while it read a capture; others stay."""
    media = studio.studio.media
    media.write("characters/char_0/capture.mp4", b"1")
    for path in media.folder.glob("characters/*/*"):
        os.utime(path, (0, 0))
    content.sweep(studio.studio.store, media)
    kept = [path.parent.name for path in media.folder.glob("characters/*/*")]
    assert kept == [studio.mika]
    likenesses.change(studio.studio.store, studio.mika, deleted_at=1.0)
    content.sweep(studio.studio.store, media)
    assert not list(media.folder.glob("characters/*/*"))


def test_the_child_process_has_no_key(studio):
    """It opens files of strangers."""
    parts = studio.studio
    assert parts.authority.key and not parts.verifier.authority.key
    assert parts.verifier.authority.mark_key == parts.authority.mark_key


def test_a_verifier_that_is_none():
    for name in ("no_such:Thing", "os:nothing", "os", ""):
        with pytest.raises(UserError, match="give MODULE:CLASS of a Verifier"):
            captures.load_verifier(name)


def test_faces_are_compared_as_numbers(studio):
    """Identities go through JSON."""
    row = likenesses.find(studio.studio.store, studio.mika)
    same = studio.studio.verifier.same
    assert same(row.identity, row.identity)
    face = (np.array(row.identity["face"]) + 3.0).tolist()
    assert not same(row.identity, row.identity | {"face": face})
