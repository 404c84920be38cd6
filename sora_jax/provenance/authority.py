"""Authorities: who signs the published files, and with which secret they are marked.

An authority is a folder:

    chain.pem      the signer's certificate, then those that lead to the root
    signer.key     the signer's private key, PEM without a password
    anchors.pem    root certificates that `check` trusts
    mark.key       the secret of the invisible marks, at least 16 bytes

C2PA is the standard of signed manifests (`manifest`). `open_authority` makes a development
authority where the folder does not exist: a root certificate of its own with one signer. Nobody
else trusts it, and its certificates say in their names that they are for development. A real
authority is a folder with the same files, and a chain that was issued for C2PA.
"""

import contextlib
import dataclasses
import datetime
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.provenance.optional import REMEDY, module

x509 = module("cryptography.x509")
hashes = module("cryptography.hazmat.primitives.hashes")
serialization = module("cryptography.hazmat.primitives.serialization")
ec = module("cryptography.hazmat.primitives.asymmetric.ec")
ed25519 = module("cryptography.hazmat.primitives.asymmetric.ed25519")
rsa = module("cryptography.hazmat.primitives.asymmetric.rsa")

CHAIN, KEY, ANCHORS, MARK = NAMES = ("chain.pem", "signer.key", "anchors.pem", "mark.key")
DEVELOPMENT = "sora_jax development authority"
DAYS = 3650  # validity of development certificates
SHORTEST = 16  # least number of bytes in mark.key
ELLIPTIC = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclasses.dataclass(frozen=True)
class Authority:
    """A signer of files and the secret of their marks.

    Attributes:
        name: the organisation of the signer's certificate.
        chain: certificates in PEM, the signer's first.
        key: the private key in PEM.
        anchors: trusted root certificates in PEM.
        mark_key: the secret of the invisible marks.
        algorithm: C2PA's name of the signature algorithm, such as "es256".
    """

    name: str
    chain: str = dataclasses.field(repr=False)
    key: bytes = dataclasses.field(repr=False)
    anchors: str = dataclasses.field(repr=False)
    mark_key: bytes = dataclasses.field(repr=False)
    algorithm: str

    @property
    def development(self) -> bool:
        """True for an authority that `open_authority` made."""
        return self.name == DEVELOPMENT


def open_authority(folder: str | os.PathLike) -> Authority:
    """Returns the authority of a folder; makes a development authority if there is no such folder,
    or it is empty.

    The new folder appears whole, so processes that start at once read the same authority.

    Raises:
        UserError: the folder lacks a file, or one is not what its name says; or `cryptography` is
            missing.
    """
    if x509 is None:
        raise UserError(f"authorities need the package cryptography, which is missing; {REMEDY}")
    folder = files.user_path(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        _make_development(folder)
    return _read(folder)


def _read(folder: Path) -> Authority:
    try:
        chain, key, anchors, mark = ((folder / name).read_bytes() for name in NAMES)
    except OSError as error:
        raise UserError(
            f"{folder} is no authority: {error.filename}: {error.strerror}; give a folder with "
            f"{', '.join(NAMES)}, or one that does not exist, for a development authority"
        ) from None
    if len(mark) < SHORTEST:
        raise UserError(f"{folder / MARK} has {len(mark)} bytes; give at least {SHORTEST}")
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        x509.load_pem_x509_certificates(anchors)
        private: Any = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:80]
        raise UserError(
            f"{folder}: {CHAIN}, {ANCHORS} or {KEY} cannot be read ({reason}); give PEM files, the "
            "key without a password"
        ) from None
    public = certificates[0].public_key()
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(*form) != private.public_key().public_bytes(*form):
        raise UserError(f"{folder / KEY} is not the key of the first certificate in {CHAIN}")
    found = certificates[0].subject.get_attributes_for_oid(x509.oid.NameOID.ORGANIZATION_NAME)
    name = str(found[0].value) if found else certificates[0].subject.rfc4514_string()
    return Authority(name, chain.decode(), key, anchors.decode(), mark, _algorithm(private, folder))


def _algorithm(private: Any, folder: Path) -> str:
    """Returns C2PA's name of the signature algorithm of a private key. Raises UserError if there is
    none.
    """
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in ELLIPTIC:
        return ELLIPTIC[private.curve.name]
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    raise UserError(f"{folder / KEY}: C2PA has no signature for this key; give one of P-256")


def _make_development(folder: Path) -> None:
    """Makes the files of a development authority. A folder that another process made meanwhile is
    kept.
    """
    root_key, signer_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, signer_name = _name("root"), _name("signer")
    root = (
        _certificate(root_name, root_name, root_key, root_key)
        .add_extension(x509.BasicConstraints(True, 0), True)
        .add_extension(_usage(certificates=True), True)
        .sign(root_key, hashes.SHA256())
    )
    signer = (
        _certificate(signer_name, root_name, signer_key, root_key)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(_usage(certificates=False), True)
        # C2PA requires an extended key usage, and accepts this one for signatures.
        .add_extension(
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION]), False
        )
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = signer_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    root_pem = root.public_bytes(pem)
    contents = (signer.public_bytes(pem) + root_pem, private, root_pem, secrets.token_bytes(32))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise files.cannot_write(folder, error) from None
    try:  # mkdtemp lets nobody else read the folder
        for name, content in zip(NAMES, contents, strict=True):
            files.write(made / name, content)
            os.chmod(made / name, 0o600)
        with contextlib.suppress(OSError):  # it exists by now, and is read
            os.rename(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _name(role: str) -> Any:
    """Returns the name of a development certificate; `role` is "root" or "signer"."""
    oid = x509.oid.NameOID
    return x509.Name(
        [
            x509.NameAttribute(oid.ORGANIZATION_NAME, DEVELOPMENT),
            x509.NameAttribute(oid.COMMON_NAME, f"development {role}, not for release"),
        ]
    )


def _certificate(subject: Any, issuer: Any, key: Any, issuer_key: Any) -> Any:
    """Returns a certificate builder, valid for DAYS days, to be signed with `issuer_key`."""
    now = datetime.datetime.now(datetime.UTC)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(identifier, False)
    )


def _usage(certificates: bool) -> Any:
    """Returns the key usage extension: signing certificates if True, else signing files."""
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
