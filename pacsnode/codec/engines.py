"""One frame through a codec library. Runs in the worker process only: what is decoded here came from anywhere.

Native frames are as their description says; what a library makes of them otherwise is put right here. Whatever a
library raises is left to the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from pacsnode.codec import codestream
from pacsnode.codec.codecs import FAMILIES, Codec, Family
from pacsnode.codec.codestream import StreamHead
from pacsnode.dicom.pixels import PixelDescription
from pacsnode.errors import CodecRefused
from pacsnode.model import Uid

# Any: the libraries' arrays and options have no useful types.
_Array = npt.NDArray[Any]


def encode(codec: Codec, pixels: PixelDescription, frame: memoryview) -> bytes:
    """One native frame as a codestream. Raises CodecRefused."""
    return _ENCODERS[codec](pixels, frame)


def decode(transfer_syntax_uid: Uid, pixels: PixelDescription, stream: memoryview) -> memoryview:
    """One codestream as a native frame. Raises CodecRefused."""
    native = _DECODERS[FAMILIES[transfer_syntax_uid]](pixels, stream)
    if len(native) != pixels.frame_bytes:
        raise CodecRefused(f"a frame of {len(native)} bytes instead of {pixels.frame_bytes}")
    return native


def _encode_htj2k(pixels: PixelDescription, frame: memoryview) -> bytes:
    from imagecodecs._htj2k import htj2k_encode

    # Without colour transformation, so that the Photometric Interpretation stays what it is.
    return bytes(htj2k_encode(_array(pixels, frame), reversible=True, rgb=False, planar=False))


def _encode_jpeg_ls(pixels: PixelDescription, frame: memoryview) -> bytes:
    import jpeg_ls

    words = _within_bits_stored(pixels, frame)
    if pixels.is_signed:  # JPEG-LS knows no sign: two's complement in as many bits as are stored
        words = words.view(f"<u{words.dtype.itemsize}") & ((1 << pixels.bits_stored) - 1)
    return bytes(jpeg_ls.encode_pixel_data(_narrowed(pixels, words), **_options(pixels)))


def _encode_jpeg_2000(pixels: PixelDescription, frame: memoryview) -> bytes:
    from openjpeg.utils import encode_pixel_data

    words = _within_bits_stored(pixels, frame)
    return bytes(encode_pixel_data(_narrowed(pixels, words), use_mct=False, **_options(pixels)))


def _encode_rle(pixels: PixelDescription, frame: memoryview) -> bytes:
    from rle.utils import encode_pixel_data

    by_pixel = _array(pixels, frame, planes_first=True).transpose(1, 2, 0) if pixels.is_planar else frame
    return bytes(encode_pixel_data(by_pixel.tobytes(), byteorder="<", **_options(pixels)))


def _decode_htj2k(pixels: PixelDescription, stream: memoryview) -> memoryview:
    from imagecodecs._htj2k import htj2k_decode

    head = _checked(codestream.of_jpeg_2000(stream), pixels)
    return _native(pixels, head, htj2k_decode(stream, planar=False))


def _decode_jpeg_2000(pixels: PixelDescription, stream: memoryview) -> memoryview:
    from openjpeg.utils import decode_pixel_data

    head = _checked(codestream.of_jpeg_2000(stream), pixels)
    return _native(pixels, head, _words(head, bytes(decode_pixel_data(bytes(stream), version=2))))


def _decode_jpeg_ls(pixels: PixelDescription, stream: memoryview) -> memoryview:
    import jpeg_ls

    head = _checked(codestream.of_jpeg(stream), pixels)
    decoded, told = jpeg_ls.decode_pixel_data(bytes(stream))
    words = _words(head, decoded)
    if head.samples > 1 and told["interleave_mode"] == 0:
        words = _interleaved(head, words)
    return _native(pixels, head, words)


def _decode_rle(pixels: PixelDescription, stream: memoryview) -> memoryview:
    from rle.utils import decode_pixel_data

    decoded = decode_pixel_data(bytes(stream), version=2, byteorder="<", **_options(pixels))
    head = StreamHead(pixels.rows, pixels.columns, pixels.samples, pixels.bits_allocated)
    words = np.frombuffer(decoded, f"<u{pixels.bits_allocated // 8}")
    return _native(pixels, head, _interleaved(head, words) if pixels.samples > 1 else words)


def _decode_jpeg_lossless(pixels: PixelDescription, stream: memoryview) -> memoryview:
    from libjpeg.utils import decode_pixel_data

    head = _checked(codestream.of_jpeg(stream), pixels)
    return _native(pixels, head, _words(head, bytes(decode_pixel_data(bytes(stream), version=2))))


def _decode_jpeg(pixels: PixelDescription, stream: memoryview) -> memoryview:
    head = codestream.of_jpeg(stream)
    if pixels.samples == 3:
        is_rgb = head.component_ids == b"RGB" or head.adobe_transform == 0
        if is_rgb != (pixels.photometric == "RGB"):
            raise CodecRefused("JPEG whose colours are not those of the Photometric Interpretation")
    return _decode_jpeg_lossless(pixels, stream)


_ENCODERS: Mapping[Codec, Callable[[PixelDescription, memoryview], bytes]] = MappingProxyType(
    {
        Codec.HTJ2K: _encode_htj2k,
        Codec.JPEG_LS: _encode_jpeg_ls,
        Codec.JPEG_2000: _encode_jpeg_2000,
        Codec.RLE: _encode_rle,
    }
)
_DECODERS: Mapping[Family, Callable[[PixelDescription, memoryview], memoryview]] = MappingProxyType(
    {
        Family.HTJ2K: _decode_htj2k,
        Family.JPEG_2000: _decode_jpeg_2000,
        Family.JPEG_LS: _decode_jpeg_ls,
        Family.RLE: _decode_rle,
        Family.JPEG_LOSSLESS: _decode_jpeg_lossless,
        Family.JPEG: _decode_jpeg,
    }
)


def _options(pixels: PixelDescription) -> dict[str, Any]:
    """As pydicom names them for these libraries."""
    return {
        "rows": pixels.rows,
        "columns": pixels.columns,
        "samples_per_pixel": pixels.samples,
        "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored,
        "pixel_representation": int(pixels.is_signed),
        "photometric_interpretation": pixels.photometric,
        "planar_configuration": 0,
    }


def _array(pixels: PixelDescription, frame: memoryview, *, planes_first: bool = False) -> _Array:
    words = np.frombuffer(frame, f"<{'i' if pixels.is_signed else 'u'}{pixels.bits_allocated // 8}")
    if pixels.samples == 1:
        return words.reshape(pixels.rows, pixels.columns)
    if planes_first:
        return words.reshape(pixels.samples, pixels.rows, pixels.columns)
    return words.reshape(pixels.rows, pixels.columns, pixels.samples)


def _within_bits_stored(pixels: PixelDescription, frame: memoryview) -> _Array:
    """The words of a frame, which this codec would cut to Bits Stored. Raises CodecRefused where that loses bits."""
    words = _array(pixels, frame)
    if pixels.bits_stored < pixels.bits_allocated:
        values = 1 << pixels.bits_stored
        low = -(values // 2) if pixels.is_signed else 0
        if int(words.min()) < low or int(words.max()) >= low + values:
            raise CodecRefused("values beyond Bits Stored")
    return words


def _narrowed(pixels: PixelDescription, words: _Array) -> bytes:
    """As many bytes to a sample as Bits Stored need."""
    return words.astype("<u1" if pixels.bits_stored <= 8 else "<u2", copy=False).tobytes()


def _checked(head: StreamHead, pixels: PixelDescription) -> StreamHead:
    told = (head.rows, head.columns, head.samples)
    if told != (pixels.rows, pixels.columns, pixels.samples):
        raise CodecRefused("a codestream of other rows, columns or samples than the data set tells")
    if head.precision > pixels.bits_allocated:
        raise CodecRefused(f"a codestream of {head.precision} bits where {pixels.bits_allocated} are allocated")
    if head.is_signed and not pixels.is_signed:
        raise CodecRefused("a codestream of signed samples for unsigned pixels")
    return head


def _words(head: StreamHead, decoded: bytes) -> _Array:
    """Samples as the libraries return them: in the fewest bytes of 1, 2 and 4 that hold the precision."""
    width = 1 if head.precision <= 8 else 2 if head.precision <= 16 else 4
    count = head.rows * head.columns * head.samples
    if len(decoded) != count * width:
        raise CodecRefused(f"a frame of {len(decoded)} bytes instead of {count * width}")
    return np.frombuffer(decoded, f"<u{width}")


def _interleaved(head: StreamHead, words: _Array) -> _Array:
    """Colour by pixel, of colour by plane."""
    return words.reshape(head.samples, head.rows, head.columns).transpose(1, 2, 0)


def _native(pixels: PixelDescription, head: StreamHead, words: _Array) -> memoryview:
    """Samples, colour by pixel, as the description wants them."""
    width = words.dtype.itemsize
    if pixels.is_signed:
        unused = 8 * width - head.precision
        words = words.view(f"<i{width}")
        if unused and not head.is_signed:  # two's complement in the lower bits
            words = words << unused >> unused
        words = words.astype(f"<i{pixels.bits_allocated // 8}", copy=False)
    else:
        words = words.astype(f"<u{pixels.bits_allocated // 8}", copy=False)
    if pixels.is_planar and pixels.samples > 1:
        words = words.reshape(pixels.rows, pixels.columns, pixels.samples).transpose(2, 0, 1)
    return np.ascontiguousarray(words).reshape(-1).data.cast("B")
