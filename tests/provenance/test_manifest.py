"""Manifests: trusted, unknown and changed files, parents, consent, and authorities."""

import concurrent.futures

import numpy as np
import pytest

from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.mp4 import read_metadata
from sora_jax.provenance import authority as authorities
from sora_jax.provenance import manifest, write
from sora_jax.provenance.authority import open_authority
from sora_jax.provenance.check import check
from sora_jax.provenance.manifest import Statement

pytest.importorskip("c2pa")
pytest.importorskip("cryptography")
from cryptography import x509


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return open_authority(tmp_path_factory.mktemp("keys") / "authority")


@pytest.fixture(scope="module")
def clip():
    rng = np.random.default_rng(0)
    ramp = np.linspace(60, 180, 64)[:, None, None] * np.ones((1, 64, 3))
    frames = np.repeat((ramp + rng.normal(size=ramp.shape)).astype(np.uint8)[None], 6, 0)
    return Clip(frames, (0.05 * rng.normal(size=24_000)).astype(np.float32), 4)


@pytest.fixture(scope="module")
def files(tmp_path_factory, authority, clip):
    """A published file of each type."""
    folder = tmp_path_factory.mktemp("files")
    statement = Statement("job_1", payload=0xABCD0123, details={"prompt": "a ball"})
    for suffix in (".mp4", ".m4a", ".wav"):
        write.publish(clip, folder / f"clip{suffix}", authority, statement)
    for suffix in (".png", ".jpg", ".webp"):
        write.publish_image(clip.frames[0], folder / f"clip{suffix}", authority, statement)
    return {path.suffix: path for path in folder.iterdir()}


def changed(path, target, position):
    """A copy with one bit of one byte flipped."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("suffix", [".mp4", ".m4a", ".wav", ".png", ".jpg", ".webp"])
def test_every_type_is_signed_marked_and_checked(files, authority, suffix):
    report = check(files[suffix], authority)
    found = report.manifest
    assert report.status == 0, report.lines()
    assert (found.state, found.job, found.payload) == ("trusted", "job_1", 0xABCD0123)
    assert found.details == {"prompt": "a ball"} and found.action == "created"
    assert "development" in found.signer
    assert (report.picture is not None) == (suffix == ".mp4")
    assert (report.sound is not None) == (suffix in (".mp4", ".m4a", ".wav"))
    assert report.payloads == {0xABCD0123}


@pytest.mark.parametrize("suffix", [".mp4", ".m4a", ".wav", ".png", ".jpg", ".webp"])
def test_a_changed_byte_of_the_media_is_seen(files, authority, tmp_path, suffix):
    data = files[suffix].read_bytes()
    where = len(data) - 30  # of jpeg, webp and wav: the manifest stands before the media, or apart
    if suffix in (".mp4", ".m4a"):
        where = data.index(b"mdat") + 50
    if suffix == ".png":
        where = data.rindex(b"IDAT") + 9
    bad = changed(files[suffix], tmp_path / f"bad{suffix}", where)
    found = manifest.read(bad, authority.anchors)
    assert found is not None and found.state == "invalid" and found.problems


def test_every_byte_of_an_mp4_but_those_around_the_manifest_is_signed(files, authority, tmp_path):
    data = files[".mp4"].read_bytes()
    box = data.index(b"uuid") - 4
    end = box + int.from_bytes(data[box : box + 4], "big")
    outside, unseen = 0, []
    for position in range(end, len(data), len(data) // 100):
        found = manifest.read(
            changed(files[".mp4"], tmp_path / "a.mp4", position), authority.anchors
        )
        outside += 1
        unseen += [position] if found is not None and found.state != "invalid" else []
    free = data.find(b"free")
    unseen = [p for p in unseen if not 0 <= p - free + 4 < 8]
    assert outside > 50 and not unseen


def test_a_damaged_manifest_is_invalid_or_gone(files, authority, tmp_path):
    """Damage anywhere in the manifest raises nothing, and where it is read, it is seen."""
    data = files[".mp4"].read_bytes()
    box = data.index(b"uuid") - 4
    size = int.from_bytes(data[box : box + 4], "big")
    states = []
    for position in range(box + 4, box + size, 41):
        found = manifest.read(
            changed(files[".mp4"], tmp_path / "a.mp4", position), authority.anchors
        )
        if data[position - 4 : position + 4] != bytes(8):  # no padding
            states.append("gone" if found is None else found.state)
    assert states.count("trusted") < 0.1 * len(states), states


def test_a_signer_of_another_authority_is_valid_but_not_trusted(files, tmp_path):
    other = open_authority(tmp_path / "other")
    found = manifest.read(files[".mp4"], other.anchors)
    assert found.state == "valid" and "signingCredential.untrusted" in found.problems
    report = check(files[".mp4"], other)
    assert report.status == 1 and report.picture is None and report.sound is None


def test_a_manifest_can_be_removed_and_the_mark_remains(files, authority, clip, tmp_path):
    marked, _ = write.mark(clip, 77, authority.mark_key)
    marked.save(tmp_path / "plain.mp4")
    report = check(tmp_path / "plain.mp4", authority)
    assert report.manifest is None and report.payloads == {77} and report.status == 1
    clip.save(tmp_path / "unmarked.mp4")
    report = check(tmp_path / "unmarked.mp4", authority)
    assert report.status == 2 and "neither manifest nor mark" in report.lines()[-1]


def test_a_manifest_over_another_mark_contradicts_it(authority, clip, tmp_path):
    marked, _ = write.mark(clip, 77, authority.mark_key)
    marked.save(tmp_path / "plain.mp4")
    statement = Statement("job_2", payload=78)
    manifest.sign(tmp_path / "plain.mp4", tmp_path / "signed.mp4", statement, authority)
    report = check(tmp_path / "signed.mp4", authority)
    assert report.manifest.state == "trusted" and report.status == 1
    assert report.payloads == {77, 78} and "contradict" in report.lines()[-1]


def test_the_lineage_is_a_tree(files, authority, clip, tmp_path):
    clip.save(tmp_path / "theirs.mp4")
    remix = Statement("job_2", "remixed", [files[".mp4"]])
    write.publish(clip, tmp_path / "remix.mp4", authority, remix)
    parents = [tmp_path / "remix.mp4", tmp_path / "theirs.mp4"]
    write.publish(clip, tmp_path / "longer.mp4", authority, Statement("job_3", "extended", parents))
    found = manifest.read(tmp_path / "longer.mp4", authority.anchors)
    assert found.state == "trusted" and found.action == "extended"
    main, other = found.parents
    assert (main.title, main.job, main.relation) == ("remix.mp4", "job_2", "parentOf")
    assert [p.job for p in main.parents] == ["job_1"] and main.parents[0].parents == ()
    assert (other.title, other.job, other.relation) == ("theirs.mp4", "", "componentOf")


def test_consent_is_an_assertion_of_its_own(authority, clip, tmp_path):
    consent = [{"character": "@mika", "grant": "g_12"}, {"character": "@rolo", "grant": "g_13"}]
    write.publish(clip, tmp_path / "a.mp4", authority, Statement("job", consent=consent))
    found = manifest.read(tmp_path / "a.mp4", authority.anchors)
    assert list(found.consent) == consent


def test_payloads_are_drawn_and_metadata_stays(authority, clip, tmp_path):
    made = [
        write.publish(clip, tmp_path / f"{i}.mp4", authority, metadata={"seed": i}) for i in (0, 1)
    ]
    assert made[0].payload != made[1].payload and made[0].marks == ("picture", "sound")
    assert manifest.read(made[1].path).payload == made[1].payload
    assert read_metadata(made[1].path) == {"seed": 1}


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (Statement("j", "remixed"), "has a parent"),
        (Statement("j", "created", ["x.mp4"]), "has no parent"),
        (Statement("j", "painted"), "give one of created"),
        (Statement("j", "edited", ["absent.mp4"]), "cannot read absent.mp4: No such file"),
    ],
)
def test_statements_that_contradict_themselves(authority, clip, tmp_path, statement, message):
    with pytest.raises(UserError, match=message):
        write.publish(clip, tmp_path / "a.mp4", authority, statement)
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(authority, clip, tmp_path):
    for path in ("a.mkv", "a.png"):
        with pytest.raises(UserError, match=r"published as \.mp4"):
            write.publish(clip, tmp_path / path, authority)
    with pytest.raises(UserError, match="no manifest goes"):
        write.publish_image(clip.frames[0], tmp_path / "a.bmp", authority)
    with pytest.raises(UserError, match="no sound"):
        write.publish(Clip(clip.frames), tmp_path / "a.wav", authority)
    (tmp_path / "noise.mp4").write_bytes(b"not a video at all")
    with pytest.raises(UserError, match=r"cannot read .*noise\.mp4"):
        check(tmp_path / "noise.mp4", authority)


def test_a_development_authority_is_named_as_such(authority, tmp_path):
    chain = x509.load_pem_x509_certificates(authority.chain.encode())
    assert authority.development and len(chain) == 2
    assert all("development" in certificate.subject.rfc4514_string() for certificate in chain)
    assert authority.key.decode() not in repr(authority) and authority.mark_key
    folder = tmp_path / "keys"
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        made = list(pool.map(open_authority, [folder] * 4))
    assert len(set(made)) == 1 and open_authority(folder) == made[0]
    assert all(path.stat().st_mode & 0o77 == 0 for path in (folder, *folder.iterdir()))
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_a_folder_that_is_no_authority(authority, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is no authority: .*chain\.pem"):
        open_authority(tmp_path)
    folder = tmp_path / "mixed"
    open_authority(folder)
    (folder / "mark.key").write_bytes(b"short")
    with pytest.raises(UserError, match="5 bytes; give at least 16"):
        open_authority(folder)
    (folder / "mark.key").write_bytes(bytes(16))
    (folder / "signer.key").write_bytes(authority.key)
    with pytest.raises(UserError, match="not the key of the first certificate"):
        open_authority(folder)
    (folder / "signer.key").write_text("no PEM")
    with pytest.raises(UserError, match="cannot be read"):
        open_authority(folder)


def test_without_the_packages_there_is_one_line(monkeypatch, files, tmp_path):
    monkeypatch.setattr(manifest, "c2pa", None)
    with pytest.raises(
        UserError, match=r"c2pa-python, which is missing; pip install -e '.\[studio\]'"
    ):
        manifest.read(files[".mp4"])
    monkeypatch.setattr(authorities, "x509", None)
    with pytest.raises(UserError, match="package cryptography, which is missing"):
        open_authority(tmp_path / "a")
