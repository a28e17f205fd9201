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

"""Bags with a satellite receiver: metres that two recordings share, across zones too."""

from __future__ import annotations

import math
from pathlib import Path
import sys

from bag_maker import bag_maker
from bag_maker import SECOND
from bag_maker import START
from bag_maker import STORAGES
import cv2
import numpy as np
import pytest
import utm  # noqa: F401

from vpr_compressed.errors import SourceError
from vpr_compressed.offline.accuracy import ground_truth
from vpr_compressed.records import Pose
from vpr_compressed.sources import open_source
from vpr_compressed.sources.bag import BagSource
from vpr_compressed.sources.poses import UNKNOWN_VARIANCE
from vpr_compressed.sources.satellite import fix_at
from vpr_compressed.sources.satellite import parse_zone

FIX = '/gps/fix'
IMAGES = '/camera/image_raw/compressed'
ODOMETRY = 'nav_msgs/msg/Odometry'
#: Mean radius of the Earth in metres.
EARTH_M = 6_371_000.0


def jpeg() -> bytes:
    """Return a small image file."""
    return bytes(cv2.imencode('.jpg', np.full((24, 32, 3), 99, np.uint8))[1])


def write_bag(
    path: Path, places: list[tuple[float, float]], storage: str = 'sqlite3', **options: float
) -> Path:
    """Write a bag with an image and a fix every second; NaN for a place without a fix."""
    with bag_maker(path, storage) as maker:
        for number, place in enumerate(places):
            stamp = START + number * SECOND
            maker.jpeg(IMAGES, jpeg(), stamp, stamp)
            maker.fix(FIX, stamp, place, **options)
    return maker.path


def positions(path: Path, **options: str) -> list[tuple[float, float, float] | None]:
    """Return where the images of a bag were taken."""
    source = open_source(path, pose_topic=FIX, **options)
    return [frame.pose and frame.pose.position_m for frame in source]


def ground_distance_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the distance of two places on a ball as large as the Earth."""
    (a, b), (c, d) = (tuple(map(math.radians, place)) for place in (one, other))
    half = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * EARTH_M * math.asin(math.sqrt(half))


@pytest.mark.parametrize('storage', STORAGES)
def test_fixes_become_metres_on_the_utm_grid(storage: str, tmp_path: Path) -> None:
    """A published example: 51.2 N 7.5 E lies at 395201 E 5673135 N of zone 32."""
    path = write_bag(tmp_path / 'bag', [(51.2, 7.5), (51.2, 7.51)], storage)
    source = open_source(path, pose_topic=FIX)
    first, second = (frame.pose for frame in source)
    assert first is not None
    assert second is not None
    assert first.position_m == pytest.approx((395201.31, 5673135.24, 0.0), abs=0.01)
    assert first.frame_id == 'utm_32N'
    assert first.covariance_diagonal == (4.0, 8.0, 0.0, 0.0, 0.0, 0.0)
    assert math.dist(first.position_m, second.position_m) == pytest.approx(
        ground_distance_m((51.2, 7.5), (51.2, 7.51)), rel=4e-3)
    assert source.describe().endswith(f'poses from {FIX} on UTM zone 32N)')


@pytest.mark.parametrize(('places', 'zone'), [
    ([(50.0, 5.9999), (50.0, 6.0001)], '31N'),
    ([(50.0, 6.0001), (50.0, 5.9999)], '32N'),
    ([(-33.0, 149.9999), (-33.0, 150.0001)], '55S'),
    ([(10.0, 179.9999), (10.0, -179.9999)], '60N'),
    ([(0.0001, 9.0), (-0.0001, 9.0)], '32N'),
    ([(-0.0001, 9.0), (0.0001, 9.0)], '32S'),
])
def test_drive_into_the_next_zone_goes_straight_on(
    places: list[tuple[float, float]], zone: str, tmp_path: Path
) -> None:
    """Over 6 degrees east, the date line, and the equator; the bag stays in its first zone."""
    source = BagSource(write_bag(tmp_path / 'bag', places), pose_topic=FIX)
    one, other = (frame.pose.position_m for frame in source if frame.pose is not None)
    assert source.utm_zone == zone
    assert math.dist(one, other) == pytest.approx(ground_distance_m(*places), rel=7e-3)
    assert min(*one[:2], *other[:2]) > -100


def test_second_bag_is_put_on_the_grid_of_the_first(tmp_path: Path) -> None:
    """They begin on both sides of a border of zones and meet at the same place."""
    east, west = (50.0, 6.0002), (50.0, 5.9998)
    first = BagSource(write_bag(tmp_path / 'one', [east, west]), pose_topic=FIX)
    second = write_bag(tmp_path / 'two', [west, east])
    assert first.utm_zone == '32N'
    assert BagSource(second, pose_topic=FIX).utm_zone == '31N'
    joined = BagSource(second, pose_topic=FIX, utm_zone=first.utm_zone)
    truth = ground_truth.from_positions(
        ground_truth.positions_of(joined), ground_truth.positions_of(first), 1.0)
    assert truth.positives == ({1}, {0})


def test_messages_without_a_fix_are_left_out(tmp_path: Path) -> None:
    """No fix by status, NaN, and a place that is not on Earth."""
    with bag_maker(tmp_path / 'bag') as maker:
        for number in range(5):
            maker.jpeg(IMAGES, jpeg(), START + number * 10 * SECOND, START)
        good = (48.0, 11.0)
        fixes = [(good, -1), ((math.nan, 11.0), 0), ((48.0, 999.0), 0), (good, 0), (good, -2)]
        for number, (place, status) in enumerate(fixes):
            maker.fix(FIX, START + number * 10 * SECOND, place, status=status)
    assert [place is not None for place in positions(maker.path)] == [
        False, False, False, True, False]


@pytest.mark.parametrize('variance', [math.nan, -1.0])
def test_senseless_covariance_means_unknown(variance: float, tmp_path: Path) -> None:
    """As in every pose message: it never looks certain."""
    path = write_bag(tmp_path / 'bag', [(48.0, 11.0)], variance=variance)
    pose = next(iter(open_source(path, pose_topic=FIX))).pose
    assert pose is not None
    assert pose.covariance_diagonal == (UNKNOWN_VARIANCE,) * 2 + (0.0,) * 4


def test_image_between_two_fixes_lies_on_the_way(tmp_path: Path) -> None:
    """One fix a second at 20 m/s: the nearest one alone would be up to 10 m off."""
    with bag_maker(tmp_path / 'bag') as maker:
        for tenth in range(11):
            maker.jpeg(IMAGES, jpeg(), START + tenth * SECOND // 10, START)
        maker.fix(FIX, START, (48.0, 11.0))
        maker.fix(FIX, START + SECOND, (48.00018, 11.0))
    places = [place for place in positions(maker.path) if place is not None]
    assert len(places) == 11
    steps = np.diff([place[1] for place in places])
    np.testing.assert_allclose(steps, 2.0, atol=0.02)


def test_gap_of_more_than_three_seconds_is_not_bridged() -> None:
    """In a tunnel nobody knows; within half a second of a fix it still counts."""
    poses = [(second * SECOND, Pose(position_m=(float(second), 0.0, 0.0))) for second in (0, 3, 7)]
    times = (-0.4, -0.6, 1.5, 3.4, 3.6, 6.5, 7.6)
    places = [fix_at(poses, round(time * SECOND)) for time in times]
    assert [place and place.position_m[0] for place in places] == [
        0.0, None, 1.5, 3.0, None, 7.0, None]


def test_named_zone_is_used(tmp_path: Path) -> None:
    """The grid of the zone to the west still keeps distances to some tenths of a per cent."""
    places = [(50.0, 6.01), (50.0, 6.02)]
    path = write_bag(tmp_path / 'bag', places)
    one, other = positions(path, utm_zone='31N')
    assert one is not None
    assert other is not None
    assert one[0] > 700_000
    assert math.dist(one, other) == pytest.approx(ground_distance_m(*places), rel=7e-3)


@pytest.mark.parametrize('zone', ['0N', '61N', '32', '32T', 'N', ''])
def test_name_that_is_no_zone_is_refused(zone: str) -> None:
    """A letter of the military grid means something else."""
    with pytest.raises(SourceError, match='no UTM zone'):
        parse_zone(zone)


@pytest.mark.parametrize(('place', 'zone', 'message'), [
    ((50.0, 30.0), '32N', 'in UTM zone 36N, too far from zone 32N'),
    ((85.0, 30.0), None, 'near to a pole'),
    ((-89.0, 30.0), None, 'near to a pole'),
])
def test_place_off_the_grid_is_refused(
    place: tuple[float, float], zone: str | None, message: str, tmp_path: Path
) -> None:
    """Bent coordinates would pass for distances."""
    path = write_bag(tmp_path / 'bag', [place])
    with pytest.raises(SourceError, match=message):
        open_source(path, pose_topic=FIX, utm_zone=zone)


def test_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra; a bag with odometry does without."""
    monkeypatch.setitem(sys.modules, 'utm', None)
    path = write_bag(tmp_path / 'bag', [(48.0, 11.0)])
    with pytest.raises(SourceError, match='pip install utm'):
        open_source(path, pose_topic=FIX)
    with bag_maker(tmp_path / 'odometry') as maker:
        maker.jpeg(IMAGES, jpeg(), START, START)
        maker.pose(ODOMETRY, START, 4.0)
    assert next(iter(open_source(maker.path, pose_topic='/odom'))).pose is not None
