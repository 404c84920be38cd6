"""The endpoints of the page: its files, sessions, posts, the feed, lineage, readings."""

import re

import pytest
import sqlalchemy as sa
from studio_parts import FORM, PROMPT, add_character, refused

from sora_jax.studio.database import accounts, jobs, tables
from sora_jax.studio.endpoints import feed, sessions, styles
from sora_jax.studio.http import page
from sora_jax.worlds.playhouse.families import FAMILIES

NAMES = ("mika", "rolo", "nova")


@pytest.fixture
def people(bench):
    """The accounts of three keys: their ids, and `keys`."""
    store = bench.studio.store
    bench.keys = {name: accounts.new_key(store, name) for name in NAMES}
    return {name: accounts.of_key(store, key) for name, key in bench.keys.items()}


def ask(bench, who, method, path, **request):
    headers = {"authorization": f"Bearer {bench.keys[who]}"}
    return bench.call(method, path, headers=headers, **request)


def add_clip(bench, account, prompt=PROMPT, parent=None, kind="create", characters=()):
    """The id of a finished clip without files."""
    row = {
        "id": jobs.new_id(),
        "account_id": account,
        "kind": kind,
        "model": "m",
        "prompt": prompt,
        "seconds": "1",
        "size": "16x16",
        "request": {"seed": 1, "format": FORM.to_dict()},
        "batch_key": "a",
        "parent_id": parent,
        "status": "completed",
    }
    clip = {"folder": "clips/none/a", "format": FORM.to_dict(), "seconds": 1.1, "provenance": {}}
    clip |= {"verdict": {"met": None, "reason": "none"}, "notes": [], "created_at": 1.0}
    with bench.studio.store.engine.begin() as connection:
        rest = {"progress": 100, "attempts": 1, "created_at": 1.0, "completed_at": 2.0}
        connection.execute(sa.insert(tables.jobs).values(row | rest))
        known = {"id": row["id"], "account_id": account, "expires_at": 9e9}
        connection.execute(sa.insert(tables.clips).values(clip | known))
        for character in characters:
            shown = {"job_id": row["id"], "character_id": character}
            connection.execute(sa.insert(tables.appearances).values(shown))
    return row["id"]


def publish(bench, who, video, **fields):
    answer = ask(bench, who, "POST", "/api/posts", json={"video": video, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def fed(bench, who, **query):
    """The clips of the feed."""
    answer = ask(bench, who, "GET", "/api/feed", params=query)
    assert answer.status_code == 200, answer.text
    return [post["video"] for post in answer.json()["data"]]


def test_its_files(bench):
    """Each is served with the policy, and names only files that exist, and none elsewhere."""
    names = [path.name for path in page.FOLDER.iterdir()]
    texts = {name: bench.call("GET", f"/static/{name}") for name in names}
    texts["/"] = bench.call("GET", "/")
    for name, answer in texts.items():
        assert answer.status_code == 200, name
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert set(re.findall(r"/static/([\w.]+)", answer.text)) <= set(names), name
        found = re.findall(r"https?://[^\s\"')]+", answer.text)
        assert set(found) <= {"http://www.w3.org/2000/svg"}, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", answer.text)
    assert texts["app.js"].headers["content-type"].startswith("text/javascript")
    tag = {"if-none-match": texts["/"].headers["etag"]}
    assert bench.call("GET", "/", headers=tag).status_code == 304
    assert bench.call("GET", "/static/none.js").status_code == 404


def signed_in(bench, who):
    """Headers of a page that signed in."""
    answer = bench.call("POST", "/api/session", json={"key": bench.keys[who]})
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert part in cookie, cookie
    token = cookie.split(";")[0]
    return {"cookie": token, sessions.HEADER: answer.json()["csrf"]}


def test_a_session(bench, people):
    """It stands for its key, and changes need its token and come from its page."""
    refused(bench.call("GET", "/api/session"), 401, "invalid_api_key")
    wrong = bench.call("POST", "/api/session", json={"key": "sk-sora-no"})
    refused(wrong, 401, "invalid_api_key", "key")
    headers = signed_in(bench, "mika")
    cookie = {"cookie": headers["cookie"]}
    found = bench.call("GET", "/api/session", headers=cookie).json()
    assert (found["account"], found["csrf"]) == ("mika", headers[sessions.HEADER])
    body = {"json": {"prompt": PROMPT}}
    assert bench.call("POST", "/v1/videos", headers=headers, **body).status_code == 200
    for changes in ({}, {sessions.HEADER: "0" * 64}, {sessions.HEADER: "é".encode()}):
        refused(bench.call("POST", "/v1/videos", headers=cookie | changes, **body), 403, "csrf")
    other = {"origin": "http://evil.example"}, {sessions.SITE: "cross-site"}
    for changes in (*other, {sessions.SITE: "same-site"}, {"origin": "http://127.0.0.1:9999"}):
        for method, send in (("POST", body), ("GET", {})):
            answer = bench.call(method, "/v1/videos", headers=headers | changes, **send)
            refused(answer, 403, "cross_origin")
    with bench.studio.store.engine.connect() as connection:
        (row,) = connection.execute(sa.select(tables.sessions)).all()
    assert row.id not in headers["cookie"] and row.account_id == people["mika"]


def test_a_session_ends(bench, people):
    """By signing out, with its time, and with its key."""
    store = bench.studio.store

    def status(headers):
        return bench.call("GET", "/api/session", headers=headers).status_code

    out, late, gone = (signed_in(bench, who) for who in NAMES)
    answer = bench.call("DELETE", "/api/session", headers=out)
    assert "Max-Age=0" in answer.headers["set-cookie"] and status(out) == 401
    assert status(late) == status(gone) == 200
    with store.engine.begin() as connection:
        own = tables.sessions.c.account_id == people["rolo"]
        connection.execute(sa.update(tables.sessions).where(own).values(expires_at=1.0))
    accounts.delete_key(store, "nova")
    assert status(late) == status(gone) == 401


def test_without_a_key_pages_of_other_sites_are_refused(bench):
    assert bench.call("GET", "/api/session").json()["account"] == accounts.LOCAL
    own = {"origin": "http://127.0.0.1:8000", sessions.SITE: "same-origin"}
    assert bench.call("GET", "/v1/videos", headers=own).status_code == 200
    for headers in ({"origin": "http://evil.example"}, {sessions.SITE: "cross-site"}):
        refused(bench.call("GET", "/v1/videos", headers=headers), 403, "not_local")


def test_orders_of_the_feed(bench, people):
    """Newest, most remixed, followed, and alike; a private clip is in none of them."""
    mika, rolo = people["mika"], people["rolo"]
    balls = add_clip(bench, mika, "a small blue ball is dropped")
    rolls = add_clip(bench, mika, "a large green ball rolls to the left")
    blue = add_clip(bench, rolo, "a small blue ball rolls to the right")
    private = add_clip(bench, rolo, "a small blue ball is dropped and bounces")
    for parent in (balls, rolls, balls):
        add_clip(bench, rolo, parent=parent, kind="remix")
    for who, video in (("mika", balls), ("mika", rolls), ("rolo", blue)):
        publish(bench, who, video)
    assert fed(bench, "nova") == [blue, rolls, balls]
    assert fed(bench, "nova", order="remixed") == [balls, rolls, blue]
    assert fed(bench, "nova", order="followed") == []
    ask(bench, "nova", "POST", "/v1/follows", json={"account": "mika"})
    assert fed(bench, "nova", order="followed") == [rolls, balls]
    assert fed(bench, "nova", order="like", like=balls) == [blue, rolls]
    assert fed(bench, "rolo", order="like", like=private)[0] == balls
    assert fed(bench, "nova", limit=2) == [blue, rolls]
    assert fed(bench, "nova", limit=2, start=2) == [balls]
    missing = ask(bench, "nova", "GET", "/api/feed", params={"order": "like", "like": private})
    refused(missing, 404, "not_found", "video_id")
    refused(ask(bench, "nova", "GET", "/api/feed?order=best"), 400, "invalid_value", "order")
    refused(bench.call("GET", "/api/feed"), 401, "invalid_api_key")


def test_similarity():
    """Rare words count more, and a prompt is most alike to itself."""
    text = "a red ball falls"
    others = ["a red ball falls", "red one", "ball one", "lamp off", "ball here", "ball there"]
    same, rare, common, none, *_ = feed.similarities(text, others)
    assert same == pytest.approx(1) and same > rare > common > none == 0


def test_a_post_ends(bench, people):
    """By taking it back, with its clip, and with its key; another account cannot take it back."""
    videos = {who: add_clip(bench, people[who]) for who in NAMES}
    posts = {who: publish(bench, who, videos[who], title="first") for who in NAMES}
    assert publish(bench, "mika", videos["mika"], title="second") == posts["mika"]
    titles = [p["title"] for p in ask(bench, "rolo", "GET", "/api/feed").json()["data"]]
    assert sorted(titles) == ["first", "first", "second"]
    place = f"/api/posts/{posts['mika']}"
    refused(ask(bench, "rolo", "DELETE", place), 404, "not_found", "post_id")
    assert ask(bench, "mika", "DELETE", place).status_code == 200
    refused(ask(bench, "mika", "DELETE", place), 404, "not_found", "post_id")
    refused(ask(bench, "nova", "GET", f"{place}/content"), 404, "not_found", "post_id")
    assert len(fed(bench, "nova")) == 2
    ask(bench, "rolo", "DELETE", f"/v1/videos/{videos['rolo']}")
    assert fed(bench, "mika") == [videos["nova"]]
    accounts.delete_key(bench.studio.store, "nova")
    assert fed(bench, "mika") == []


def test_what_can_be_published(bench, people):
    """A finished clip of the account, with a short title."""
    video = add_clip(bench, people["mika"])
    queued = ask(bench, "mika", "POST", "/v1/videos", json={"prompt": PROMPT}).json()["id"]

    def send(who, **fields):
        return ask(bench, who, "POST", "/api/posts", json=fields)

    refused(send("rolo", video=video), 404, "not_found", "video_id")
    refused(send("mika", video=queued), 409, "video_not_ready")
    refused(send("mika", video=video, title="x" * 121), 400, "invalid_value", "title")
    refused(send("mika", video=video, public=True), 400, "unknown_parameter", "public")
    assert fed(bench, "mika") == []


def test_a_published_clip_is_seen_and_remixed_by_others(bench, people):
    """A private one is not; after the post is taken back, neither is the other."""
    video, private = add_clip(bench, people["mika"]), add_clip(bench, people["mika"])
    post = publish(bench, "mika", video)

    def remix(video):
        body = {"json": {"prompt": PROMPT}}
        return ask(bench, "rolo", "POST", f"/v1/videos/{video}/remix", **body)

    assert remix(video).json()["remixed_from_video_id"] == video
    view = ask(bench, "rolo", "GET", f"/api/clips/{video}").json()
    assert not view["mine"] and view["video"]["content_urls"]["video"].startswith("/api/posts/")
    for path in (f"/v1/videos/{video}", f"/v1/videos/{video}/content"):
        assert ask(bench, "rolo", "GET", path).status_code == 404
    ask(bench, "mika", "DELETE", f"/api/posts/{post}")
    for one in (video, private):
        refused(remix(one), 404, "not_found", "video_id")
        refused(ask(bench, "rolo", "GET", f"/api/clips/{one}"), 404, "not_found", "video_id")


def test_a_character_that_is_taken_back_hides_posts(bench, people):
    """From all but its owner, also in the tree of another clip."""
    character = {"id": "char_a", "account_id": people["nova"], "name": "nova", "handle": "nova"}
    character |= {"status": "verified", "media": "m", "created_at": 1.0, "restrictions": []}
    with bench.studio.store.engine.begin() as connection:
        connection.execute(sa.insert(tables.characters).values(character))
    grant = "/v1/characters/char_a/grants"
    assert ask(bench, "nova", "POST", grant, json={"account": "mika"}).status_code == 200
    video = add_clip(bench, people["mika"], characters=["char_a"])
    child = add_clip(bench, people["rolo"], parent=video, kind="remix")
    publish(bench, "mika", video)
    assert fed(bench, "rolo") == [video]
    ask(bench, "nova", "DELETE", f"{grant}/mika")
    assert fed(bench, "rolo") == fed(bench, "mika") == [] and fed(bench, "nova") == [video]
    assert ask(bench, "rolo", "GET", f"/api/clips/{video}").status_code == 404
    tree = ask(bench, "rolo", "GET", f"/api/clips/{child}").json()["lineage"]
    assert [node["id"] for node in tree] == [None, child]
    own = add_clip(bench, people["mika"], parent=video, kind="remix")  # of the clip's own maker
    tree = ask(bench, "mika", "GET", f"/api/clips/{own}").json()["lineage"]
    assert tree[0]["id"] is None and tree[1]["id"] == own


def test_lineage(bench, people):
    """Parents stand before children; what the reader may not see is a gap, or is left out."""
    root = add_clip(bench, people["mika"], "root")
    secret = add_clip(bench, people["rolo"], "secret", root, "remix")
    leaf = add_clip(bench, people["mika"], "leaf", secret, "extend")
    add_clip(bench, people["rolo"], "other", root, "edit")

    def tree(who, video):
        nodes = ask(bench, who, "GET", f"/api/clips/{video}").json()["lineage"]
        return [(node["parent"], node["kind"], node.get("prompt")) for node in nodes]

    seen = [(None, "create", "root"), (0, "remix", None), (1, "extend", "leaf")]
    assert tree("mika", leaf) == tree("mika", root) == seen
    publish(bench, "rolo", secret, title="open")
    assert tree("mika", leaf)[1] == (0, "remix", "secret")
    ask(bench, "mika", "DELETE", f"/v1/videos/{root}")
    assert tree("mika", leaf)[0] == (None, "create", None)
    assert "rolo" not in str(ask(bench, "mika", "GET", f"/api/clips/{leaf}").json()["lineage"][0])


def test_readings_stand_with_a_clip(shared):
    """The worker stored them; the page and the API tell the same verdict."""
    view = shared.call("GET", f"/api/clips/{shared.clip['id']}").json()
    readings = view["readings"]
    assert readings["verdict"] == shared.clip["verdict"] and readings["verdict"]["facts"]
    assert readings["oracles"]["count"] == len(readings["oracles"]["balls"])
    assert readings["seconds"] == pytest.approx(1.125) and view["shots"] == 1
    assert (view["kind"], view["mine"], view["post"]) == ("create", True, None)


def test_files_of_a_post(shared):
    """They are those of the clip, as long as the post is live."""
    body = {"json": {"video": shared.clip["id"]}}
    post = shared.call("POST", "/api/posts", **body).json()["id"]
    for variant in ("video", "thumbnail", "spritesheet", "sound"):
        answer = shared.call("GET", f"/api/posts/{post}/content?variant={variant}")
        assert answer.content == shared.content(shared.clip, variant)
    shared.call("DELETE", f"/api/posts/{post}")
    refused(shared.call("GET", f"/api/posts/{post}/content"), 404, "not_found", "post_id")


def test_granted_characters(bench, people):
    """The page offers them: those that the account may use now, of other accounts."""
    owned = (("mika", "alia"), ("mika", "ben"), ("rolo", "cleo"))
    ids = {
        name: add_character(bench, people[who], name, seed)
        for seed, (who, name) in enumerate(owned)
    }

    def offered(who):
        listed = ask(bench, who, "GET", "/api/characters").json()["data"]
        return [(one["handle"], one["account"], one["status"]) for one in listed]

    def grant(who, name, audience):
        path = f"/v1/characters/{ids[name]}/grants"
        assert ask(bench, who, "POST", path, json={"account": audience}).status_code == 200

    assert offered("nova") == []
    grant("mika", "alia", "everyone")
    grant("rolo", "cleo", "nova")
    grant("mika", "ben", "mutuals")
    alia, cleo = ("alia", "mika", "verified"), ("cleo", "rolo", "verified")
    ben = ("ben", "mika", "verified")
    assert offered("nova") == [cleo, alia]  # those granted by name come first
    assert offered("rolo") == [alia] and offered("mika") == []
    grant("mika", "alia", "nova")
    assert offered("nova") == [alia, cleo]  # once, though granted twice
    for who, other in (("nova", "mika"), ("mika", "nova")):
        followed = ask(bench, who, "POST", "/v1/follows", json={"account": other})
        assert followed.status_code == 200
    assert offered("nova") == [alia, cleo, ben] and offered("rolo") == [alia]
    ask(bench, "mika", "DELETE", f"/v1/characters/{ids['alia']}")
    ask(bench, "rolo", "DELETE", f"/v1/characters/{ids['cleo']}/grants/nova")
    assert offered("nova") == [ben]


def test_styles_of_every_family():
    """A family with styles offers all of them, each in the words of its prompts."""
    assert styles.offered(["room", "court"]) == {}
    for name, family in FAMILIES.items():
        assert tuple(styles.offered([name])) == family.styles, name
    both = styles.offered(["room", "talk", "story"])
    assert [len(one["phrases"]) for one in both.values()] == [2] * 4
    prompt = styles.offered(["film"])["anime"]["start"] + PROMPT
    assert FAMILIES["film"].parse(prompt).look.style == "anime"


def test_the_model(shared):
    """What the page offers can be made."""
    model = shared.call("GET", "/api/model").json()
    assert [one["size"] for one in model["formats"]] == ["16x16", "24x16"]
    assert len(page.examples(["room", "film"])) == page.EXAMPLES and page.examples([]) == []
    for one in model["formats"]:
        fields = {"size": one["size"], "seconds": one["exact_seconds"]}
        assert shared.create(**fields)["size"] == one["size"]
