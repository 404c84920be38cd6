"""Attacks on consent, against a real server: generating with a character that is not granted.

Each request is sent twice: to the server, which refuses it, and to an API process without the check
of acceptance over the same database. There the worker refuses the job when sampling begins.
"""

import io
import os
import signal

import av
import httpx
import pytest
import sqlalchemy as sa
from PIL import Image
from real_server import Server, actor, captured, mp4, named
from studio_parts import PROMPT, refused

from sora_jax.studio.database import accounts, jobs, likenesses, tables
from sora_jax.worlds.playhouse.references import references

pytestmark = pytest.mark.slow
DENIED = "character_permission_denied"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with two characters: @mika of alice, and @rolo of bob. alice made a clip of @mika,
    and granted her to bob for one clip.
    """
    with Server(tmp_path_factory.mktemp("server")) as made:
        made.open = made.unguarded()
        made.mika, made.rolo = made.enrol("alice", "mika"), made.enrol("bob", "rolo")
        mine = made.create("alice", named("mika"), characters=[{"id": made.mika["id"]}], seed=1)
        made.clip = made.finished("alice", mine.json())
        assert made.clip["status"] == "completed", made.clip
        yield made


def path(character, *rest):
    return "/".join(["/v1/characters", character["id"], *rest])


def frames(content):
    """The frames of a file, as pictures."""
    with av.open(io.BytesIO(content)) as file:
        return [frame.to_image() for frame in file.decode(video=0)]


def png(picture):
    data = io.BytesIO()
    picture.save(data, "png")
    return data.getvalue()


def denied(server, who, send, code=DENIED):
    """Asserts that the API refuses a request, and the worker what another API let through.

    send returns the response of the API at an address.
    """
    answer = send(server.base)
    refused(answer, 403, code, "characters")
    accepted = send(server.open)
    assert accepted.status_code == 200, accepted.text
    failed = server.finished(who, accepted.json())
    assert (failed["status"], failed["error"]["code"]) == ("failed", code), failed


def create(server, who, prompt, **fields):
    def send(base):
        return server.create(who, prompt, base=base, **fields)

    return send


def upload(server, who, path_, field, content, **data):
    def send(base):
        files = {field: ("a.mp4" if field == "video" else "a.png", content)}
        data_ = {"prompt": PROMPT} | data
        return server.call(who, "POST", path_, base=base, data=data_, files=files)

    return send


def test_an_owner_may(server):
    """The clip of the owner is made, and its manifest names the consent."""
    checked = server.json(
        "alice", "POST", "/v1/content_provenance_checks",
        files={"file": ("a.mp4", server.content("alice", server.clip).content)},
    )  # fmt: skip
    c2pa, mark = checked["results"]
    assert (c2pa["validation_state"], c2pa["video_id"]) == ("trusted", server.clip["id"])
    assert [(one["character"], one["grant"]) for one in c2pa["consent"]] == [("@mika", "owner")]
    assert (mark["outcome"], mark["video_id"]) == ("detected", server.clip["id"])


def test_a_character_of_another_account(server):
    """Its id guessed or known, its handle in the prompt, and look-alikes of it."""
    ids = [{"id": server.mika["id"]}]
    denied(server, "mallory", create(server, "mallory", named("mika"), characters=ids))
    denied(server, "mallory", create(server, "mallory", named("mika")))
    denied(server, "mallory", create(server, "mallory", named("m1ka")))
    denied(server, "mallory", create(server, "mallory", named("MIKA")))
    guessed = [{"id": "char_" + "0" * 32}]
    send = create(server, "mallory", named("mika"), characters=guessed)
    denied(server, "mallory", send, "character_not_verified")
    answer = server.create("mallory", named("m\u0456ka"))  # a Cyrillic letter
    refused(answer, 400, "invalid_value", "prompt")
    assert server.call("mallory", "GET", path(server.mika)).status_code == 404
    for rest in ("grants", "restrictions", "clips"):
        assert server.call("mallory", "GET", path(server.mika, rest)).status_code == 404
    mine = {"account": "mallory"}
    assert server.call("mallory", "POST", path(server.mika, "grants"), json=mine).status_code == 404


def test_one_of_two_characters_is_not_granted(server):
    ids = [{"id": server.rolo["id"]}, {"id": server.mika["id"]}]
    prompt = named("rolo", named("mika"))
    denied(server, "bob", create(server, "bob", prompt, characters=ids))


def test_a_storyboard_names_a_character_in_its_last_shot(server):
    board = (
        "[STYLE flat | AMBIENCE hum | CAST @zoe, @mika] "
        "[SHOT 1 | 2 s | close-up on @zoe | push in | room a] @zoe puts on a hat. "
        '[SHOT 2 | 2 s | close-up on @zoe | static] @zoe says "two". '
        "[SHOT 3 | 2 s | wide] @mika turns off the lamp."
    )
    denied(server, "mallory", create(server, "mallory", board))
    late = board.replace("CAST @zoe, @mika", "CAST @zoe")
    assert late.count("@mika") == 1
    answer = server.create("mallory", late)
    assert answer.status_code in (400, 403), answer.text


def test_an_id_in_the_prompt_of_a_change(server):
    """Of a remix, an edit and an extension of an own clip."""
    own = server.finished("mallory", server.create("mallory", PROMPT).json())
    assert own["status"] == "completed", own
    for prompt in (named("mika"), f"{PROMPT} {server.mika['id']}"):
        body = {"prompt": prompt, "video": {"id": own["id"]}}
        for place, sent in (
            (f"/v1/videos/{own['id']}/remix", {"prompt": prompt}),
            ("/v1/videos/edits", body),
            ("/v1/videos/extensions", body | {"seconds": "1"}),
        ):

            def send(base, place=place, sent=sent):
                return server.call("mallory", "POST", place, base=base, json=sent)

            denied(server, "mallory", send)


def test_a_clip_or_a_frame_of_a_character_as_upload(server):
    """The whole file, the file without its manifest, and frames cut from it."""
    content = server.content("alice", server.clip).content
    with_manifest = upload(server, "mallory", "/v1/videos/edits", "video", content)
    denied(server, "mallory", with_manifest)
    plain = io.BytesIO()
    with av.open(io.BytesIO(content)) as source, av.open(plain, "w", format="mp4") as target:
        streams = {one: target.add_stream_from_template(one) for one in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                target.mux(packet)
    assert b"c2pa" not in plain.getvalue() and b"c2pa" in content
    extension = upload(
        server, "mallory", "/v1/videos/extensions", "video", plain.getvalue(), seconds="1"
    )
    denied(server, "mallory", extension)
    cut = frames(content)[4]
    place = "/v1/videos"
    denied(server, "mallory", upload(server, "mallory", place, "input_reference", png(cut)))
    still = server.content("alice", server.clip, "thumbnail").content
    denied(server, "mallory", upload(server, "mallory", place, "input_reference", still))


def test_a_picture_of_a_face_as_first_frame(server):
    """A still of a camera and a reference of the character carry no mark: the face tells."""
    photo = frames(mp4(captured("mika", "red two up", 77)))[-1]
    smuggled = references(actor("mika"), 12, "flat").stills[0]
    reference = Image.fromarray((255 * smuggled).round().astype("uint8"))
    for picture in (photo, reference):
        send = upload(server, "mallory", "/v1/videos", "input_reference", png(picture))
        denied(server, "mallory", send)
    stranger = frames(mp4(captured("nova", "red two up", 78)))[-1]
    send = upload(server, "mallory", "/v1/videos", "input_reference", png(stranger))
    assert send(server.base).status_code == 200


def test_a_grant_taken_back_between_queue_and_worker(server):
    server.json("alice", "POST", path(server.mika, "grants"), json={"account": "bob"})
    worker = server.worker
    os.kill(worker, signal.SIGSTOP)
    try:
        queued = server.create("bob", named("mika")).json()
        server.json("alice", "DELETE", path(server.mika, "grants", "bob"))
    finally:
        os.kill(worker, signal.SIGCONT)
    answer = server.call("bob", "GET", f"/v1/videos/{queued['id']}")
    refused(answer, 403, DENIED, "video_id")

    def failed():
        with server.store.engine.connect() as connection:
            asked = sa.select(tables.jobs.c.error).where(tables.jobs.c.id == queued["id"])
            return connection.execute(asked).scalar_one()

    assert server.wait_for(failed)["code"] == DENIED


def test_a_grant_taken_back_while_the_worker_samples(server):
    """The job stops long before its last step; clips that the grant allowed are hidden from their
    maker and stay with the owner of the character, and signed URLs end.
    """
    grants = path(server.mika, "grants")
    server.json("alice", "POST", grants, json={"account": "bob"})
    before = server.finished("bob", server.create("bob", named("mika")).json())
    assert before["status"] == "completed", before
    signed = before["content_urls"]["video"]
    assert server.get(signed).status_code == 200
    running = server.create("bob", named("mika"), steps=1000).json()

    def started():
        return server.json("bob", "GET", f"/v1/videos/{running['id']}")["progress"] >= 1

    server.wait_for(started)
    server.json("alice", "DELETE", path(server.mika, "grants", "bob"))

    def row():
        with server.store.engine.connect() as connection:
            asked = sa.select(tables.jobs).where(tables.jobs.c.id == running["id"])
            found = connection.execute(asked).one()
            return found if found.status == "failed" else None

    stopped = server.wait_for(row, 60)
    assert stopped.error["code"] == DENIED and stopped.progress < 90, stopped
    refused(server.get(signed), 403, DENIED, "video_id")
    place = f"/v1/videos/{before['id']}"
    refused(server.call("bob", "GET", place), 403, DENIED, "video_id")
    refused(server.content("bob", before), 403, DENIED, "video_id")
    remix = server.call("bob", "POST", f"{place}/remix", json={"prompt": PROMPT})
    refused(remix, 403, DENIED, "video_id")
    assert before["id"] not in [v["id"] for v in server.json("bob", "GET", "/v1/videos")["data"]]
    listed = server.json("alice", "GET", path(server.mika, "clips"))["data"]
    assert {before["id"], running["id"], server.clip["id"]} <= {one["id"] for one in listed}
    assert {one["account"] for one in listed} == {"alice", "bob"}
    assert server.content("alice", before).content[4:8] == b"ftyp"
    assert server.call("mallory", "GET", place).status_code == 404


def test_restrictions_hold_for_everybody(server):
    """They are predicates over the storyboard, and read anew by the worker."""
    rules = path(server.rolo, "restrictions")
    server.json("bob", "PUT", rules, json={"restrictions": ["never says two"]})
    try:
        talk = "the face of @rolo: @rolo says two"
        denied(server, "bob", create(server, "bob", named("rolo")))  # no storyboard
        denied(server, "bob", create(server, "bob", talk))
    finally:
        server.json("bob", "PUT", rules, json={"restrictions": []})


def test_mutuals_follow_each_other(server):
    grants = path(server.rolo, "grants")
    server.json("bob", "POST", grants, json={"account": "mutuals"})
    server.json("alice", "POST", "/v1/follows", json={"account": "bob"})
    refused(server.create("alice", named("rolo")), 403, DENIED, "characters")
    server.json("bob", "POST", "/v1/follows", json={"account": "alice"})
    assert server.create("alice", named("rolo")).status_code == 200
    server.json("bob", "DELETE", "/v1/follows/alice")
    refused(server.create("alice", named("rolo")), 403, DENIED, "characters")


def test_a_job_of_a_deleted_key(server):
    """Its queued jobs are cancelled; one that was claimed already, or that came late, fails."""
    key = accounts.new_key(server.store, "eve")
    account = accounts.of_key(server.store, key)
    server.keys["eve"] = key
    worker = server.worker
    os.kill(worker, signal.SIGSTOP)
    try:
        queued = server.create("eve", PROMPT).json()
        accounts.delete_key(server.store, "eve")
        late = {"id": jobs.new_id(), "status": "queued"}
        with server.store.engine.begin() as connection:
            asked = sa.select(tables.jobs).where(tables.jobs.c.id == queued["id"])
            row = dict(connection.execute(asked).one()._mapping)
            assert row["status"] == "cancelled" and row["account_id"] == account
            del row["number"]
            connection.execute(sa.insert(tables.jobs).values({**row, **late}))
    finally:
        os.kill(worker, signal.SIGCONT)

    def error():
        with server.store.engine.connect() as connection:
            asked = sa.select(tables.jobs.c.error).where(tables.jobs.c.id == late["id"])
            return connection.execute(asked).scalar_one()

    assert server.wait_for(error)["code"] == "key_deleted"
    refused(server.create("eve", PROMPT), 401, "invalid_api_key")


def test_a_deleted_character(server):
    """Nothing is made with it any more, and its clips are left to its owner alone."""
    nova = server.enrol("alice", "nova")
    server.json("alice", "POST", path(nova, "grants"), json={"account": "everyone"})
    clip = server.finished("mallory", server.create("mallory", named("nova")).json())
    assert clip["status"] == "completed", clip
    likeness = server.folder / "media" / "characters" / nova["id"] / "references.npz"
    assert likeness.exists()
    server.json("alice", "DELETE", path(nova))
    assert not likeness.exists()
    assert server.call("alice", "GET", path(nova)).status_code == 404
    denied(server, "mallory", create(server, "mallory", named("nova")))
    denied(server, "alice", create(server, "alice", named("nova")))
    refused(server.content("mallory", clip), 403, DENIED, "video_id")
    assert server.content("alice", clip).status_code == 200
    server.json("alice", "DELETE", f"/v1/videos/{clip['id']}")
    assert server.content("alice", clip).status_code == 404
    assert likenesses.find(server.store, nova["id"]).deleted_at


def test_a_signed_url_after_its_end(server):
    """And one whose viewer is another account."""
    url = httpx.URL(server.base + server.clip["content_urls"]["video"])
    assert httpx.get(url).status_code == 200
    with server.store.engine.connect() as connection:
        names = sa.select(tables.accounts.c.id).where(tables.accounts.c.name == "bob")
        bob = connection.execute(names).scalar_one()
    for name, value in (("viewer", bob), ("expires", "1"), ("variant", "sound")):
        refused(httpx.get(url.copy_set_param(name, value)), 403, "invalid_signature")
