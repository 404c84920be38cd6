"""Settings of a server. They can be written as JSON, which is how a server hands them to its
worker process.
"""

import dataclasses
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROLES = ("all", "api", "worker")


@dataclasses.dataclass(frozen=True)
class Limits:
    """The largest values that one key (one account) may use.

    Attributes:
        requests_per_minute: HTTP requests in a minute, counted in each API process. Default 600.
        queue: unfinished jobs. Default 20.
        upload_bytes: size of a request with its files, in bytes. Default 64 MiB.
        upload_seconds: duration of an uploaded video. Default 60.
        extension_seconds: duration that one extension adds. Default 60.
        prompt: characters of a prompt. Default 32,000.
        steps: steps of the sampler. Default 1,000.
    """

    requests_per_minute: int = 600
    queue: int = 20
    upload_bytes: int = 64 << 20
    upload_seconds: float = 60.0
    extension_seconds: float = 60.0
    prompt: int = 32_000
    steps: int = 1_000


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a server.

    Attributes:
        directory: folder of the database and the media of a server on one machine.
        host: address to listen on. Default 127.0.0.1, which other machines cannot reach.
        port: port to listen on. Default 8000; 0 takes a free one.
        role: the processes to run, one of ROLES: "all" (default) is an API process with a worker
            process; "api" or "worker" is only that one.
        database: URL of the database. Default None: SQLite in `directory`.
        media: folder of the clips' files, or a URL that `fsspec` opens. Default None: the folder
            `media` in `directory`.
        weights: path of the model's weights. Default None: the shipped ones.
        video_tokenizer: path of its weights. Default None: the shipped ones.
        audio_tokenizer: path of its weights. Default None: the shipped ones.
        steps: steps of the sampler, where a request gives none. Default 30.
        batch: most clips of equal shape that a worker generates together. Default 4.
        keep_days: days after which a clip's files are deleted. Default 30.
        lease_seconds: a job goes back to the queue if its worker is silent that long. Default 30.
        attempts: a job fails after its worker died that many times. Default 3.
        authority: folder of the authority that signs and marks files (`provenance.authority`).
            Default None: a development authority, which is made at the first start.
        verifier: MODULE:CLASS of the `Verifier` of captures (recordings from which characters are
            made). Default: the one for Playhouse's characters.
        imports: modules or files to import first, which may register parts of a model. Default ():
            none.
        limits: the limits of one key.
    """

    directory: str
    host: str = "127.0.0.1"
    port: int = 8000
    role: str = "all"
    database: str | None = None
    media: str | None = None
    weights: str | None = None
    video_tokenizer: str | None = None
    audio_tokenizer: str | None = None
    steps: int = 30
    batch: int = 4
    keep_days: float = 30.0
    lease_seconds: float = 30.0
    attempts: int = 3
    authority: str | None = None
    verifier: str = "sora_jax.characters.verifier:OracleVerifier"
    imports: tuple[str, ...] = ()
    limits: Limits = dataclasses.field(default_factory=Limits)

    @property
    def database_url(self) -> str:
        """The URL of the database."""
        return self.database or f"sqlite:///{Path(self.directory).absolute() / 'studio.sqlite'}"

    @property
    def media_url(self) -> str | None:
        """The URL of the media store; None if it is a folder."""
        return self.media if self.media and "://" in self.media else None

    @property
    def media_folder(self) -> Path:
        """The folder of the media store; for a media store behind a URL, of its local copies."""
        own = Path(self.directory) / "media"
        return (own if self.media is None or self.media_url else Path(self.media)).absolute()

    @property
    def loopback(self) -> bool:
        """True if `host` is a loopback address, so that only this machine reaches the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Settings":
        """Returns the settings of `values`, the result of `to_dict`."""
        limits = Limits(**values["limits"])
        return cls(**{**values, "limits": limits, "imports": tuple(values["imports"])})
