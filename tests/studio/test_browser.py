"""The page in a real Chromium, against a real server: three accounts create, remix and publish,
record a character, grant it and take it back.

It needs the system's `chromium` and the package playwright.
"""

import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_server import Server, captured, mp4, named
from studio_parts import PROMPT

from sora_jax.studio.endpoints import styles
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import FAMILIES

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]
SCRIPT = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
LONG = 300_000  # milliseconds for a clip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture(scope="module")
def browser():
    flags = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


def noted(line, faults):
    """Notes an error of the console that is no refused request."""
    if line.type == "error" and "Failed to load resource" not in line.text:
        faults.append(line.text)


@pytest.fixture
def people(server, browser):
    """Returns the page of an account, signed in with its key. No page may throw, or break its own
    policy.
    """
    contexts, faults = [], []

    def page(who, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        made = context.new_page()
        made.on("pageerror", lambda error: faults.append(str(error)))
        made.on("console", lambda line: noted(line, faults))
        made.set_default_timeout(60_000)
        made.goto(server.base)
        made.get_by_label("Key").fill(server.keys[who])
        made.get_by_role("button", name="Sign in").click()
        made.get_by_role("navigation", name="Views").wait_for()
        return made

    yield page
    for context in contexts:
        context.close()
    assert not faults


def go(page, place):
    page.evaluate("place => { location.hash = place }", f"#/{place}")


def posted(server, who, title):
    """The video of a new post, made over the API."""
    video = server.finished(who, server.create(who, PROMPT).json())
    server.json(who, "POST", "/api/posts", json={"video": video["id"], "title": title})
    return video["id"]


def titles(page):
    page.locator(".post").first.wait_for()
    return page.locator(".post .about .title").all_inner_texts()


def click(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def generate(page):
    """The result of the prompt that stands in the page, when it has been read."""
    results = page.locator(".result")
    count = results.count()
    click(page, "Generate")
    playwright.expect(results).to_have_count(count + 1)
    results.first.locator(".facts, .problem").wait_for(timeout=LONG)
    assert results.first.locator(".problem").count() == 0, results.first.inner_text()
    return results.first


def test_from_a_prompt_to_a_remix_and_an_extension(server, people):
    """A result stands beside its readings; the lineage has all three clips, also after a change of
    page.
    """
    page = people("alice")
    page.get_by_label("Prompt", exact=True).last.fill(PROMPT)
    page.locator("summary").click()
    page.get_by_label("Format").select_option(index=0)
    page.get_by_label("Seed").fill("7")
    result = generate(page)
    assert re.search(r"\d of 6", result.locator(".score").inner_text())
    rows = result.locator("tbody tr").all_inner_texts()
    assert any(row.split("\t")[:2] == ["bounces", "2"] for row in rows), rows
    width = result.locator("video").evaluate("video => video.getBoundingClientRect().width")
    assert width % 64 == 0 and width >= 256
    result.get_by_role("link", name="Open", exact=True).click()
    page.get_by_role("group", name="Go on from this clip").wait_for()
    click(page, "Remix")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("New prompt").fill(PROMPT.replace("red", "blue"))
    dialog.get_by_label("Strength").fill("0.8")
    dialog.get_by_role("button", name="Remix").click()
    tree = page.get_by_role("navigation", name="Lineage")
    playwright.expect(tree.locator("[aria-current]")).to_contain_text("blue", timeout=LONG)
    click(page, "Extend")
    page.get_by_role("dialog").get_by_label("Seconds to add").fill("1")
    page.get_by_role("dialog").get_by_role("button", name="Extend").click()
    playwright.expect(tree.locator("li")).to_have_count(3, timeout=LONG)
    page.locator(".player").wait_for(timeout=LONG)
    page.reload()
    playwright.expect(tree.locator("li")).to_have_count(3)
    assert tree.locator("ul ul ul li").count() == 1
    kinds = [one["kind"] for one in tree_of(server, page)]
    assert kinds == ["create", "remix", "extend"]


def tree_of(server, page):
    video = page.url.rpartition("/")[2].partition("?")[0]
    return server.json("alice", "GET", f"/api/clips/{video}")["lineage"]


def test_the_feed_and_its_orders(server, people):
    """Private clips are in none; a script in a title is text; following and unpublishing work."""
    first = posted(server, "alice", SCRIPT)
    second = posted(server, "bob", "Second")
    body = {"prompt": PROMPT}
    remix = server.json("mallory", "POST", f"/v1/videos/{first}/remix", json=body)
    server.finished("mallory", remix)
    page = people("mallory")
    go(page, "feed")
    assert titles(page)[:2] == ["Second", SCRIPT]
    assert page.title() == "Feed · Studio" and page.locator("main img[src=x]").count() == 0
    card = page.locator(".post").first
    card.get_by_role("button", name="Follow").click()
    card.get_by_role("button", name="Following").wait_for()
    page.get_by_role("radio", name="Most remixed").check()
    playwright.expect(page.locator(".post .about .title").first).to_have_text(SCRIPT)
    page.get_by_role("radio", name="Followed").check()
    playwright.expect(page.locator(".post")).to_have_count(1)
    assert titles(page) == ["Second"]
    go(page, f"clip/{first}")
    page.get_by_role("heading", name=SCRIPT).wait_for()
    assert (
        page.title().startswith("<img") and page.get_by_role("button", name="Publish").count() == 0
    )
    page.get_by_role("link", name="Like this one").click()
    assert page.get_by_role("radio", name="Like this one").is_checked()
    assert titles(page) == ["Second"]
    own = people("bob")
    go(own, f"clip/{second}")
    click(own, "Unpublish")
    own.get_by_role("button", name="Publish").wait_for()
    page.get_by_role("radio", name="Newest").check()
    playwright.expect(page.locator(".post").first).to_contain_text("alice")
    assert remix["id"] not in page.content()


def upload(page, label, content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        path.write_bytes(content)
        page.get_by_label(label).set_input_files(path)
        page.wait_for_timeout(500)  # the browser reads the file


def test_a_character_from_capture_to_revocation(server, people):
    """A refused capture says why. A grant lets another account in, until it is taken back."""
    page = people("alice")
    go(page, "characters")
    click(page, "Record a character")
    page.get_by_label("Name").fill("mika")
    click(page, "Get the phrase")
    page.get_by_label("Phrase").wait_for()
    files = {
        "name": "a.mp4",
        "mimeType": "video/mp4",
        "buffer": mp4(captured("mika", "red red red")),
    }
    page.get_by_label("Capture as an mp4 file").set_input_files(files)
    playwright.expect(page.get_by_role("alert")).to_contain_text("is heard", timeout=LONG)
    click(page, "Get a new phrase")
    click(page, "Get the phrase")
    phrase = page.get_by_label("Phrase").inner_text()
    files["buffer"] = mp4(captured("mika", phrase))
    page.get_by_label("Capture as an mp4 file").set_input_files(files)
    page.get_by_role("heading", name="@mika").wait_for(timeout=LONG)
    playwright.expect(page.locator(".heading .status")).to_have_text("Verified")
    page.get_by_label("Account").fill("nobody")
    click(page, "Grant")
    playwright.expect(page.get_by_role("alert")).to_have_text("There is no account 'nobody'.")
    page.get_by_label("Account").fill("bob")
    click(page, "Grant")
    page.get_by_role("button", name="Revoke the grant of bob").wait_for()
    page.get_by_label("One a line").fill("be kind")
    click(page, "Save")
    page.get_by_text("kept, but not enforced").wait_for()

    other = people("bob")
    other.locator("summary").click()
    other.locator(".chip[title='granted by alice']", has_text="@mika").click()
    playwright.expect(other.locator("summary")).to_contain_text("1 character")
    other.get_by_label("Prompt", exact=True).last.fill(named("mika"))
    generate(other)
    page.reload()
    seen = page.locator(".post")
    playwright.expect(seen).to_have_count(1)
    playwright.expect(seen).to_contain_text("bob")
    page.get_by_role("button", name="Revoke the grant of bob").click()
    page.get_by_text("Nobody but you may show this character.").wait_for()
    click(other, "Generate")
    playwright.expect(other.get_by_role("alert").first).to_contain_text("is not granted to you")
    click(page, "Revoke this character")
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    page.get_by_role("heading", name="Characters").wait_for()
    assert page.locator(".people .status").all_inner_texts() == ["Refused"]


def test_the_camera(server, people):
    """The browser's stream is recorded as mp4, and the server reads it."""
    page = people("mallory", permissions=["camera", "microphone"])
    go(page, "characters")
    click(page, "Record a character")
    page.get_by_label("Name").fill("me")
    click(page, "Get the phrase")
    click(page, "Use the camera")
    click(page, "Record")
    page.wait_for_timeout(2500)
    click(page, "Stop and send")
    told = page.get_by_role("alert")
    playwright.expect(told).to_contain_text("0 faces are seen", timeout=LONG)


def test_provenance(server, people):
    """The badge opens manifest and mark; a changed file and a foreign one are told apart."""
    video = posted(server, "alice", "Mine")
    page = people("bob")
    go(page, f"clip/{video}")
    click(page, "Provenance")
    report = page.locator("dl.report")
    playwright.expect(report).to_contain_text("Signed by this server's authority, and whole")
    playwright.expect(report).to_contain_text("found in")
    click(page, "Close")
    content = bytearray(server.content("alice", {"id": video}).content)
    content[-20] ^= 1
    click(page, "Verify a file")
    file = {"name": "a.mp4", "mimeType": "video/mp4", "buffer": bytes(content)}
    page.get_by_label("File", exact=True).set_input_files(file)
    click(page, "Verify")
    playwright.expect(report).to_contain_text("Changed after it was signed", timeout=LONG)
    page.get_by_label("File", exact=True).set_input_files(file | {"buffer": b"no file of ours"})
    click(page, "Verify")
    playwright.expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("no mp4")


def test_a_storyboard_and_an_edit_of_one_shot(server, people):
    """Cards become the text of a storyboard; one shot of the clip is made anew."""
    server.enrol("alice", "nova")
    page = people("alice")
    page.get_by_role("radio", name="Storyboard").check()
    assert page.locator(".card").count() == 3
    assert page.get_by_label("Cast").input_value() == "@nova"
    for i, act in enumerate(("looks left", "opens the door", "says a word")):
        page.get_by_label("Add an act").nth(i).select_option(label=act)
    click(page, "Move shot 3 up")
    result = generate(page)
    text = result.locator(".title").inner_text()
    assert text.index('says "two"') < text.index("opens the door"), text
    result.get_by_role("link", name="Open", exact=True).click()
    click(page, "Edit a shot")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Shot, from 1 to 3").fill("2")
    click(page, "Make the shot anew")
    page.locator(".player").wait_for(timeout=LONG)
    playwright.expect(page.locator(".hint").first).to_contain_text("Edit by you of", timeout=LONG)
    assert page.get_by_role("button", name="Extend").is_disabled()


def test_a_style_replaces_the_words_of_another(server, people):
    """Of every family with styles: the prompt stays a caption, which differs in its style only."""
    page = people("alice")
    script = """([text, style, styles]) =>
        import("/static/style_words.js").then((words) => words.styled(text, style, styles))"""
    styled = {name: family for name, family in FAMILIES.items() if family.styles}
    assert {"film", "occlude", "talk", "story"} <= styled.keys()
    for name, family in styled.items():
        offered = styles.offered([name])
        for caption in draw("val", 3, family=name).captions:
            facts = family.parse(caption)
            for style in family.styles:
                text = page.evaluate(script, [caption, style, offered])
                assert family.parse(text) == family.restyled(facts, style), (caption, text)
            assert page.evaluate(script, [caption, "", offered]) == caption


def test_a_first_frame(server, people, tmp_path):
    """A picture of any size is cropped to that of the clip."""
    Image.fromarray(np.full((90, 160, 3), 120, np.uint8)).save(tmp_path / "a.png")
    page = people("alice")
    page.get_by_label("Prompt", exact=True).last.fill(PROMPT)
    page.locator("summary").click()
    page.get_by_label("First frame", exact=True).set_input_files(tmp_path / "a.png")
    playwright.expect(page.locator("summary")).to_contain_text("first frame")
    generate(page)


def test_jobs(server, people):
    """A job is cancelled, a clip deleted; errors of a job are one line."""
    page = people("mallory")
    server.create("mallory", "zzz qqq")
    server.create("mallory", PROMPT, steps=900)
    go(page, "jobs")
    job = page.locator(".job").first
    job.get_by_role("button", name="Cancel").click()
    playwright.expect(job.locator(".status")).to_have_text("Cancelled")
    bad = page.locator(".job").nth(1)
    playwright.expect(bad.locator(".status")).to_have_text("Failed", timeout=LONG)
    assert "learned no word" in bad.inner_text()
    count = page.locator(".job").count()
    bad.get_by_role("button", name="Delete").click()
    playwright.expect(page.locator(".job")).to_have_count(count - 1)


def test_another_origin(server, people, browser):
    """Its requests carry no session, a forged one is refused, and no page frames this one."""
    page = people("alice")
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
    assert page.evaluate("document.cookie") == ""
    script = """async ([url, headers]) => {
      const sent = { method: 'POST', credentials: 'include', body: '{"prompt": "x"}', headers };
      return (await fetch(url, sent)).status;
    }"""
    without = page.evaluate(
        script, [f"{server.base}/v1/videos", {"content-type": "application/json"}]
    )
    assert without == 403
    evil = page.context.new_page()
    address = server.base.replace("127.0.0.1", "localhost")
    evil.goto(f"{address}/healthz")
    count = len(server.json("alice", "GET", "/v1/videos?limit=100")["data"])
    for kind in ("text/plain", "application/json"):
        with pytest.raises(playwright.Error, match="Failed to fetch"):
            evil.evaluate(script, [f"{server.base}/v1/videos", {"content-type": kind}])
    assert len(server.json("alice", "GET", "/v1/videos?limit=100")["data"]) == count
    forged = server.call(
        "alice", "GET", "/v1/videos", headers={"authorization": "", "origin": "http://evil.example",
                                               "cookie": f"{cookie['name']}={cookie['value']}"},
    )  # fmt: skip
    assert (forged.status_code, forged.json()["error"]["code"]) == (403, "cross_origin")
    click(page, "Sign out")
    page.get_by_label("Key").wait_for()


def test_by_keyboard_and_at_phone_width(server, people):
    """Every view fits 390 pixels; the first stops of Tab lead to the content and the views."""
    video = posted(server, "alice", "A" * 119)
    for scheme in ("light", "dark"):
        page = people("alice", color_scheme=scheme, **PHONE)
        for place in ("create", "feed", f"clip/{video}", "characters", "jobs"):
            go(page, place)
            page.locator("main:not(:has(.loading))").wait_for()
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 390, (place, wide)
    page = people("bob")
    page.reload()
    page.locator(".composer").wait_for()
    names = []
    for _ in range(6):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.textContent"))
    assert names[0] == "Skip to the content" and names[2:6] == [
        "Create",
        "Feed",
        "Characters",
        "Jobs",
    ]
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Jobs").wait_for()
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, a, input, select, textarea')].filter((one) =>"
        " !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).length"
    )
    assert unnamed == 0
