"""The tables of the studio. Times are seconds since 1970, by the database's clock.

accounts     name of each account, and the hash of its key
follows      who follows whom; two accounts that follow each other are mutuals
characters   recorded characters of accounts
challenges   phrases that an account is asked to say in a capture (the recording of a character)
grants       who may generate with a character
appearances  which characters a job shows, with those of the clip that it starts from
notices      messages to the owner of a character
jobs         accepted requests, their progress, and which worker owns them
clips        finished jobs and their files
posts        clips that an account published
sessions     web pages that are signed in
workers      workers, their model, and when they last reported
meta         the version of these tables, secrets such as that of signed URLs, and texts that all
             processes share
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

SCHEMA = 2  # raise it with every change of a table, and add a step to `migrations`

metadata = MetaData()


def _table(name: str, *columns: Column | Index) -> Table:
    return Table(name, metadata, *columns)


def _text(name: str, nullable: bool = False, **options: Any) -> Column:
    return Column(name, String, nullable=nullable, **options)


def _time(name: str, optional: bool = False) -> Column:
    return Column(name, Float, nullable=optional)


def _account(name: str = "account_id", **options: Any) -> Column:
    return Column(name, String, ForeignKey("accounts.id"), nullable=False, **options)


meta = _table("meta", _text("name", primary_key=True), _text("value"))

accounts = _table(
    "accounts",
    _text("id", primary_key=True),
    _text("name", unique=True),
    _text("key_hash", nullable=True, unique=True),
    _time("created_at"),
    _time("deleted_at", optional=True),
)

follows = _table(
    "follows",
    _account(primary_key=True),
    _account("followed_id", primary_key=True),
    _time("created_at"),
)

characters = _table(
    "characters",
    _text("id", primary_key=True),
    _account(index=True),
    _text("name"),
    _text("status"),
    _text("media"),  # key of the uploaded clip in the media store
    _time("created_at"),
    _time("deleted_at", optional=True),
    # set for verified characters, and `reason` for rejected ones
    _text("handle", nullable=True),  # its name in prompts, without "@"
    _text("skeleton", nullable=True),  # of the handle: the same for handles that look alike
    _text("fingerprint", nullable=True),  # of its references
    Column("identity", JSON(none_as_null=True), nullable=True),  # face and voice as numbers
    Column("restrictions", JSON(none_as_null=True), nullable=True),  # texts
    _text("reason", nullable=True),  # why a capture was rejected
    Index("characters_by_skeleton", "skeleton", unique=True),
)

challenges = _table(
    "challenges",
    _text("id", primary_key=True),
    _account(),
    _text("phrase"),  # words with spaces between
    _time("created_at"),
    _time("used_at", optional=True),
)

grants = _table(
    "grants",
    Column("character_id", String, ForeignKey("characters.id"), primary_key=True),
    _text("audience", primary_key=True),  # "everyone", "mutuals", or the id of an account
    _time("created_at"),
)

appearances = _table(
    "appearances",
    Column("job_id", String, ForeignKey("jobs.id"), primary_key=True),
    Column("character_id", String, ForeignKey("characters.id"), primary_key=True, index=True),
)

notices = _table(
    "notices",
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("character_id", String, ForeignKey("characters.id"), nullable=False, index=True),
    _text("message"),
    _time("created_at"),
)

jobs = _table(
    "jobs",
    Column("number", Integer, primary_key=True, autoincrement=True),
    _text("id", unique=True),
    _account(),
    _text("kind"),  # create, remix, edit, extend
    _text("status"),  # queued, in_progress, completed, failed, cancelled
    Column("progress", Integer, nullable=False, default=0),  # per cent
    _text("model"),
    _text("prompt"),
    _text("seconds"),  # duration as the API writes it
    _text("size"),  # width x height
    Column("request", JSON, nullable=False),
    _text("batch_key"),  # jobs with the same one can be generated together
    _text("parent_id", nullable=True),
    Column("error", JSON(none_as_null=True), nullable=True),
    _text("owner", nullable=True),  # id of the worker that has claimed it
    _time("lease_until", optional=True),
    Column("attempts", Integer, nullable=False, default=0),
    _time("created_at"),
    _time("started_at", optional=True),
    _time("completed_at", optional=True),
    _time("deleted_at", optional=True),
    Index("jobs_by_status", "status", "number"),
    Index("jobs_by_account", "account_id", "number"),
)

clips = _table(
    "clips",
    Column("id", String, ForeignKey("jobs.id"), primary_key=True),
    _account(index=True),
    _text("folder"),  # key of its folder in the media store
    Column("format", JSON, nullable=False),
    Column("seconds", Float, nullable=False),  # measured
    Column("provenance", JSON, nullable=False),
    Column("verdict", JSON, nullable=False),
    Column("notes", JSON, nullable=False),
    _time("created_at"),
    _time("expires_at"),
    _time("deleted_at", optional=True),
    Column("payload", BigInteger, nullable=True, index=True),  # number in its invisible marks
    # of its frames, if it shows recorded characters (`screening.signatures`)
    Column("signatures", LargeBinary, nullable=True),
)

posts = _table(
    "posts",
    _text("id", primary_key=True),
    _account(index=True),
    Column("clip_id", String, ForeignKey("clips.id"), nullable=False),
    _text("title"),
    _time("created_at"),
    _time("deleted_at", optional=True),
)

sessions = _table(
    "sessions",
    _text("id", primary_key=True),  # SHA-256 of the token in the cookie
    _account(index=True),
    _time("created_at"),
    _time("expires_at"),
)

workers = _table(
    "workers",
    _text("id", primary_key=True),
    Column("model", JSON, nullable=False),
    _time("started_at"),
    _time("seen_at"),
)
