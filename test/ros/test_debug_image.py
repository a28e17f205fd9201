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

"""The picture people look at: query, believed place, and what became of it in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage

from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Status

Stamp = Callable[[int], int]


def test_the_debug_image_is_made_only_for_somebody(
    local_node: Any, peer: Any, walk_map: Path, places: list[ImageArray], stamp: Stamp,
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs a JPEG per image."""
    from vpr_compressed.ros.place_recognition import outputs

    made: list[int] = []
    original = outputs.debug_image
    monkeypatch.setattr(
        outputs, 'debug_image', lambda *args: (made.append(1), original(*args))[1])
    node = local_node(mode='localization', map_path=str(walk_map)).start()
    peer.ask(places[0], stamp(0))
    assert not made
    shown: list[CompressedImage] = []
    topic = '/place_recognition/debug_image/compressed'
    peer.create_subscription(CompressedImage, topic, shown.append, 10)
    assert peer.until(lambda: node.has_listener(topic))
    peer.ask(places[1], stamp(1))
    assert peer.until(lambda: shown)
    assert bytes(shown[0].data[:2]) == b'\xff\xd8'
    assert made


def test_the_debug_image_shows_the_query_beside_the_matched_place(
    local_node: Any, peer: Any, tmp_path: Path, places: list[ImageArray],
    again: list[ImageArray], stamp: Stamp, decider: Any
) -> None:
    """The picture of the place was stored while mapping; people see whether a match is right."""
    decider.needed = 2
    path = tmp_path / 'walk.map'
    mapper = local_node(mode='mapping', map_path=str(path)).start()
    for number in range(3):
        peer.ask(places[number], stamp(number))
    assert peer.until(lambda: peer.values('map').get('places') == '3')
    assert int(peer.values('map')['thumbnail_bytes']) > 3 * 500
    mapper.close()
    peer._publishers_by_topic.clear()

    node = local_node(mode='localization', map_path=str(path)).start()
    shown: list[CompressedImage] = []
    topic = '/place_recognition/debug_image/compressed'
    peer.create_subscription(CompressedImage, topic, shown.append, 10)
    assert peer.until(lambda: node.has_listener(topic))
    for number, status in ((1, Status.UNSURE), (2, Status.ACCEPTED)):
        shown.clear()
        assert peer.ask(again[number], stamp(100 + number))['status'][0] == status
        assert peer.until(lambda: shown)
        picture = rgb_from_encoded(bytes(shown[0].data))
        assert picture.shape == (280, 644, 3), 'two panels of 4:3 with a gap, two lines of text'
        left, right, text = picture[:240, :320], picture[:240, 324:], picture[240:260]
        assert similarity(left, again[number]) > 0.95
        assert similarity(right, places[number]) > 0.95
        assert abs(similarity(right, places[0])) < 0.5, 'any place would do'
        red, green, _ = text.reshape(-1, 3)[text.max(axis=2).argmax()]
        assert max(red, green) > 150, 'no answer in words'
        assert (red > green) == (status is Status.UNSURE), 'amber is withheld, green accepted'


def test_a_map_without_pictures_is_said_in_the_debug_image(
    local_node: Any, peer: Any, walk_map: Path, again: list[ImageArray], stamp: Stamp
) -> None:
    """Maps of 0.4.0 have none: an empty panel would look like a dark place."""
    node = local_node(mode='localization', map_path=str(walk_map)).start()
    shown: list[CompressedImage] = []
    topic = '/place_recognition/debug_image/compressed'
    peer.create_subscription(CompressedImage, topic, shown.append, 10)
    assert peer.until(lambda: node.has_listener(topic))
    peer.ask(again[1], stamp(0))
    assert peer.until(lambda: shown)
    right = rgb_from_encoded(bytes(shown[0].data))[:240, 324:]
    assert right.max() > 100, 'nothing is said'
    assert right.mean() < 10


def similarity(panel: ImageArray, image: ImageArray) -> float:
    """Return the correlation of two pictures of any size."""
    small = [cv2.resize(picture, (64, 48), interpolation=cv2.INTER_AREA).ravel()
             for picture in (panel, image)]
    return float(np.corrcoef(*small)[0, 1])
