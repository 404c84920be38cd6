"""Still images of every mode become frames of the right values."""

import io

import numpy as np
import pytest
from films import BLUE, RED, corners, flat, quarters
from PIL import Image, ImageCms

from sora_jax import media
from sora_jax.errors import UserError

RAMP = np.tile(np.linspace(0, 1, 64), (64, 1))


def read(tmp_path, image, name, **options):
    image.save(tmp_path / name, **options)
    return media.read_image(tmp_path / name, 64)


@pytest.mark.parametrize(
    "name, values",
    [
        ("ramp.png", (RAMP * 65535).astype(np.uint16)),
        ("ramp.tif", (RAMP * 65535).astype(np.uint16)),
        ("float.tif", RAMP.astype(np.float32)),
        ("grey.png", (RAMP * 255).astype(np.uint8)),
    ],
)
def test_deep_greyscale(tmp_path, name, values):
    picture, notes = read(tmp_path, Image.fromarray(values), name)
    assert picture.shape == (64, 64, 3) and picture.dtype == np.float32 and notes == ()
    assert np.abs(picture - RAMP[..., None]).max() < 0.005


def test_sixteen_bits_as_older_versions_of_pillow_open_them(tmp_path):
    """Big-endian, and a dark image: its white is not that of the file."""
    values = (RAMP * 20000).astype(">u2")
    image = Image.frombytes("I;16B", (64, 64), values.tobytes())
    picture, notes = read(tmp_path, image, "big.tif")
    assert np.abs(picture[..., 0] - RAMP * 20000 / 65535).max() < 0.005 and notes == ()


@pytest.mark.parametrize("kind, low, high", [(np.float32, -3, 250.5), (np.int32, 0, 70000)])
def test_other_ranges_are_scaled_and_noted(tmp_path, kind, low, high):
    values = (low + RAMP * (high - low)).astype(kind)
    picture, notes = read(tmp_path, Image.fromarray(values), "depth.tif")
    assert np.abs(picture[..., 0] - RAMP).max() < 0.005
    assert notes == (f"values from {low:.5g} to {high:.5g} scaled to 0 to 1",)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, bad):
    values = RAMP.astype(np.float32)
    values[3, 4] = bad
    with pytest.raises(UserError, match=r"bad\.tif: it holds NaN or infinity"):
        read(tmp_path, Image.fromarray(values), "bad.tif")


def test_modes_of_colour(tmp_path):
    picture = Image.fromarray(quarters(64, 64))
    for name, image in (
        ("palette.png", picture.quantize(16)),
        ("palette.gif", picture.quantize(16)),
        ("cmyk.jpg", picture.convert("CMYK")),
        ("cmyk.tif", picture.convert("CMYK")),
        ("ycc.tif", picture.convert("YCbCr")),
        ("rgba.png", picture.convert("RGBA")),
        ("rgb.bmp", picture),
        ("rgb.webp", picture),
    ):
        found, notes = read(tmp_path, image, name)
        assert corners(np.round(found * 255)) == ["red", "green", "blue", "yellow"], name
        assert notes == (), (name, notes)


def test_one_bit(tmp_path):
    image = Image.fromarray(RAMP > 0.5)
    for name in ("bit.png", "bit.tif", "bit.gif"):
        picture, _ = read(tmp_path, image, name)
        np.testing.assert_array_equal(picture[..., 1], RAMP > 0.5)


def test_lab(tmp_path):
    lab = np.dstack(
        [np.full((64, 64), 136), np.full((64, 64), 208 - 128), np.full((64, 64), 195 - 128)]
    )
    image = Image.frombytes("LAB", (64, 64), lab.astype(np.uint8).tobytes())
    picture, _ = read(tmp_path, image, "red.tif")
    assert np.abs(picture[5, 5] * 255 - (255, 0, 0)).max() < 12, picture[5, 5] * 255


@pytest.mark.parametrize(
    "name, mode", [("a.png", "RGBA"), ("a.webp", "RGBA"), ("a.png", "LA"), ("a.png", "P")]
)
def test_transparent_parts_are_white(tmp_path, name, mode):
    if mode == "P":
        indices = np.repeat(np.array((3, 1), np.uint8), 2048).tobytes()
        image = Image.frombytes("P", (64, 64), indices)
        image.putpalette([0, 0, 0, *RED, *BLUE, 9, 9, 9])
        picture, notes = read(tmp_path, image, name, transparency=3)
    else:
        image = Image.fromarray(flat(RED, 64, 64)).convert(mode)
        opacity = np.full((64, 64), 255, np.uint8)
        opacity[:32] = 0
        image.putalpha(Image.fromarray(opacity))
        picture, notes = read(tmp_path, image, name)
    assert (picture[:30] == 1).all() and picture[40, 5, 1] < 0.5
    assert "transparent parts composited on white" in notes


@pytest.mark.parametrize("name", ["loop.gif", "loop.png", "loop.webp", "pages.tif"])
def test_animations_are_noted(tmp_path, name):
    images = [Image.fromarray(flat(c, 64, 64)) for c in (RED, BLUE, RED)]
    options = {"save_all": True, "append_images": images[1:]}
    picture, notes = read(tmp_path, images[0], name, **options)
    assert np.abs(picture[5, 5] * 255 - RED).max() < 12
    assert "the first of its 3 images is read" in notes


def test_orientation_of_photographs(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right
    image = Image.fromarray(quarters(64, 64))
    picture, _ = read(tmp_path, image, "photo.jpg", exif=exif, quality=95)
    assert corners(np.round(picture * 255)) == ["blue", "red", "yellow", "green"]


def test_colour_profiles_are_applied(tmp_path):
    """A profile whose red is blue, and the other way round; a damaged one is noted."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"xXYZ").replace(b"bXYZ", b"rXYZ").replace(b"xXYZ", b"bXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    image = Image.fromarray(quarters(64, 64))
    assert read(tmp_path, image, "s.png", icc_profile=srgb)[1] == ()
    picture, notes = read(tmp_path, image, "x.png", icc_profile=swapped)
    assert corners(np.round(picture * 255))[::2] == ["blue", "red"]
    assert any("to sRGB" in note for note in notes)
    picture, notes = read(tmp_path, image, "d.png", icc_profile=b"damaged" * 40)
    assert corners(np.round(picture * 255)) == ["red", "green", "blue", "yellow"]
    assert notes == ("its colour profile is damaged and not applied",)


def test_damaged_stills_end_in_one_line(tmp_path):
    for name in ("a.png", "a.jpg", "a.tif", "a.gif", "a.webp"):
        buffer = io.BytesIO()
        Image.fromarray(quarters(64, 64)).save(
            buffer, {"jpg": "jpeg", "tif": "tiff"}.get(name[2:], name[2:])
        )
        data = buffer.getvalue()
        (tmp_path / name).write_bytes(data[: len(data) // 3])
        with pytest.raises(UserError, match="not a readable image"):
            media.read_image(tmp_path / name, 64)
