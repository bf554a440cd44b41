"""Pictures as a viewer shows them: modes, bit depths, transparency, orientation, sizes."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from var_scaling.config.data import DataConfig, folder_notes, resolve_data
from var_scaling.config.image_manifest import Manifests
from var_scaling.data.images import load_images
from var_scaling.errors import EnvironmentProblem

SIDE = 32
RAMP = np.tile(np.linspace(10, 240, SIDE), (SIDE, 1))  # grey values of 8 bits, as a viewer is to show them


def folder_of(root, save, suffix=".png", train=3, val=2):
    """An image folder of two classes of which every picture is made by `save(path, number)`."""
    for split, count in (("train", train), ("val", val)):
        for name in ("ape", "bee"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                save(root / split / name / f"{i}{suffix}", i)
    return root


def opened(folder, **fields):
    config = DataConfig(**{"name": "imagefolder", "resolution": SIDE} | fields)
    return load_images(resolve_data(config, image_folder=str(folder)), image_folder=str(folder))


def saves(array, **how):
    return lambda path, i: Image.fromarray(array).save(path, **how)


@pytest.mark.parametrize(
    ("suffix", "array"),
    [
        (".png", (RAMP * 257).astype(np.uint16)),
        (".tif", (RAMP * 257).astype(np.uint16)),
        (".pgm", (RAMP * 257).astype(np.uint16)),
        (".png", np.r_[RAMP[:-1] * 4095 / 255, np.full((1, SIDE), 4000.0)].astype(np.uint16)),  # as scanners write
        (".tif", (RAMP * 257).astype(np.int32)),
        (".tif", (RAMP / 255).astype(np.float32)),
    ],
    ids=["16-bit png", "16-bit tif", "16-bit pgm", "12 of 16 bits", "int32", "float"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_bit_depth_shows_the_picture_that_8_bits_show(tmp_path, suffix, array, channels):
    pixels = opened(folder_of(tmp_path, saves(array), suffix), channels=channels).train
    assert pixels.shape == (6, SIDE, SIDE, channels)
    np.testing.assert_allclose(pixels[0, :-1, :, -1], RAMP[:-1], atol=1)


def test_one_range_holds_for_the_whole_set(tmp_path):
    """A dark picture stays dark beside a bright one, and both splits count."""
    folder = folder_of(tmp_path, lambda path, i: saves((RAMP * (i + 1)).astype(np.uint16))(path, i))
    Image.fromarray((RAMP * 257).astype(np.uint16)).save(folder / "val" / "ape" / "bright.png")
    images = opened(folder)
    assert images.config.value_range == (0, 65535)
    assert images.train.max() < 4 and images.validation.max() == 240


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (RAMP.astype(np.float32), "10 pictures of floats with values from 10 to 240.*data.value_range, e.g. .10, 240."),
        ((RAMP - 100).astype(np.int32), "pictures of integers with values from -90 to 140"),
        (np.zeros_like(RAMP, np.float32), "floats with values from 0 to 0.*e.g. .0, 1."),
    ],
)
def test_a_range_that_nobody_knows_is_asked_for(tmp_path, array, says):
    folder = folder_of(tmp_path, saves(array), ".tif")
    with pytest.raises(ValueError, match=says):
        opened(folder)
    low, high = float(array.min()), float(array.max()) + 1
    pixels = opened(folder, value_range=(low, high)).train
    np.testing.assert_allclose(pixels[0, :, :, 0], 255 * (array - low) / (high - low), atol=1)
    assert f"{low:g} is black and {high:g} white" in str(
        folder_notes(opened(folder, value_range=(low, high)).config, Manifests().of(folder))
    )


def test_a_picture_of_what_is_no_number_is_named(tmp_path):
    array = RAMP.astype(np.float32) / 255
    array[3, 3] = np.nan
    with pytest.raises(EnvironmentProblem, match=r"6 of 6 images of train/.*0.tif: .*values that are not numbers"):
        opened(folder_of(tmp_path, saves(array), ".tif"))


def colour_png_16(path, values):
    """An RGB PNG of 16 bits a channel, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def test_colour_of_16_bits_is_shown_or_refused_where_it_would_be_black(tmp_path):
    whole = folder_of(tmp_path / "a", lambda path, i: colour_png_16(path, RAMP * 257))
    np.testing.assert_allclose(opened(whole).train[0, :, :, 1], RAMP, atol=1)
    dark = folder_of(tmp_path / "b", lambda path, i: colour_png_16(path, RAMP * 16))
    with pytest.raises(ValueError, match="10 pictures of .* colour in 16 bits a channel, of which only 12 are used"):
        opened(dark)


def half_hidden(mode):
    """A picture whose left half is transparent over a hidden pattern, in one of the modes that know transparency."""
    grey = RAMP.astype(np.uint8)
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:, : SIDE // 2] = 0
    image = Image.fromarray(np.dstack([grey, grey, grey, alpha]))
    if mode == "P":
        index = grey.copy()
        index[:, : SIDE // 2] = 7
        image = Image.fromarray(index)
        image = image.convert("P")
        image.putpalette([v for i in range(256) for v in (i, i, i)])
        image.info["transparency"] = 7
        return image
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_white_and_never_what_it_hides(tmp_path, mode):
    pixels = opened(folder_of(tmp_path, lambda path, i: half_hidden(mode).save(path))).train[0, :, :, 0]
    assert (pixels[:, : SIDE // 2] == 255).all()
    np.testing.assert_allclose(pixels[:, SIDE // 2 :], RAMP[:, SIDE // 2 :], atol=1)


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr", "RGB", "L"])
def test_other_modes_of_8_bits_are_the_same_picture(tmp_path, mode):
    suffix = ".tif" if mode in ("CMYK", "YCbCr") else ".png"
    array = (RAMP > 128) * 255.0 if mode == "1" else RAMP
    image = Image.fromarray(array.astype(np.uint8))
    image = image.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr", "RGB") else image.convert(mode)
    pixels = opened(folder_of(tmp_path, lambda path, i: image.save(path), suffix)).train[0, :, :, 0]
    np.testing.assert_allclose(pixels, array, atol=2)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_stands_upright(tmp_path, orientation, suffix):
    rng = np.random.default_rng(0)
    upright = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), np.uint8)).convert("RGB")
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that turns it as a camera would store it
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = opened(folder_of(tmp_path, lambda path, i: stored.save(path, exif=exif), suffix)).train[0]
    np.testing.assert_array_equal(pixels, np.asarray(upright))


def test_a_damaged_note_of_the_camera_does_not_cost_the_picture(tmp_path):
    def save(path, i):
        Image.fromarray(RAMP.astype(np.uint8)).save(path, quality=97, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f rubbish")

    np.testing.assert_allclose(opened(folder_of(tmp_path, save, ".jpg")).train[0, :, :, 0], RAMP, atol=3)


def test_a_file_that_has_the_resolution_is_taken_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    images = opened(folder_of(tmp_path / "a", saves(array)))
    np.testing.assert_array_equal(images.train[0], array)
    wide = rng.integers(0, 256, (SIDE + 2, SIDE + 20, 3), np.uint8)  # between 1 and 1.125 x: cropped, not scaled
    images = opened(folder_of(tmp_path / "b", saves(wide)))
    np.testing.assert_array_equal(images.train[0], wide[1:-1, 10:-10])
    large = rng.integers(0, 256, (2 * SIDE, 2 * SIDE, 3), np.uint8)
    images = opened(folder_of(tmp_path / "c", saves(large)), zoom=1.0)
    np.testing.assert_array_equal(
        images.train[0], np.asarray(Image.fromarray(large).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    )


def test_a_long_strip_is_what_the_whole_picture_scaled_would_show(tmp_path):
    rng = np.random.default_rng(0)
    array = rng.integers(90, 160, (1500, 20, 3), np.uint8)  # within what Lanczos overshoots by
    images = opened(folder_of(tmp_path, saves(array)), resolution=64)
    whole = Image.fromarray(array).resize((64, 64 * 1500 // 20), Image.Resampling.LANCZOS)
    seen = images.batch([0, 0, 0], np.array([0, 1, 2]))
    assert not np.array_equal(seen[1], seen[2])
    centre = (whole.height - 64) // 2
    np.testing.assert_allclose(images.train[0], np.asarray(whole)[centre : centre + 64], atol=1)


def test_a_strip_of_99_bytes_does_not_take_a_gigabyte(tmp_path):
    folder_of(tmp_path, saves(RAMP.astype(np.uint8)))
    Image.new("RGB", (1, 3000), (9, 90, 200)).save(tmp_path / "train" / "ape" / "strip.png")
    script = f"""
import resource
from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.data.images import load_images
config = resolve_data(DataConfig(name="imagefolder", resolution=256), image_folder={str(tmp_path)!r})
images = load_images(config, image_folder={str(tmp_path)!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
row = next(i for i, n in enumerate(images.files["train"]) if n.endswith("strip.png"))
images.batch([row] * 3, [0, 1, 2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 100_000, "kB above what opening the folder takes"
