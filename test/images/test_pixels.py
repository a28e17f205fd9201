# Copyright 2026 The vpr_compressed authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Images: every encoding, row padding, byte order, file type and kind of damage."""

from __future__ import annotations

import array
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

from vpr_compressed.errors import ImageFormatError
from vpr_compressed.images.pixel_encodings import LAYOUTS
from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.images.pixels import rgb_from_message
from vpr_compressed.records import ImageArray

CONTAINERS = {
    'array.array': lambda data: array.array('B', data),
    'ndarray': lambda data: np.frombuffer(data, np.uint8),
    'bytes': bytes,
    'memoryview': memoryview,
}
BAYER = ('rggb', 'bggr', 'gbrg', 'grbg')


@dataclass(frozen=True)
class Raw:
    """A stand-in with the fields of ``sensor_msgs/Image``."""

    height: int
    width: int
    encoding: str
    step: int
    data: object
    is_bigendian: int = 0


@dataclass(frozen=True)
class Compressed:
    """A stand-in with the fields of ``sensor_msgs/CompressedImage``."""

    format: str  # noqa: A003
    data: object


def scene() -> ImageArray:
    """Return a small RGB image, constant in 2x2 blocks so that no chroma is lost."""
    blocks = np.random.default_rng(7).integers(60, 190, (4, 6, 3), dtype=np.uint8)
    return blocks.repeat(2, axis=0).repeat(2, axis=1)                          # (8, 12, 3)


def raw_message(rows: NDArray[np.uint8], encoding: str, width: int) -> Raw:
    """Wrap stored rows of bytes; what they hold beyond the width is padding."""
    height = rows.shape[0] * 2 // LAYOUTS[encoding].half_rows
    return Raw(height, width, encoding, rows.shape[1], rows.tobytes())


def stored_rows(rgb: ImageArray, encoding: str) -> NDArray[np.uint8]:
    """Return the rows of bytes that a camera would store for an RGB image."""
    if encoding.startswith('bayer_'):
        values = mosaic(rgb, encoding[6:10])
    elif encoding.startswith(('yu', 'uy', 'nv')):
        return stored_yuv(rgb, encoding)
    else:
        values = stored_channels(rgb, encoding)
    if '16' in encoding:
        values = (values.astype(np.uint16) * 257).astype('<u2')
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(rgb), -1)


def stored_channels(rgb: ImageArray, encoding: str) -> ImageArray:
    """Return grey, or the channels in stored order with an alpha that must not be used."""
    if encoding in ('mono8', 'mono16', '8UC1', '16UC1'):
        return rgb[..., 1]
    alpha = np.full((*rgb.shape[:2], 1), 17, np.uint8)
    colours = rgb if encoding.startswith('rgb') else rgb[..., ::-1]
    return np.concatenate((colours, alpha), 2) if LAYOUTS[encoding].channels == 4 else colours


def stored_yuv(rgb: ImageArray, encoding: str) -> NDArray[np.uint8]:
    """Convert to BT.601 studio range by the textbook formula and arrange the planes."""
    red, green, blue = (rgb[..., i].astype(float) for i in range(3))
    luma = np.round(16 + 0.25679 * red + 0.50413 * green + 0.09791 * blue)
    u = np.round(128 - 0.14822 * red - 0.29099 * green + 0.43922 * blue)
    v = np.round(128 + 0.43922 * red - 0.36779 * green - 0.07143 * blue)
    first, second = (v, u) if encoding == 'nv21' else (u, v)
    if encoding in ('nv12', 'nv21'):
        chroma = np.stack((first[::2, ::2], second[::2, ::2]), 2)
        return np.vstack((luma, chroma.reshape(-1, luma.shape[1]))).astype(np.uint8)
    if encoding == 'nv24':
        return np.vstack((luma, np.stack((u, v), 2).reshape(-1, luma.shape[1]))).astype(np.uint8)
    pairs = np.empty((len(rgb), rgb.shape[1] // 2, 4))
    order = (1, 0, 3, 2) if encoding in ('uyvy', 'yuv422') else (0, 1, 2, 3)
    for place, values in zip(order, (luma[:, ::2], u[:, ::2], luma[:, 1::2], v[:, ::2])):
        pairs[..., place] = values
    return pairs.astype(np.uint8).reshape(len(rgb), -1)


def mosaic(rgb: ImageArray, pattern: str) -> ImageArray:
    """Keep one colour per pixel: ``pattern`` names the first 2x2 pixels row by row."""
    result = np.empty(rgb.shape[:2], np.uint8)
    for i, colour in enumerate(pattern):
        row, column = divmod(i, 2)
        result[row::2, column::2] = rgb[row::2, column::2, 'rgb'.index(colour)]
    return result


def demosaiced_slowly(values: ImageArray, pattern: str) -> NDArray[np.float64]:
    """Average the neighbours of each missing colour; the outermost pixels stay NaN."""
    height, width = values.shape
    result = np.full((height, width, 3), np.nan)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            for c, colour in enumerate('rgb'):
                same = [values[v, u] for v in (y - 1, y, y + 1) for u in (x - 1, x, x + 1)
                        if pattern[v % 2 * 2 + u % 2] == colour]
                own = pattern[y % 2 * 2 + x % 2] == colour
                result[y, x, c] = values[y, x] if own else np.mean(same)
    return result


def padded(rows: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Append ``count`` bytes of rubbish to each row."""
    rubbish = np.random.default_rng(3).integers(0, 256, (len(rows), count), dtype=np.uint8)
    return np.hstack((rows, rubbish))


@pytest.mark.parametrize('container', CONTAINERS)
@pytest.mark.parametrize('padding', [0, 6, 5])
@pytest.mark.parametrize('encoding', LAYOUTS)
def test_every_encoding_gives_back_the_scene(encoding, padding, container) -> None:
    """Padding, also by no whole number of pixels, and the container change nothing."""
    rgb = scene()
    rows = padded(stored_rows(rgb, encoding), padding)
    data = rows.tobytes()
    if encoding == 'nv24':  # its chroma rows are two luma rows long, and so is their padding
        chroma = stored_rows(rgb, encoding)[8:].reshape(8, 24)
        data = rows[:8].tobytes() + padded(chroma, 2 * padding).tobytes()
    message = replace(raw_message(rows, encoding, 12), data=CONTAINERS[container](data))
    result = rgb_from_message(message)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert result.flags.writeable
    if encoding.startswith('bayer_'):
        expected = demosaiced_slowly(mosaic(rgb, encoding[6:10]), encoding[6:10])
        difference = np.abs(result - expected)[1:-1, 1:-1]
        assert difference.max() <= 1.0
    elif encoding in ('mono8', 'mono16', '8UC1', '16UC1'):
        np.testing.assert_array_equal(result, rgb[..., 1:2].repeat(3, axis=2))
    elif encoding.startswith(('yu', 'uy', 'nv')):
        assert np.abs(result.astype(int) - rgb).max() <= 2
    else:
        np.testing.assert_array_equal(result, rgb)


def test_the_table_knows_every_colour_encoding_of_ros() -> None:
    """The names are those of ``sensor_msgs/image_encodings.hpp``."""
    colours = {f'{name}{bits}' for name in ('rgb', 'rgba', 'bgr', 'bgra', 'mono')
               for bits in (8, 16)}
    bayer = {f'bayer_{name}{bits}' for name in BAYER for bits in (8, 16)}
    generic = {f'{bits}UC{channels}' for bits in (8, 16) for channels in (1, 3, 4)}
    yuv = {'uyvy', 'yuv422', 'yuyv', 'yuv422_yuy2', 'nv12', 'nv21', 'nv24'}
    assert set(LAYOUTS) == colours | bayer | generic | yuv


@pytest.mark.parametrize('pattern', BAYER)
def test_a_bayer_camera_before_a_coloured_wall_sees_its_colour(pattern: str) -> None:
    """Golden: each ROS pattern name puts red, green and blue where it says."""
    wall = np.full((6, 8, 3), (200, 100, 50), np.uint8)
    rows = mosaic(wall, pattern)
    colours = {'r': 200, 'g': 100, 'b': 50}
    assert rows[:2, :2].ravel().tolist() == [colours[letter] for letter in pattern]
    np.testing.assert_array_equal(
        rgb_from_message(raw_message(rows, f'bayer_{pattern}8', 8)), wall)


@pytest.mark.parametrize('bigendian', [0, 1])
@pytest.mark.parametrize('encoding', sorted(e for e in LAYOUTS if '16' in e))
def test_byte_order_is_honoured(encoding: str, bigendian: int) -> None:
    """Golden: the high byte decides, wherever it is stored."""
    high_first = [40, 250] * (6 * 8 * LAYOUTS[encoding].channels)
    data = bytes(high_first if bigendian else high_first[::-1])
    message = Raw(6, 8, encoding, len(data) // 6, data, is_bigendian=bigendian)
    # (40 * 256 + 250) / 257 = 40.8; read the wrong way round it would be 249.2
    np.testing.assert_array_equal(rgb_from_message(message), np.full((6, 8, 3), 41, np.uint8))


def test_byte_order_does_not_touch_8_bit_images() -> None:
    """Cameras on big-endian computers set the flag for all encodings."""
    message = replace(raw_message(stored_rows(scene(), 'rgb8'), 'rgb8', 12), is_bigendian=1)
    np.testing.assert_array_equal(rgb_from_message(message), scene())


def test_16_bits_scale_to_the_full_range_and_round() -> None:
    """Golden: 257 steps of 16 bits make one step of 8 bits, as in cv_bridge."""
    values = np.array([[0, 128, 129, 257, 32896, 65406, 65407, 65535]], '<u2')
    result = rgb_from_message(Raw(1, 8, 'mono16', 16, values.tobytes()))
    assert result[0, :, 0].tolist() == [0, 0, 1, 1, 128, 254, 255, 255]


@pytest.mark.parametrize(('encoding', 'pair'), [
    ('uyvy', (90, 81, 240, 81)), ('yuv422', (90, 81, 240, 81)),
    ('yuyv', (81, 90, 81, 240)), ('yuv422_yuy2', (81, 90, 81, 240)),
])
def test_yuv_pairs_of_pure_red_are_red(encoding: str, pair: tuple[int, ...]) -> None:
    """Golden: BT.601 red is Y 81, U 90, V 240."""
    result = rgb_from_message(Raw(2, 2, encoding, 4, bytes(pair * 2)))
    assert np.abs(result.astype(int) - (254, 0, 0)).max() <= 1


@pytest.mark.parametrize(('encoding', 'chroma'), [
    ('nv12', (90, 240)), ('nv21', (240, 90)), ('nv24', (90, 240) * 4)])
def test_yuv_planes_of_pure_red_are_red(encoding: str, chroma: tuple[int, ...]) -> None:
    """Golden: NV12 stores U before V, NV21 V before U, NV24 a pair for each pixel."""
    result = rgb_from_message(Raw(2, 2, encoding, 2, bytes((81,) * 4 + chroma)))
    assert np.abs(result.astype(int) - (254, 0, 0)).max() <= 1


@pytest.mark.parametrize('encoding', ['nv12', 'nv21', 'nv24'])
def test_tight_planes_are_read_whatever_their_step_says(encoding: str) -> None:
    """Drivers write the step of the luma plane, of a pixel, or of both chroma values."""
    message = raw_message(stored_rows(scene(), encoding), encoding, 12)
    for step in (12, 18, 24):
        np.testing.assert_array_equal(
            rgb_from_message(replace(message, step=step)), rgb_from_message(message))


def test_the_result_does_not_share_memory_with_the_message() -> None:
    """A publisher may reuse its message while the image waits for the network."""
    data = array.array('B', stored_rows(scene(), 'rgb8').tobytes())
    result = rgb_from_message(Raw(8, 12, 'rgb8', 36, data))
    data[0] ^= 255
    np.testing.assert_array_equal(result, scene())


@pytest.mark.parametrize('encoding', ['32FC1', '64FC1', '16SC1', '32SC1', '8SC3', '32FC3', '32F'])
@pytest.mark.parametrize('value', [1.5, np.nan])
def test_depth_and_float_images_are_refused(encoding: str, value: float) -> None:
    """Distances are no colours, with or without NaN."""
    data = np.full((4, 6), value, np.float32).tobytes()
    with pytest.raises(ImageFormatError, match=f'{encoding} holds depth.*colour or grey camera'):
        rgb_from_message(Raw(4, 6, encoding, 24, data))


@pytest.mark.parametrize(('encoding', 'hint'), [
    ('rbg8', "did you mean 'rgb8'"), ('RGB8', 'known: .*rgb8'), ('', 'known: .*bayer_rggb8'),
    ('8UC2', "did you mean '8UC"), ('jpeg', 'known: ')])
def test_an_unknown_encoding_is_refused_with_what_is_known(encoding: str, hint: str) -> None:
    """A typo gets a suggestion, anything else the list."""
    with pytest.raises(ImageFormatError, match=hint):
        rgb_from_message(Raw(2, 2, encoding, 6, bytes(12)))


@pytest.mark.parametrize('changes', [
    {'data': bytes(287)}, {'data': bytes(289)}, {'data': b''}, {'step': 35}, {'step': 0},
    {'height': 9}, {'height': 0, 'data': b''}, {'width': 0}, {'width': 13}, {'step': 37}])
def test_fields_that_contradict_the_bytes_are_refused(changes: dict[str, Any]) -> None:
    """No skewed or partly invented image is ever handed on."""
    message = replace(raw_message(stored_rows(scene(), 'rgb8'), 'rgb8', 12), **changes)
    with pytest.raises(ImageFormatError, match=r'needs a step of at least \d+ and \d+ rows'):
        rgb_from_message(message)


@pytest.mark.parametrize('encoding', ['yuyv', 'nv12', 'nv21'])
def test_odd_sizes_of_shared_chroma_are_refused(encoding: str) -> None:
    """The last pixel would have no partner to share a colour with."""
    half_rows = LAYOUTS[encoding].half_rows
    step = 3 * LAYOUTS[encoding].channels
    with pytest.raises(ImageFormatError, match=r'even sizes.*but is 3x3'):
        rgb_from_message(Raw(3, 3, encoding, step, bytes(3 * half_rows // 2 * step)))


@pytest.mark.parametrize('data', [None, 'text', 5, [1, 2, 3]])
def test_data_that_is_no_buffer_is_refused(data: object) -> None:
    """The error names the type that was found."""
    with pytest.raises(ImageFormatError, match=type(data).__name__):
        rgb_from_message(Raw(1, 1, 'rgb8', 3, data))


def encoded(image: NDArray[Any], extension: str) -> bytes:
    """Return an image file; colours are given as RGB."""
    if image.ndim == 3:
        image = np.concatenate((image[..., 2::-1], image[..., 3:]), axis=2)
    done, data = cv2.imencode(extension, image, [cv2.IMWRITE_WEBP_QUALITY, 101])
    assert done
    return data.tobytes()


@pytest.mark.parametrize('extension', ['.png', '.tiff', '.webp', '.bmp', '.ppm'])
def test_lossless_files_give_back_the_scene(extension: str) -> None:
    """Grey, alpha and 16 bits all become the same colours."""
    rgb = scene()
    alpha = np.full((*rgb.shape[:2], 1), 90, np.uint8)
    np.testing.assert_array_equal(rgb_from_encoded(encoded(rgb, extension)), rgb)
    if extension in ('.png', '.tiff', '.webp'):
        with_alpha = np.concatenate((rgb, alpha), axis=2)
        np.testing.assert_array_equal(rgb_from_encoded(encoded(with_alpha, extension)), rgb)
    if extension in ('.png', '.tiff'):
        deep = rgb.astype(np.uint16) * 257
        np.testing.assert_array_equal(rgb_from_encoded(encoded(deep, extension)), rgb)
        grey = rgb_from_encoded(encoded(deep[..., 0], extension))
        np.testing.assert_array_equal(grey, rgb[..., :1].repeat(3, axis=2))


@pytest.mark.parametrize('container', CONTAINERS)
def test_a_file_and_a_message_of_its_bytes_give_equal_pixels(container: str) -> None:
    """Folders and compressed topics share one decoder."""
    data = encoded(cv2.resize(scene(), (64, 48)), '.jpg')
    from_file = rgb_from_encoded(data)
    for name in ('jpeg', 'jpg', '', 'rgb8; jpeg compressed bgr8', 'bgr8; jpeg compressed bgr8',
                 'bayer_rggb8; jpeg compressed mono8', 'mono8; jpeg compressed '):
        message = Compressed(name, CONTAINERS[container](data))
        np.testing.assert_array_equal(rgb_from_message(message), from_file)


def test_grey_jpeg_becomes_colour() -> None:
    """A mono camera's JPEG has one channel in the file and three afterwards."""
    result = rgb_from_encoded(encoded(np.full((9, 7), 130, np.uint8), '.jpg'))
    np.testing.assert_array_equal(result, np.full((9, 7, 3), 130, np.uint8))


@pytest.mark.parametrize('pattern', BAYER)
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_a_mosaic_in_a_png_message_gets_its_colours(pattern: str, dtype: type) -> None:
    """``compressed_image_transport`` stores Bayer images as grey and leaves PIXFMT empty."""
    wall = np.full((6, 8, 3), (200, 100, 50), np.uint8)
    bits = np.dtype(dtype).itemsize * 8
    stored: NDArray[Any] = mosaic(wall, pattern).astype(dtype) * (257 if bits == 16 else 1)
    message = Compressed(f'bayer_{pattern}{bits}; png compressed ', encoded(stored, '.png'))
    np.testing.assert_array_equal(rgb_from_message(message), wall)


def test_colours_stored_the_other_way_round_are_put_right() -> None:
    """``compressed rgb8`` says that the codec was given RGB as if it were BGR."""
    swapped = np.ascontiguousarray(scene()[..., ::-1])
    message = Compressed('rgb8; png compressed rgb8', encoded(swapped, '.png'))
    np.testing.assert_array_equal(rgb_from_message(message), scene())


@pytest.mark.parametrize('name', [
    '16UC1; compressedDepth png', '32FC1; compressedDepth', '16UC1; compresseddepth rvl'])
def test_compressed_depth_is_refused(name: str) -> None:
    """Even where its payload would decode as a grey picture."""
    data = encoded(np.full((4, 4), 900, np.uint16), '.png')
    with pytest.raises(ImageFormatError, match=r'holds depth.*colour or grey camera'):
        rgb_from_message(Compressed(name, data))


def test_a_float_tiff_is_refused() -> None:
    """Its range is unknown, and NaN has no brightness."""
    image = np.full((4, 4, 3), np.nan, np.float32)
    with pytest.raises(ImageFormatError, match='float32'):
        rgb_from_encoded(encoded(image, '.tiff'), name='depth.tiff')


@pytest.mark.parametrize('extension', ['.jpg', '.png', '.tiff', '.webp', '.bmp'])
def test_a_file_cut_off_anywhere_is_refused(extension: str) -> None:
    """Never a picture with a grey lower half."""
    data = encoded(cv2.resize(scene(), (64, 48)), extension)
    for share in (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98):
        with pytest.raises(ImageFormatError, match=r'frame\.jpg'):
            rgb_from_encoded(data[:int(share * len(data))], name='frame.jpg')


def jpeg_with_thumbnail() -> bytes:
    """Return a JPEG that carries another whole JPEG in an application segment."""
    data = encoded(cv2.resize(scene(), (64, 48)), '.jpg')
    thumbnail = encoded(scene(), '.jpg')
    size = (len(thumbnail) + 2).to_bytes(2, 'big')
    return data[:2] + b'\xff\xe5' + size + thumbnail + data[2:]


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_photo() -> None:
    """Cameras embed a small JPEG, with its own end marker, before the large one."""
    whole = jpeg_with_thumbnail()
    assert rgb_from_encoded(whole).shape == (48, 64, 3)
    with pytest.raises(ImageFormatError, match='JPEG cut off after'):
        rgb_from_encoded(whole[:-40])


def test_bytes_after_the_end_of_a_jpeg_do_no_harm() -> None:
    """USB cameras pad their frames; phones append a short film."""
    data = encoded(cv2.resize(scene(), (64, 48)), '.jpg')
    np.testing.assert_array_equal(
        rgb_from_encoded(data + bytes(64) + b'\xff\xda\x00'), rgb_from_encoded(data))


@pytest.mark.parametrize('data', [b'GIF', b'\x00\x00\x00\x01\x67h264', b'\xff\xd8', b'hello' * 99])
def test_bytes_that_are_no_image_are_refused_by_name(data: bytes) -> None:
    """The error says which image, how many bytes, and what would work."""
    with pytest.raises(ImageFormatError, match=r"'h264'.*JPEG"):
        rgb_from_message(Compressed('h264', data))


def test_messages_of_rosbags_decode_to_the_same_pixels() -> None:
    """A bag is read offline with message types of its own."""
    typesys = pytest.importorskip('rosbags.typesys')
    types = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    time = types.types['builtin_interfaces/msg/Time'](sec=1, nanosec=2)
    header = types.types['std_msgs/msg/Header'](stamp=time, frame_id='camera')
    rows = padded(stored_rows(scene(), 'bgr8'), 4)
    raw = types.types['sensor_msgs/msg/Image'](
        header=header, height=8, width=12, encoding='bgr8', is_bigendian=0, step=40,
        data=rows.ravel())
    name = 'sensor_msgs/msg/Image'
    again = types.deserialize_cdr(types.serialize_cdr(raw, name), name)
    np.testing.assert_array_equal(rgb_from_message(again), scene())
    png = np.frombuffer(encoded(scene(), '.png'), np.uint8)
    compressed = types.types['sensor_msgs/msg/CompressedImage'](
        header=header, format='png', data=png)
    np.testing.assert_array_equal(rgb_from_message(compressed), scene())


@pytest.mark.ros
def test_messages_of_rclpy_decode_to_the_same_pixels() -> None:
    """The types the live node receives."""
    messages = pytest.importorskip('sensor_msgs.msg')
    rows = padded(stored_rows(scene(), 'bgr8'), 4)
    raw = messages.Image(
        height=8, width=12, encoding='bgr8', step=40, data=array.array('B', rows.tobytes()))
    np.testing.assert_array_equal(rgb_from_message(raw), scene())
    compressed = messages.CompressedImage(
        format='png', data=array.array('B', encoded(scene(), '.png')))
    np.testing.assert_array_equal(rgb_from_message(compressed), scene())
