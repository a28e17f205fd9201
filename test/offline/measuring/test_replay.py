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

"""The same walk otherwise: which images are shown when, and what is said about it."""

from __future__ import annotations

import pytest

from vpr_compressed.errors import ConfigError
from vpr_compressed.offline.measuring.replay import Replay

#: Stamps of five images in nanoseconds, with a pause.
STAMPS = [100, 200, 300, 700, 800]


def shown(stamps: list[int] = STAMPS, **how: object) -> list[tuple[int, int]]:
    """Return index and stamp of each image of a replay."""
    replay = Replay(**how)  # type: ignore[arg-type]
    return [(each.index, each.stamp_ns) for each in replay.of(stamps)]


def test_as_recorded_means_to_the_nanosecond() -> None:
    """Large stamps have no place in a float."""
    stamps = [1_700_000_000_123_456_789 + step for step in (0, 1, 5)]
    assert shown(stamps) == list(enumerate(stamps))
    assert Replay().describe() == ''


def test_a_walk_backwards_keeps_its_pauses() -> None:
    """The pause comes second now; time still goes forward."""
    assert shown(reverse=True) == [(4, 100), (3, 200), (2, 600), (1, 700), (0, 800)]


@pytest.mark.parametrize(('speed', 'expected'), [
    (2.0, [(0, 100), (2, 200), (4, 450)]),
    (4.0, [(0, 100), (4, 275)]),
    (1.5, [(0, 100), (1, 200), (3, 500), (4, 600)]),
    (0.5, [(0, 100), (0, 200), (1, 300), (1, 400), (2, 500), (2, 900), (3, 1300), (3, 1400),
           (4, 1500), (4, 1600)]),
])
def test_speed_leaves_images_out_or_holds_them(
    speed: float, expected: list[tuple[int, int]]
) -> None:
    """The way goes by so many times as fast, the pause as well."""
    assert shown(speed=speed) == expected


def test_a_third_of_the_speed_shows_each_image_three_times() -> None:
    """Though a third is no number of a computer."""
    assert [index for index, _ in shown(speed=1 / 3)] == [
        index for index in range(5) for _ in range(3)]
    assert [index for index, _ in shown([0] * 100, speed=0.1)] == [
        index for index in range(100) for _ in range(10)]


def test_a_single_image_can_be_replayed() -> None:
    """There is no image after it."""
    assert shown([7], speed=0.5, reverse=True) == [(0, 7), (0, 7)]
    assert shown([7], speed=3.0) == [(0, 7)]


def test_changes_compose() -> None:
    """From the end, every second image, switched on at every other one of these."""
    found = Replay(reverse=True, speed=2.0, start_every=2, cut=((1, 3), (7, 8)))
    assert [(each.index, each.cold) for each in found.of(STAMPS)] == [
        (4, True), (2, False), (0, True)]
    assert found.describe() == (
        'backwards, 2 times as fast, switched off and on again every 2 images, the map without '
        'the reference images 1 to 2 and 7 to 7')
    assert found.left_out(9) == {1, 2, 7}


def test_only_the_first_image_is_a_cold_start() -> None:
    """Of a walk as it was recorded."""
    assert [each.cold for each in Replay().of(STAMPS)] == [True] + [False] * 4


@pytest.mark.parametrize(('images', 'every', 'expected'), [
    (200, 0, list(range(0, 200, 20))),
    (35, 0, [0, 10, 20]),
    (4, 0, [0]),
    (10, 4, [0, 4]),
    (12, 4, [0, 4, 8]),
])
def test_cold_starts_have_a_stretch_before_them(
    images: int, every: int, expected: list[int]
) -> None:
    """Ten of a long walk; near the end nobody could know."""
    assert list(Replay(start_every=every).starts(images)) == expected


@pytest.mark.parametrize('how', [
    {'speed': 0.0}, {'speed': float('nan')}, {'start_every': -1}, {'cut': ((5, 4),)},
    {'cut': ((-1, 4),)}])
def test_what_makes_no_walk_is_refused(how: dict[str, object]) -> None:
    """However it is made."""
    with pytest.raises(ConfigError):
        Replay(**how)  # type: ignore[arg-type]
