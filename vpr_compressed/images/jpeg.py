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

"""
What the segments of a JPEG say without decoding it: whether it is whole, and its size.

ITU-T T.81, annex B. A decoder can deliver a JPEG at a half, a quarter or an eighth of its size
for a fraction of the work, because its blocks of 8x8 pixels are stored as frequencies.
"""

from __future__ import annotations

from collections.abc import Iterator
import re

#: Any marker but a stuffed zero, a restart, or a fill byte: what follows it is its length.
_MARKER = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]', re.DOTALL)
_END, _EXIF = 0xd9, 0xe1
#: Start of frame, baseline to arithmetic; 0xc4, 0xc8 and 0xcc are other tables.
_FRAMES = frozenset(range(0xc0, 0xd0)) - {0xc4, 0xc8, 0xcc}
START = b'\xff\xd8'


def is_whole(data: bytes | memoryview) -> bool:
    """
    Return whether a JPEG has its end marker.

    Older OpenCV versions fill the missing rows of a cut-off JPEG with grey and say nothing, so
    the segments are followed here (an embedded thumbnail has an end marker of its own).
    """
    return any(marker == _END for marker, _ in _segments(data))


def size_of(data: bytes | memoryview) -> tuple[int, int] | None:
    """
    Return width and height as stored.

    :returns: None for what is no JPEG, and for one with EXIF data, which may turn it
    """
    if data[:2] != START:
        return None
    for marker, place in _segments(data):
        if marker == _EXIF:
            return None
        if marker in _FRAMES:
            rows, columns = data[place + 3:place + 5], data[place + 5:place + 7]
            size = int.from_bytes(columns, 'big'), int.from_bytes(rows, 'big')
            return size if min(size) > 0 else None
    return None


def reduction(data: bytes | memoryview, at_least: tuple[int, int]) -> int:
    """
    Return by how much a JPEG may be reduced so that it still has a size, and its shape.

    :param at_least: width and height in pixels
    :returns: 8, 4, 2, or 1 for an image that must be decoded whole
    """
    size = size_of(data)
    if size is None:
        return 1
    # A size that does not divide is rounded up, which would stretch the picture a little.
    return next((factor for factor in (8, 4, 2) if all(
        have >= factor * need and have % factor == 0
        for have, need in zip(size, at_least))), 1)


def _segments(data: bytes | memoryview) -> Iterator[tuple[int, int]]:
    """Yield each marker and the place of what follows it."""
    position = 2
    while (found := _MARKER.search(data, position)) is not None:
        marker, place = found.group()[1], found.end()
        yield marker, place
        position = place + int.from_bytes(data[place:place + 2], 'big')
