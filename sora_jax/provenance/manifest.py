"""C2PA manifests: signed statements inside a file on who made it, how, and from what.

`sign` writes a manifest into a file, `read` reads and checks one, both without a network. A
manifest of this library holds

    c2pa.actions        created by a model; or opened (the parent) and edited
    ingredients         the parents (files it was made from), each with its manifest if it has one
    c2pa.soft-binding   the payload of the invisible mark, by which a file that lost its manifest
                        is found again
    org.sora-jax.job    the job (a generation in the studio) that made it
    org.sora-jax.consent   the characters shown, each with the grant of its owner that allows it

Every byte of picture and sound is signed. C2PA leaves a few parts unsigned: the boxes `ftyp`,
`free` and `skip` of an mp4, and in all files the padding of the signature and the header of the
manifest's own box. None of them changes what is shown or stated.
"""

import dataclasses
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sora_jax import __version__
from sora_jax.errors import UserError
from sora_jax.files import replacing, user_path
from sora_jax.provenance.authority import Authority
from sora_jax.provenance.optional import REMEDY, module

c2pa = module("c2pa")

TYPES = {
    ".mp4": "video/mp4",
    ".m4a": "audio/mp4",
    ".wav": "audio/wav",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}
ACTIONS = ("created", "remixed", "edited", "extended")
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
JOB, CONSENT, BINDING = "org.sora-jax.job", "org.sora-jax.consent", "c2pa.soft-binding"
MARK = "org.sora-jax.mark.1"  # the soft binding's algorithm: `picture_mark` and `sound_mark`
STATES = {"Trusted": "trusted", "Valid": "valid"}


@dataclasses.dataclass(frozen=True)
class Statement:
    """What a manifest says of a file.

    Attributes:
        job: id of the job that made it. Default "".
        action: one of ACTIONS; all but "created" have a parent. Default "created".
        parents: paths of the files that it was made from, the main one first. Default none.
        consent: one mapping for each character shown, such as {"character": "@mika", "grant":
            "g_12"}. Default none.
        payload: 32-bit number in the invisible mark; None (default) for a file without one.
        details: other JSON values of the job, such as prompt and model. Default none.
    """

    job: str = ""
    action: str = "created"
    parents: Sequence[str | os.PathLike] = ()
    consent: Sequence[Mapping[str, Any]] = ()
    payload: int | None = None
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Parent:
    """A file that another was made from.

    Attributes:
        title: its file name.
        relation: "parentOf" for the main parent, else "componentOf".
        job: the job that made it; "" if it had no manifest of this library.
        parents: its own parents, as far as its manifest states them.
    """

    title: str
    relation: str
    job: str
    parents: tuple["Parent", ...]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A manifest as read.

    Attributes:
        state: "trusted": the file is whole and signed below one of the authority's anchors;
            "valid": whole, by a signer that the authority does not know; "invalid": the file or
            the manifest was changed after signing.
        signer: organisation and name of the signing certificate.
        job, action, consent, payload, details: as in `Statement`. Default: not stated.
        parents: the files from which it was made, each with its own parents. Default: none.
        problems: C2PA's codes of what is wrong, such as "assertion.bmffHash.mismatch", or other
            texts. Default: none.
    """

    state: str
    signer: str
    job: str = ""
    action: str = ""
    parents: tuple[Parent, ...] = ()
    consent: tuple[Mapping[str, Any], ...] = ()
    payload: int | None = None
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    problems: tuple[str, ...] = ()


def media_type(path: str | os.PathLike) -> str:
    """Returns the media type (MIME) of a file by its suffix, such as "video/mp4".

    Raises:
        UserError: files with this suffix are not supported.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in TYPES:
        raise UserError(f"{path}: no manifest goes into this file; give one of {', '.join(TYPES)}")
    return TYPES[suffix]


def sign(
    source: str | os.PathLike,
    target: str | os.PathLike,
    statement: Statement,
    authority: Authority,
) -> None:
    """Writes a copy of a file with a signed manifest, atomically.

    Args:
        source: the file to sign; its bytes must be of the type that the suffix of `target` says.
        target: the file to write. It may be `source`.
        statement: what the manifest says.
        authority: the authority that signs.

    Raises:
        UserError: the type is not supported, a parent cannot be read, the statement contradicts
            itself, the signer is refused by C2PA, or `c2pa-python` is missing.
    """
    _check_installed()
    kind = media_type(target)
    if statement.action not in ACTIONS:
        raise UserError(f"action={statement.action!r}; give one of {', '.join(ACTIONS)}")
    if (statement.action == "created") == bool(statement.parents):
        need = "no parent" if statement.action == "created" else "a parent"
        raise UserError(f"a file that was {statement.action} has {need}", field="parents")
    definition = _definition(user_path(target).name, statement)
    try:
        with _settings(authority.anchors) as context, c2pa.Builder(definition, context) as builder:
            for number, parent in enumerate(map(Path, statement.parents)):
                with parent.open("rb") as stream:
                    builder.add_ingredient(_ingredient(parent, number), media_type(parent), stream)
            data = io.BytesIO(Path(source).read_bytes())
            with (
                _signer(authority) as signer,
                replacing(target) as partial,
                partial.open("w+b") as file,
            ):
                builder.sign(signer, kind, data, file)
    except c2pa.C2paError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{target} cannot be signed ({reason}); see docs/guides/provenance.md"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from None


def read(path: str | os.PathLike, anchors: str = "") -> Manifest | None:
    """Returns the manifest of a file, after verifying its signature; None if it has none. A damaged
    manifest has the state "invalid".

    Args:
        path: the file.
        anchors: root certificates in PEM whose signers are trusted. Default "": none.

    Raises:
        UserError: the file is missing or of another type, or `c2pa-python` is missing.
    """
    _check_installed()
    kind = media_type(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give a file") from None
    try:
        with (
            _settings(anchors) as context,
            c2pa.Reader(kind, io.BytesIO(data), context=context) as r,
        ):
            return _manifest(json.loads(r.json()), r.get_validation_state())
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError as error:
        return Manifest("invalid", "unknown", problems=(" ".join(str(error).split()),))
    except (KeyError, TypeError, ValueError, AttributeError):  # JSON of another form
        return Manifest("invalid", "unknown", problems=("its manifest is damaged",))


def _check_installed() -> None:
    if c2pa is None:
        raise UserError(f"manifests need the package c2pa-python, which is missing; {REMEDY}")


def _settings(anchors: str) -> Any:
    """Returns a context of c2pa that trusts the root certificates `anchors`, in PEM.

    It is passed to Reader and Builder, on which `c2pa.load_settings` has no effect.
    """
    trust = {"trust": {"trust_anchors": anchors}} if anchors else {}
    return c2pa.Context(
        settings=c2pa.Settings.from_dict({**trust, "verify": {"verify_trust": True}})
    )


def _signer(authority: Authority) -> Any:
    return c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(
            authority.algorithm.encode(), authority.chain.encode(), authority.key, None
        )
    )


def _ingredient(path: Path, number: int) -> dict[str, str]:
    relation = "componentOf" if number else "parentOf"
    return {"title": path.name, "relationship": relation, "label": f"parent{number}"}


def _definition(title: str, statement: Statement) -> dict[str, Any]:
    """Returns the manifest of a statement, in the JSON of c2pa-python. `title` is the file name."""
    actions = [{"action": "c2pa.created", "digitalSourceType": GENERATED}]
    if statement.parents:
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent0"]}}
        placed = [
            {"action": "c2pa.placed", "parameters": {"ingredientIds": [f"parent{number}"]}}
            for number in range(1, len(statement.parents))
        ]
        edited = {"action": "c2pa.edited", "description": statement.action}
        actions = [opened, *placed, edited | {"digitalSourceType": GENERATED}]
    job = {"job": statement.job, "action": statement.action, "details": dict(statement.details)}
    assertions = [
        {"label": "c2pa.actions", "data": {"actions": actions}},
        {"label": JOB, "data": job},
    ]
    if statement.consent:
        characters = {"characters": [dict(entry) for entry in statement.consent]}
        assertions.append({"label": CONSENT, "data": characters})
    if statement.payload is not None:
        block = {"scope": {}, "value": f"{statement.payload:08x}"}
        assertions.append({"label": BINDING, "data": {"alg": MARK, "blocks": [block]}})
    generator = [{"name": "sora_jax", "version": __version__}]
    return {"claim_generator_info": generator, "title": title, "assertions": assertions}


def _manifest(store: dict[str, Any], state: str | None) -> Manifest:
    """Returns the active manifest of `store`, the JSON of c2pa's Reader, whose validation state is
    `state`.
    """
    active = store["manifests"][store["active_manifest"]]
    stated = _assertions(active)
    signature = active.get("signature_info", {})
    signer = ", ".join(filter(None, (signature.get("issuer"), signature.get("common_name"))))
    job = stated.get(JOB, {})
    problems = [entry["code"] for entry in store.get("validation_status", ())]
    return Manifest(
        STATES.get(state or "", "invalid"),
        signer or "unknown",
        job.get("job", ""),
        job.get("action", ""),
        _parents(store, active),
        tuple(stated.get(CONSENT, {}).get("characters", ())),
        _payload(stated.get(BINDING, {})),
        job.get("details", {}),
        tuple(dict.fromkeys(problems)),
    )


def _assertions(manifest: dict[str, Any]) -> dict[str, Any]:
    """Returns the assertions of a manifest by label, those that are dictionaries."""
    entries = manifest.get("assertions", ())
    return {e["label"]: e["data"] for e in entries if isinstance(e.get("data"), dict)}


def _payload(binding: dict[str, Any]) -> int | None:
    """Returns the payload of a soft binding; None for one of another program."""
    if binding.get("alg") != MARK:
        return None
    try:
        return int(binding["blocks"][0]["value"], 16)
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _parents(store: dict[str, Any], manifest: dict[str, Any]) -> tuple[Parent, ...]:
    result = []
    for entry in manifest.get("ingredients", ()):
        own = store["manifests"].get(entry.get("active_manifest"), {})
        job = _assertions(own).get(JOB, {}).get("job", "")
        relation = entry.get("relationship", "")
        result.append(Parent(entry.get("title", ""), relation, job, _parents(store, own)))
    return tuple(result)
