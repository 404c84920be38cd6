"""The argument of the endpoints: one request, and the parts that all requests share."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sora_jax.provenance.authority import Authority
from sora_jax.studio.consent.captures import CaptureVerifier
from sora_jax.studio.database.store import Store
from sora_jax.studio.endpoints.uploads import VideoChecker
from sora_jax.studio.settings import Settings
from sora_jax.studio.storage import authorities
from sora_jax.studio.storage.content import Signer
from sora_jax.studio.storage.media_store import MediaStore
from sora_jax.studio.storage.remote_media import open_media


@dataclasses.dataclass(frozen=True)
class Studio:
    """The parts that all requests of an API process share.

    Attributes:
        settings: settings of the server.
        store: the database.
        media: the media store, which holds the files of clips.
        signer: signs and checks URLs of files.
        videos: checks uploaded videos.
        authority: signs and marks files.
        verifier: verifies captures and screens uploaded files.
    """

    settings: Settings
    store: Store
    media: MediaStore
    signer: Signer
    videos: VideoChecker
    authority: Authority
    verifier: CaptureVerifier

    @classmethod
    def open(cls, settings: Settings) -> "Studio":
        """Opens the database, the media store and the authority.

        Raises:
            UserError: one of them cannot be opened.
        """
        store = Store(settings.database_url)
        media = open_media(settings)
        checker = VideoChecker(settings.limits.upload_seconds)
        authority = authorities.open_for(settings, store)
        verifier = CaptureVerifier(authority, settings.verifier)
        return cls(settings, store, media, Signer(store), checker, authority, verifier)

    def close(self) -> None:
        """Closes the database and ends child processes."""
        self.videos.close()
        self.verifier.close()
        self.store.close()


@dataclasses.dataclass
class Call:
    """One request.

    Attributes:
        studio: the parts that all requests share.
        account: id of the account that makes the request; "" for a signed URL.
        path: parameters of the path by name.
        query: parameters of the query by name.
        fields: fields of the body by name. Default: none.
        viewer: id of the account for which a signed URL was made; otherwise `account`.
        headers: headers of the response, to which endpoints add. Default: none.
        session: token of the page's session. Default "": none.
    """

    studio: Studio
    account: str
    path: Mapping[str, str]
    query: dict[str, str]
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    viewer: str = ""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    session: str = ""
