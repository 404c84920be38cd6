"""The web page of the studio: its files, and the endpoints below /api that it alone uses.

It consists of HTML, CSS and JavaScript modules without a build step, and loads nothing from other
hosts. Its content security policy forbids inline scripts, and turning text into HTML
(`require-trusted-types-for`).
"""

import hashlib
import mimetypes
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sora_jax.studio.database import models
from sora_jax.studio.endpoints import characters, feed, lineage, posts, sessions, styles
from sora_jax.studio.endpoints.call import Call, Studio
from sora_jax.studio.endpoints.operations import Operation
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.spec import COLOURS, FILM_STYLES, SOUNDSCAPES
from sora_jax.worlds.playhouse.storyboard import FRAMES, MOVES, PLACES

FOLDER = Path(__file__).parent / "static"
INDEX = "index.html"
EXAMPLES = 6  # prompts that the page suggests at a time
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(self), geolocation=()",
    "referrer-policy": "same-origin",
    "cache-control": "no-cache",
}


def model(call: Call) -> dict[str, Any]:
    """Returns what the page needs to know of the loaded model: its name, formats, styles, limits,
    example prompts and the words of storyboards.
    """
    loaded, settings = models.current(call.studio.store), call.studio.settings
    families = [name for name in loaded.families if name in FAMILIES]
    formats = [
        {
            "size": models.size_of(one),
            "seconds": models.seconds_text(one.seconds, one),
            "exact_seconds": round(one.seconds, 3),
            "shots": len(one.shots) or 1,
            "fps": float(one.fps),
        }
        for one in dict.fromkeys(loaded.formats)
    ]
    return {
        "object": "model",
        "name": loaded.name,
        "families": families,
        "formats": formats,
        "references": loaded.references,
        "styles": styles.offered(families),
        "steps": settings.steps,
        "most_steps": settings.limits.steps,
        "extension_seconds": settings.limits.extension_seconds,
        "examples": examples(families),
        "storyboard": {
            "styles": list(FILM_STYLES),
            "soundscapes": list(SOUNDSCAPES),
            "colours": list(COLOURS),
            "places": list(PLACES),
            "frames": list(FRAMES),
            "moves": list(MOVES),
        },
    }


def examples(families: list[str]) -> list[str]:
    """Returns EXAMPLES captions of random scenes of the split `val`, which no model was trained on.
    The families take turns.
    """
    families = [name for name in families if "val" in FAMILIES[name].splits]
    drawn = []
    for i in range(EXAMPLES if families else 0):
        family = families[i % len(families)]
        drawn.append(draw("val", secrets.randbelow(1_000), family=family).captions[0])
    return drawn


OPERATIONS = (
    Operation("GET", "/api/session", sessions.retrieve, "Who is signed in", ""),
    Operation("DELETE", "/api/session", sessions.sign_out, "Sign out", ""),
    Operation("GET", "/api/model", model, "The loaded model", ""),
    Operation("GET", "/api/characters", characters.granted, "Characters granted", ""),
    Operation("GET", "/api/feed", feed.listed, "Published clips", ""),
    Operation("POST", "/api/posts", posts.publish, "Publish a clip", "", ("video", "title")),
    Operation("DELETE", "/api/posts/{post_id}", posts.unpublish, "Take a post back", ""),
    Operation("GET", "/api/posts/{post_id}/content", posts.download, "A file of a post", ""),
    Operation("GET", "/api/clips/{video_id}", lineage.retrieve, "One clip", ""),
)


def routes(studio: Studio) -> list[Route]:
    """Returns the routes that need no key: the files of the page, and signing in."""

    async def sign_in(request: Request) -> Response:
        request.scope["studio_route"] = "/api/session"
        return await sessions.sign_in(studio, request)

    names = sorted(path.name for path in FOLDER.iterdir() if path.is_file())
    files = [Route(f"/static/{name}", _file(name), methods=["GET"]) for name in names]
    start = Route("/", _file(INDEX), methods=["GET"])
    return [start, *files, Route("/api/session", sign_in, methods=["POST"])]


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    """Returns the handler that answers with the file `name` of the page."""
    body = (FOLDER / name).read_bytes()
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    headers = HEADERS | {"etag": tag}

    async def handle(request: Request) -> Response:
        request.scope["studio_route"] = "page"
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=kind, headers=headers)

    return handle
