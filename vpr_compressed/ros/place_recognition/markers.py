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

"""What RViz shows of the map and of a match."""

from __future__ import annotations

from collections.abc import Iterable

from geometry_msgs.msg import Point
from geometry_msgs.msg import PoseArray
from std_msgs.msg import ColorRGBA
from std_msgs.msg import Header
from visualization_msgs.msg import Marker
from visualization_msgs.msg import MarkerArray

from vpr_compressed.records import Keyframe
from vpr_compressed.records import Pose
from vpr_compressed.records import Recognition
from vpr_compressed.ros.conversions import header_at
from vpr_compressed.ros.conversions import pose_to_message

_BLUE = (0.2, 0.45, 0.9)
_GREEN = (0.1, 0.75, 0.2)
_AMBER = (0.95, 0.65, 0.1)


def map_markers(keyframes: Iterable[Keyframe], stamp_ns: int, frame_id: str) -> MarkerArray:
    """
    Return the places of the map as one list of points, replacing what was shown before.

    :param keyframes: places; those without a pose are left out
    :param stamp_ns: stamp of the message
    :param frame_id: frame of the map
    """
    points = [point(k.pose) for k in keyframes if k.pose is not None]
    markers = [Marker(header=header_at(stamp_ns, frame_id), ns='map', action=Marker.DELETEALL)]
    if points:
        places = _marker(header_at(stamp_ns, frame_id), 'map', Marker.POINTS, _BLUE)
        places.scale.x = places.scale.y = 0.2
        places.points = points
        markers.append(places)
    return MarkerArray(markers=markers)


def match_markers(
    recognition: Recognition, query_pose: Pose | None, frame_id: str
) -> MarkerArray:
    """
    Return the accepted place and the candidates of one image.

    :param recognition: what the image led to
    :param query_pose: where the robot believes to be, or None: then no line is drawn
    :param frame_id: frame of the map
    """
    header = header_at(recognition.stamp_ns, frame_id)
    markers = [Marker(header=header, ns='match', action=Marker.DELETEALL)]
    for number, candidate in enumerate(recognition.candidates):
        if candidate.keyframe.pose is not None:
            sphere = _marker(header, 'candidates', Marker.SPHERE, _AMBER, number)
            sphere.pose = pose_to_message(candidate.keyframe.pose)
            sphere.scale.x = sphere.scale.y = sphere.scale.z = 0.3
            sphere.color.a = float(min(max(recognition.confidences[number], 0.15), 1.0))
            markers.append(sphere)
    match = recognition.match
    if match is not None and match.keyframe.pose is not None:
        markers += _accepted(match.keyframe.pose, match.confidence, query_pose, header)
    return MarkerArray(markers=markers)


def candidate_poses(recognition: Recognition, frame_id: str) -> PoseArray:
    """Return the poses of the candidates that have one, best first."""
    return PoseArray(
        header=header_at(recognition.stamp_ns, frame_id),
        poses=[pose_to_message(c.keyframe.pose) for c in recognition.candidates
               if c.keyframe.pose is not None])


def point(pose: Pose) -> Point:
    """Return the position of a pose."""
    x, y, z = map(float, pose.position_m)
    return Point(x=x, y=y, z=z)


def _accepted(
    pose: Pose, confidence: float, query_pose: Pose | None, header: Header
) -> list[Marker]:
    """Return an arrow at the accepted place, its confidence, and a line from the query."""
    arrow = _marker(header, 'match', Marker.ARROW, _GREEN)
    arrow.pose = pose_to_message(pose)
    arrow.scale.x, arrow.scale.y, arrow.scale.z = 1.0, 0.15, 0.15
    text = _marker(header, 'confidence', Marker.TEXT_VIEW_FACING, _GREEN)
    text.pose = pose_to_message(pose)
    text.pose.position.z += 0.6
    text.scale.z = 0.4
    text.text = f'{confidence:.2f}'
    if query_pose is None:
        return [arrow, text]
    line = _marker(header, 'error', Marker.LINE_LIST, _GREEN)
    line.scale.x = 0.05
    line.points = [point(query_pose), point(pose)]
    return [arrow, text, line]


def _marker(
    header: Header, space: str, kind: int, colour: tuple[float, float, float], number: int = 0
) -> Marker:
    """Return an opaque marker of one colour at the origin."""
    red, green, blue = colour
    marker = Marker(header=header, ns=space, id=number, type=kind, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    return marker
