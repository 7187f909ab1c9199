"""Bands become one array and go into shards without losing what was measured."""

import io

import numpy as np
import pytest
import tifffile
from bad_files import encoded, jpeg, png, scene
from hypothesis import given
from hypothesis import strategies as st

from besana.errors import CorruptDataError
from besana.images.bands import decode_frame, encode_bands, to_depth
from besana.images.decode import decode
from besana.images.encode import encode_jpeg, encode_png, jpeg_without_metadata


def tiff(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, photometric="minisblack", planarconfig="contig")
    return stream.getvalue()


def stacked(encoded_sample, channels: int) -> np.ndarray:
    """Decode a sample as the loader does: main part first, further bands in their order."""
    parts = [encoded_sample.main, *encoded_sample.bands.values()]
    pixels = np.concatenate([decode(part).pixels for part in parts], axis=2)
    assert pixels.shape[2] == channels
    return pixels


def test_grey_main_band_repeats_its_channel() -> None:
    frame = decode_frame({"rgb": encoded(scene()[..., 0], "PNG")})
    assert frame.channels == {"rgb": 3}
    assert (frame.pixels == scene()[..., :1]).all()


def test_bands_are_stacked_in_their_order() -> None:
    frame = decode_frame({"rgb": png(), "nir": encoded(scene(seed=8)[..., 0], "PNG")})
    assert frame.channels == {"rgb": 3, "nir": 1}
    np.testing.assert_array_equal(frame.pixels[..., :3], scene())
    np.testing.assert_array_equal(frame.pixels[..., 3], scene(seed=8)[..., 0])


def test_bands_of_different_sizes_are_refused() -> None:
    with pytest.raises(CorruptDataError) as caught:
        decode_frame({"rgb": png(), "nir": png(scene((48, 32)))})
    assert caught.value.reason == "band_sizes_differ"


def test_deep_samples_need_a_scale() -> None:  # B15
    with pytest.raises(CorruptDataError, match="scale") as caught:
        decode_frame({"thermal": tiff(np.zeros((32, 32), np.float32))})
    assert caught.value.reason == "needs_scale"


def test_scale_makes_documented_values() -> None:  # B15
    kelvin = np.array([[[250.0], [260.0], [298.0], [310.0], [400.0], [np.nan]]], np.float32)
    assert to_depth(kelvin, (260, 310), 8).ravel().tolist() == [0, 0, 194, 255, 255, 0]
    assert to_depth(kelvin, (260, 310), 16).ravel().tolist() == [0, 0, 49807, 65535, 65535, 0]


def test_full_scale_keeps_16_bits_as_they_are() -> None:
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4, 1) * 5000
    np.testing.assert_array_equal(to_depth(deep, (0, 65535), 16), deep)


def test_8_bits_become_16_without_loss() -> None:
    shallow = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    np.testing.assert_array_equal(to_depth(shallow, (), 16) // 257, shallow)


@given(
    channels=st.lists(st.integers(1, 16), min_size=1, max_size=4).filter(lambda c: sum(c) <= 16),
    deep=st.booleans(),
)
def test_every_channel_comes_back_in_order(channels: list[int], deep: bool) -> None:
    rng = np.random.default_rng(sum(channels))
    dtype = np.uint16 if deep else np.uint8
    pixels = rng.integers(0, np.iinfo(dtype).max, (12, 9, sum(channels)), dtype=dtype)
    names = {f"b{number}": count for number, count in enumerate(channels)}
    sample = encode_bands(pixels, names)
    actual = stacked(sample, sum(channels))
    lossy = actual.shape[2] - len(sample.bands) if sample.format == "jpeg" else 0
    np.testing.assert_array_equal(actual[..., lossy:], pixels[..., lossy:])
    assert actual.dtype == dtype


def test_rgb_and_nir_become_jpeg_and_png() -> None:
    pixels = np.concatenate([scene(), scene(seed=8)[..., :1]], axis=2)
    sample = encode_bands(pixels, {"rgb": 3, "nir": 1})
    assert (sample.format, list(sample.bands)) == ("jpeg", ["nir"])
    np.testing.assert_array_equal(decode(sample.bands["nir"]).pixels, pixels[..., 3:])


def test_two_band_file_becomes_two_lossless_planes() -> None:
    pixels = scene()[..., :2]
    sample = encode_bands(pixels, {"rgb": 2})
    assert (sample.format, list(sample.bands)) == ("png", ["rgb.1"])
    np.testing.assert_array_equal(stacked(sample, 2), pixels)


def test_jpeg_is_baseline_with_halved_colours_and_close_to_the_pixels() -> None:
    data = encode_jpeg(scene((128, 96)), 90)
    header = data[: data.index(b"\xff\xda")]
    assert b"\xff\xc0\x00\x11\x08\x00\x60\x00\x80\x03\x01\x22" in header
    difference = decode(data).pixels.astype(int) - scene((128, 96))
    assert np.abs(difference).mean() < 4


def test_encoding_is_the_same_every_time() -> None:
    assert encode_jpeg(scene()) == encode_jpeg(scene())
    assert encode_png(scene()) == encode_png(scene())


def test_metadata_is_stripped_and_pixels_stay() -> None:
    data = jpeg(exif=b"Exif\0\0" + b"II*\0\x08\0\0\0\0\0", comment=b"field 7, Maria")
    bare = jpeg_without_metadata(data)
    assert bare is not None
    assert b"Maria" not in bare
    assert b"Exif" not in bare
    np.testing.assert_array_equal(decode(bare).pixels, decode(data).pixels)


@pytest.mark.parametrize("data", [jpeg() + b"<html>", jpeg()[:-2], b"\xff\xd8\xff", b""])
def test_jpeg_that_is_not_plain_is_not_kept(data: bytes) -> None:
    assert jpeg_without_metadata(data) is None
