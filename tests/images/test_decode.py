"""Every bad picture of faults.md B1 to B23 is told apart; conversions give golden pixels."""

import io
import zlib

import numpy as np
import pytest
import tifffile
from bad_files import (
    SIZE,
    encoded,
    exif_block,
    grey_tiff,
    jpeg,
    jpeg_with_segments,
    one_bit_png,
    png,
    png_chunk,
    png_header,
    png_with_metadata_bomb,
    scene,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from besana.errors import CorruptDataError
from besana.images.decode import Limits, decode, probe


def reason_of(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(CorruptDataError) as caught:
        decode(data, limits=limits)
    return caught.value.reason


def broken_in_the_middle() -> bytes:
    whole, rng = jpeg(scene((640, 480)), quality=95), np.random.default_rng(0)
    middle = len(whole) // 2
    return whole[:middle] + rng.bytes(64) + whole[middle + 64 :]


def png_with_wrong_checksum() -> bytes:
    whole = bytearray(png())
    whole[-20] ^= 1
    return bytes(whole)


def gif(frames: int = 1) -> bytes:
    stream = io.BytesIO()
    picture = Image.new("P", (16, 16))
    picture.save(stream, "GIF", save_all=frames > 1, append_images=[picture] * (frames - 1))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "not_an_image", id="B1-empty"),
        pytest.param(b"\xff", "not_an_image", id="B1-one-byte"),
        pytest.param(b"hello, this is text\n" * 40, "not_an_image", id="B1-text"),
        pytest.param(jpeg()[: len(jpeg()) // 2], "truncated", id="B2-half"),
        pytest.param(jpeg()[:100], "truncated", id="B2-header-only"),
        pytest.param(jpeg(progressive=True)[: len(jpeg()) // 2], "truncated", id="B2-progressive"),
        pytest.param(jpeg()[:-2], "missing_eoi", id="B3"),
        pytest.param(broken_in_the_middle(), "damaged", id="B4"),
        pytest.param(png_with_wrong_checksum(), "damaged", id="B7-checksum"),
        pytest.param(png()[: len(png()) // 2], "damaged", id="B7-half"),
        pytest.param(png_header(65500, 65500), "too_large", id="B8"),
        pytest.param(one_bit_png(30000), "too_large", id="B9"),
        pytest.param(png_header(13000, 13000), "too_large", id="B10"),
        pytest.param(png_with_metadata_bomb(b"zTXt", 300 << 20), "metadata_bomb", id="B11-zTXt"),
        pytest.param(png_with_metadata_bomb(b"iCCP", 300 << 20), "metadata_bomb", id="B11-iCCP"),
        pytest.param(gif(), "unsupported_format", id="B12"),
        pytest.param(gif(200), "unsupported_format", id="B12-many"),
        pytest.param(grey_tiff(64, 64, next_offset=8), "damaged", id="B13-cyclic"),
        pytest.param(grey_tiff(2**31, 2**31), "too_large", id="B13-size"),
        pytest.param(grey_tiff(64, 64, samples=65535), "too_large", id="B13-samples"),
        pytest.param(grey_tiff(640, 640), "damaged", id="B13-short-strip"),
        pytest.param(png(scene()[:1, :1]), "degenerate", id="B19-one-pixel"),
        pytest.param(png_header(1, 60000), "degenerate", id="B19-thread"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_format", id="B20-EPS"),
        pytest.param(b"%PDF-1.7\n", "unsupported_format", id="B20-PDF"),
        pytest.param(b"<svg xmlns='...'/>", "unsupported_format", id="B20-SVG"),
        pytest.param(b"PK\x03\x04....", "unsupported_format", id="B20-ZIP"),
        pytest.param(b"\0\0\0\x18ftypheic....", "unsupported_format", id="B20-HEIC"),
        pytest.param(b"BM" + bytes(60), "unsupported_format", id="B21-BMP"),
        pytest.param(b"\0\0\1\0" + bytes(60), "unsupported_format", id="B21-ICO"),
        pytest.param(b"8BPS" + bytes(60), "unsupported_format", id="B21-PSD"),
        pytest.param(encoded(scene(), "WEBP")[:-40], "truncated", id="webp-cut"),
    ],
)
def test_bad_picture_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


def test_gif_message_says_convert() -> None:
    with pytest.raises(CorruptDataError, match="convert"):
        decode(gif())


def test_jpeg_without_end_mark_is_accepted_only_when_allowed() -> None:
    picture = decode(jpeg()[:-2], limits=Limits(allow_missing_eoi=True))
    assert picture.flags == ("missing_eoi",)
    np.testing.assert_array_equal(picture.pixels, decode(jpeg()).pixels)


def test_flipped_bit_decodes_because_only_a_checksum_can_tell() -> None:  # B5
    whole = bytearray(jpeg(scene((320, 240)), quality=95))
    whole[len(whole) // 2] ^= 1
    assert decode(bytes(whole)).pixels.shape == (240, 320, 3)


@pytest.mark.parametrize("tail", [bytes(1_000_000), b"<html>hello</html>"])
def test_bytes_after_the_end_change_nothing(tail: bytes) -> None:  # B6
    np.testing.assert_array_equal(decode(jpeg() + tail).pixels, decode(jpeg()).pixels)


def test_file_above_the_byte_limit_is_refused() -> None:
    assert reason_of(jpeg() + bytes(5000), Limits(file_bytes=5000)) == "too_large"


def test_size_limits_can_be_raised() -> None:
    assert probe(png_header(13000, 13000), Limits(pixels=200_000_000)).width_px == 13000


def test_large_jpeg_header_is_read_up_to_its_cap() -> None:  # B22
    data = jpeg_with_segments(*[(0xE5, bytes(65533))] * 200)
    assert decode(data).pixels.shape == (64, 96, 3)
    assert reason_of(data, Limits(header_bytes=1 << 20)) == "metadata_bomb"


def test_first_page_of_many_is_taken_and_counted() -> None:  # B14
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for shade in (10, 20, 30):
            writer.write(np.full((64, 96), shade, np.uint8), photometric="minisblack")
    picture = decode(stream.getvalue())
    assert (picture.frames, picture.flags) == (3, ("multiple_frames",))
    assert (picture.pixels == 10).all()


def test_mpo_counts_its_pictures() -> None:  # B14
    stream = io.BytesIO()
    first, second = Image.fromarray(scene()), Image.fromarray(scene(seed=4))
    first.save(stream, "MPO", save_all=True, append_images=[second])
    assert decode(stream.getvalue()).frames == 2


def test_deep_samples_keep_their_values() -> None:  # B15
    deep = np.arange(96 * 64, dtype=np.uint16).reshape(64, 96) * 10
    actual = decode(encoded(deep, "PNG")).pixels
    assert actual.dtype == np.uint16
    np.testing.assert_array_equal(actual[..., 0], deep)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_keeps_bands_and_type(dtype: type, channels: int, planar: str) -> None:
    rng = np.random.default_rng(1)
    pixels = (rng.random((40, 50, channels)) * 200).astype(dtype)
    stream = io.BytesIO()
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    options = {"photometric": "minisblack", "compression": "zlib"}
    if channels == 1:
        stored = pixels[..., 0]
    else:
        options["planarconfig"] = planar
    tifffile.imwrite(stream, stored, **options)
    actual = decode(stream.getvalue()).pixels
    assert actual.dtype == dtype
    np.testing.assert_array_equal(actual, pixels)


def test_cmyk_jpeg_becomes_rgb() -> None:  # B16
    cmyk = Image.fromarray(scene()).convert("CMYK")
    stream = io.BytesIO()
    cmyk.save(stream, "JPEG", quality=95)
    expected = np.asarray(
        Image.open(io.BytesIO(stream.getvalue()), formats=["JPEG"]).convert("RGB")
    )
    actual = decode(stream.getvalue()).pixels
    assert np.abs(actual.astype(int) - expected.astype(int)).max() <= 2


def golden(mode: str) -> tuple[bytes, np.ndarray]:
    """Bytes of a 16 x 8 PNG of one colour and the colour it must become."""
    colours: dict[str, tuple[object, list[int]]] = {
        "1": (1, [255]),
        "L": (77, [77]),
        "LA": ((200, 51), [40]),
        "RGB": ((10, 20, 30), [10, 20, 30]),
        "RGBA": ((200, 100, 50, 51), [40, 20, 10]),
    }
    colour, expected = colours[mode]
    stream = io.BytesIO()
    Image.new(mode, (16, 8), colour).save(stream, "PNG")
    return stream.getvalue(), np.array(expected, np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA"])
def test_png_modes_become_golden_pixels(mode: str) -> None:  # B16
    data, expected = golden(mode)
    actual = decode(data).pixels
    assert actual.shape == (8, 16, len(expected))
    assert (actual == expected).all()


def test_palette_with_transparency_becomes_rgb_on_black() -> None:  # B16
    picture = Image.new("P", (16, 8), 1)
    picture.putpalette([0, 0, 0, 200, 100, 50])
    stream = io.BytesIO()
    picture.save(stream, "PNG", transparency=bytes([255, 51]))
    assert (decode(stream.getvalue()).pixels == np.array([40, 20, 10])).all()


def test_palette_tiff_and_white_is_zero_tiff_become_golden_pixels() -> None:  # B16
    picture = Image.new("P", (16, 8), 1)
    picture.putpalette([0, 0, 0, 200, 100, 50])
    stream = io.BytesIO()
    picture.save(stream, "TIFF")
    assert (decode(stream.getvalue()).pixels == np.array([200, 100, 50])).all()
    inverted = io.BytesIO()
    tifffile.imwrite(inverted, np.full((8, 16), 55, np.uint8), photometric="miniswhite")
    assert (decode(inverted.getvalue()).pixels == 200).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(form: str, orientation: int) -> None:  # B17
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = Image.fromarray(scene())
    stream = io.BytesIO()
    options = {"lossless": True} if form == "WEBP" else {}
    plain.save(stream, form, exif=exif, **options)
    upright = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}[orientation]
    stored = io.BytesIO()
    plain.save(stored, form, **options)
    expected = Image.open(io.BytesIO(stored.getvalue()), formats=[form])
    if upright is not None:
        expected = expected.transpose(Image.Transpose(upright))
    actual = decode(stream.getvalue())
    assert actual.orientation == orientation
    difference = actual.pixels.astype(int) - np.asarray(expected.convert("RGB")).astype(int)
    assert np.abs(difference).max() <= (3 if form == "JPEG" else 0)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(exif_block(99), id="B17-orientation-99"),
        pytest.param(b"garbage that is no TIFF structure", id="B18-garbage"),
        pytest.param(b"II*\0\xff\xff\xff\x7f", id="B18-outside"),
        pytest.param(exif_block(1, b"0000:00:00 00:00:00"), id="B18-zero-date"),
        pytest.param(exif_block(1, gps_denominator=0), id="B18-gps"),
    ],
)
def test_garbage_exif_is_dropped_and_the_picture_kept(block: bytes) -> None:
    picture = decode(jpeg_with_segments((0xE1, b"Exif\0\0" + block)))
    assert picture.flags == ("exif_invalid",)
    np.testing.assert_array_equal(picture.pixels, decode(jpeg()).pixels)


def test_good_exif_gives_time_and_no_flag() -> None:
    block = exif_block(1, b"2021:03:05 15:29:54", gps_denominator=1)
    header = probe(jpeg_with_segments((0xE1, b"Exif\0\0" + block)))
    assert header.exif.captured_at == "2021-03-05T15:29:54"
    assert header.flags == ()


def test_header_agrees_with_the_pixels() -> None:
    for data, form in [(jpeg(), "jpeg"), (png(), "png"), (encoded(scene(), "WEBP"), "webp")]:
        header = probe(data)
        assert (header.format, header.width_px, header.height_px) == (form, *SIZE)


def test_png_that_promises_more_rows_than_it_holds_is_damaged() -> None:
    rows = zlib.compress(b"\0" + bytes(96 * 3))
    data = png_header(96, 64) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    assert reason_of(data) == "damaged"


WHOLE = {
    "jpeg": jpeg(),
    "png": png(),
    "webp": encoded(scene(), "WEBP"),
    "tiff": encoded(scene(), "TIFF"),
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(form=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_mutated_bytes_decode_or_are_refused(form: str, data: st.DataObject) -> None:
    mutated = bytearray(WHOLE[form])
    places = st.integers(0, len(mutated) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        mutated[place] = value
    end = data.draw(st.integers(0, len(mutated)))
    try:
        shape = decode(bytes(mutated[:end])).pixels.shape
    except CorruptDataError as error:
        shape = (len(error.reason), 1, 1)
    assert min(shape) > 0
