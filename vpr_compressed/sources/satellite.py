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
Fixes of a satellite receiver (``sensor_msgs/NavSatFix``) as metres on the UTM grid.

UTM (Universal Transverse Mercator on WGS 84) divides the Earth into zones of six degrees of
longitude; within one, x points east and y north in metres, distances are right to 0.1 %, and two
recordings of one place have the same coordinates without agreeing on an origin. A recording that
crosses into the next zone stays on the grid of the zone it began in, and so does a second
recording that is told the zone of the first; at the far side of the next zone distances come out
up to 1.2 % too long. The altitude is left out: it is off by tens of metres from day to day,
which would hide that a place is the same.

This is the only module that imports utm, and only when there are fixes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from operator import itemgetter
import re
from typing import Any

from vpr_compressed.errors import SourceError
from vpr_compressed.records import Pose
from vpr_compressed.sources.frames import stamp_to_ns
from vpr_compressed.sources.poses import nearest_pose
from vpr_compressed.sources.poses import TimedPose
from vpr_compressed.sources.poses import usable_variance

FIX_TYPE = 'sensor_msgs/msg/NavSatFix'
#: An image this far from a single fix still has its place, in nanoseconds: receivers give one fix
#: a second, so 0.5 s is the middle between two, and the 0.1 s of odometry would lose most images.
FIX_TOLERANCE_NS = 500_000_000
#: Two fixes further apart than this say nothing about the way between, in nanoseconds.
MAX_FIX_GAP_NS = 3_000_000_000
#: Largest northing; what the southern half of a zone counts from.
_SOUTHERN_ORIGIN_M = 10_000_000.0
#: Further from the middle of its zone the grid is bent too much; a whole zone aside is 9 degrees.
_REACH_DEG = 12.0
_ZONE = re.compile(r'(\d{1,2})([NS])', re.IGNORECASE)


@dataclass(frozen=True)
class UtmZone:
    """
    A zone of the UTM grid.

    :param number: 1 to 60, counted eastwards from 180 degrees west
    :param north: whether y counts from the equator, or from 10 000 km south of it
    """

    number: int
    north: bool

    @property
    def name(self) -> str:
        """Short name, such as ``32N``; poses on the grid have the frame ``utm_32N``."""
        return f'{self.number}{"N" if self.north else "S"}'


def parse_zone(text: str) -> UtmZone:
    """
    Return the zone with a name such as ``32N``.

    :raises SourceError: no such zone
    """
    found = _ZONE.fullmatch(text)
    if found is None or not 1 <= int(found.group(1)) <= 60:
        raise SourceError(
            f'{text!r} is no UTM zone; give its number and half of the Earth, 1N to 60N or 1S to '
            '60S')
    return UtmZone(int(found.group(1)), found.group(2).upper() == 'N')


def decode_fixes(
    messages: Iterable[Any], zone: UtmZone | None = None
) -> tuple[list[TimedPose], UtmZone | None]:
    """
    Return stamp in nanoseconds and pose of every fix that tells a place, by stamp, and the zone.

    Left out are messages without a fix (a negative status) or with values that are not finite
    or no place on Earth. The orientation is unknown and stays at facing x (east). As with
    :func:`decode_pose`, a variance that cannot be one becomes ``UNKNOWN_VARIANCE``, and a message
    that says it has no covariance has zeros.

    :param messages: NavSatFix messages of rclpy or rosbags
    :param zone: None for that of the first fix
    :raises SourceError: utm is not installed, a place within 10 degrees of the South or 6 of the
        North Pole, or too far from a zone that was chosen
    """
    try:
        import utm
    except ImportError as error:
        raise SourceError(
            f'poses from {FIX_TYPE} need the package utm, which is not installed; pip install '
            'utm') from error
    poses: list[TimedPose] = []
    for message in filter(_is_fix, messages):
        latitude, longitude = float(message.latitude), float(message.longitude)
        try:
            own = UtmZone(int(utm.latlon_to_zone_number(latitude, longitude)), latitude >= 0)
            zone = zone or own
            _check_reach(zone, latitude, longitude, own)
            # The library has southern latitudes count from the southern origin.
            east, north, _, _ = utm.from_latlon(
                latitude, longitude, force_zone_number=zone.number)
        except ValueError as error:
            raise SourceError(
                f'the fix at latitude {latitude:.4f}, longitude {longitude:.4f} is not on the UTM '
                f'grid: {error}; so near to a pole use odometry instead') from error
        shift = _SOUTHERN_ORIGIN_M * ((latitude >= 0) - int(zone.north))
        known = message.position_covariance_type != 0
        east_m2, north_m2 = (
            usable_variance(message.position_covariance[i]) if known else 0.0 for i in (0, 4))
        poses.append((stamp_to_ns(message.header.stamp), Pose(
            position_m=(float(east), float(north) + shift, 0.0), frame_id=f'utm_{zone.name}',
            covariance_diagonal=(east_m2, north_m2, 0.0, 0.0, 0.0, 0.0))))
    return sorted(poses, key=itemgetter(0)), zone


def fix_at(fixes: Sequence[TimedPose], stamp_ns: int) -> Pose | None:
    """
    Return the pose on the straight way from one fix to the next.

    The nearest fix alone would be too coarse at the speed of a car. Beside a longer gap it counts
    for the images near it.

    :param fixes: by stamp
    :param stamp_ns: time of the image in nanoseconds
    """
    after = bisect_left(fixes, stamp_ns, key=itemgetter(0))
    if 0 < after < len(fixes):
        (start_ns, first), (end_ns, second) = fixes[after - 1:after + 1]
        if end_ns - start_ns <= MAX_FIX_GAP_NS:
            return _between(first, second, (stamp_ns - start_ns) / (end_ns - start_ns))
    return nearest_pose(fixes, stamp_ns, FIX_TOLERANCE_NS)


def _is_fix(message: Any) -> bool:
    """Return whether a NavSatFix names a place on Earth."""
    latitude, longitude = float(message.latitude), float(message.longitude)
    # A NaN fails both comparisons.
    return message.status.status >= 0 and abs(latitude) <= 90 and abs(longitude) <= 180


def _check_reach(zone: UtmZone, latitude: float, longitude: float, own: UtmZone) -> None:
    """Refuse a place where the grid of the zone does not keep distances."""
    middle = 6 * zone.number - 183
    if abs((longitude - middle + 180) % 360 - 180) > _REACH_DEG:
        raise SourceError(
            f'the fix at latitude {latitude:.4f}, longitude {longitude:.4f} is in UTM zone '
            f'{own.name}, too far from zone {zone.name} for its grid; give the zone of the place, '
            'or leave out recordings of another one')


def _between(first: Pose, second: Pose, share: float) -> Pose:
    """Return the pose a share of the way from one to the next, as uncertain as the worse one."""
    x, y, z = (
        one + share * (other - one) for one, other in zip(first.position_m, second.position_m))
    worse = first if first.covariance_diagonal > second.covariance_diagonal else second
    return replace(worse, position_m=(x, y, z))
