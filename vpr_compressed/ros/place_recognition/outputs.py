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

"""The topics the node answers on: poses and matches, and what people see of them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import textwrap
from typing import Any

import cv2
from geometry_msgs.msg import Point
from geometry_msgs.msg import PoseArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from geometry_msgs.msg import Vector3
import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import ColorRGBA
from std_msgs.msg import Header
from visualization_msgs.msg import Marker
from visualization_msgs.msg import MarkerArray

from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Pose
from vpr_compressed.records import Recognition
from vpr_compressed.ros import qos
from vpr_compressed.ros.conversions import cloud_from_matches
from vpr_compressed.ros.conversions import compressed_message
from vpr_compressed.ros.conversions import header_at
from vpr_compressed.ros.conversions import match_rows
from vpr_compressed.ros.conversions import pose_to_message
from vpr_compressed.ros.conversions import pose_with_covariance
from vpr_compressed.ros.place_recognition.activity import describe_answer
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.ros.place_recognition.map_to_odom import MapToOdom
from vpr_compressed.ros.place_recognition.poses import import_tf2

#: Colours of markers.
_BLUE, _GREEN, _AMBER = (0.2, 0.45, 0.9), (0.1, 0.75, 0.2), (0.95, 0.65, 0.1)
#: Colours of the words in the picture: a place was accepted, withheld, there is none to show.
_ACCEPTED, _DOUBTFUL, _MISSING = (90, 220, 90), (235, 180, 60), (150, 150, 150)
_ORIGIN = Pose(position_m=(0.0, 0.0, 0.0))
#: Sizes of the picture in pixels.
_HEIGHT, _LINE_HEIGHT, _GAP = 240, 20, 4
#: Lines of words below the picture, and the width of a letter in pixels.
_LINES, _LETTER = 2, 7


class Outputs:
    """Publishers of the ``place_recognition`` node; silent while the node is inactive."""

    def __init__(self, node: LifecycleNode, config: PlaceRecognitionConfig) -> None:
        """
        Create the publishers.

        :param node: owner
        :param config: frames and standard deviations
        :raises ConfigError: TF is wanted and tf2_ros is not installed
        """
        self._node = node
        self.config = config
        self._map_to_odom = (
            MapToOdom(import_tf2('publish_map_to_odom_tf: true'), node, config)
            if config.publish_map_to_odom_tf else None)
        create: Callable[..., Any] = node.create_lifecycle_publisher
        options = {'qos_overriding_options': qos.overridable()}
        self._matches = create(PointCloud2, '~/matches', qos.results(), **options)
        self._pose = create(PoseWithCovarianceStamped, '~/pose', qos.results(), **options)
        self._candidates = create(PoseArray, '~/candidate_poses', qos.results(1))
        self._map_markers = create(MarkerArray, '~/map_markers', qos.latched())
        self._match_markers = create(MarkerArray, '~/match_markers', qos.results(1))
        # reliable: whoever wants best effort gets it too, the other way round nothing arrives
        self._debug = create(CompressedImage, '~/debug_image/compressed', qos.results(1))

    def publish(
        self, header: Header, recognition: Recognition, image: ImageArray,
        query_pose: Pose | None, thumbnail: Callable[[int], bytes | None]
    ) -> None:
        """
        Publish everything one image led to; called by the worker thread.

        :param header: header of the image
        :param recognition: the answer
        :param image: the decoded image, for the debug picture
        :param query_pose: the pose the image was taken at, where known
        :param thumbnail: keyframe id -> encoded small image, or None
        """
        match = recognition.match
        if match is not None and match.keyframe.pose is not None:
            self._publish_pose(match.keyframe.pose, recognition.stamp_ns)
        self._matches.publish(cloud_from_matches(match_rows(recognition), header))
        if _wanted(self._candidates):
            self._candidates.publish(candidate_poses(recognition, self.config.map_frame))
        if _wanted(self._match_markers):
            self._match_markers.publish(
                match_markers(recognition, query_pose, self.config.map_frame))
        if _wanted(self._debug):
            self._debug.publish(debug_image(header, recognition, image, thumbnail))

    def publish_map(self, keyframes: Iterable[Keyframe]) -> None:
        """Publish the places of the map; late subscribers get them too."""
        stamp_ns = self._node.get_clock().now().nanoseconds
        self._map_markers.publish(map_markers(keyframes, stamp_ns, self.config.map_frame))

    def map_is_watched(self) -> bool:
        """Return whether somebody looks at the places of the map."""
        return _wanted(self._map_markers)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._matches, self._pose, self._candidates, self._map_markers,
                          self._match_markers, self._debug):
            self._node.destroy_lifecycle_publisher(publisher)
        if self._map_to_odom is not None:
            self._map_to_odom.close()

    def _publish_pose(self, pose: Pose, stamp_ns: int) -> None:
        config = self.config
        self._pose.publish(pose_with_covariance(
            pose, stamp_ns, map_frame=config.map_frame, position_std_m=config.position_std_m,
            yaw_std_rad=config.yaw_std_rad))
        if self._map_to_odom is not None:
            self._map_to_odom.publish(pose, stamp_ns)


def _wanted(publisher: Any) -> bool:
    """Return whether somebody subscribes."""
    return bool(publisher.get_subscription_count() > 0)


def map_markers(keyframes: Iterable[Keyframe], stamp_ns: int, frame_id: str) -> MarkerArray:
    """
    Return the places of the map as one list of points, replacing what was shown before.

    :param keyframes: places; those without a pose are left out
    :param stamp_ns: stamp of the message
    :param frame_id: frame of the map
    """
    header = header_at(stamp_ns, frame_id)
    markers = [Marker(header=header, ns='map', action=Marker.DELETEALL)]
    points = [point(k.pose) for k in keyframes if k.pose is not None]
    if points:
        markers.append(_marker(header, 'map', Marker.POINTS, _BLUE, (0.2, 0.2, 0.0),
                               points=points))
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
            sphere = _marker(header, 'candidates', Marker.SPHERE, _AMBER, (0.3, 0.3, 0.3),
                             candidate.keyframe.pose, id=number)
            sphere.color.a = float(min(max(recognition.confidences[number], 0.15), 1.0))
            markers.append(sphere)
    match = recognition.match
    if match is not None and match.keyframe.pose is not None:
        place = match.keyframe.pose
        text = _marker(header, 'confidence', Marker.TEXT_VIEW_FACING, _GREEN, (0.0, 0.0, 0.4),
                       place, text=f'{match.confidence:.2f}')
        text.pose.position.z += 0.6
        markers += [
            _marker(header, 'match', Marker.ARROW, _GREEN, (1.0, 0.15, 0.15), place), text]
        if query_pose is not None:
            markers.append(_marker(header, 'error', Marker.LINE_LIST, _GREEN, (0.05, 0.0, 0.0),
                                   points=[point(query_pose), point(place)]))
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


def debug_image(
    header: Header, recognition: Recognition, image: ImageArray,
    thumbnail: Callable[[int], bytes | None]
) -> CompressedImage:
    """
    Return the query beside the believed place, and below in words what became of it, as JPEG.

    :param header: of the query
    :param recognition: the answer
    :param image: the query, RGB uint8 ``(H, W, 3)``
    :param thumbnail: keyframe id -> encoded small image, or None
    """
    query = _fit(image)
    gap = np.zeros((_HEIGHT, _GAP, 3), np.uint8)
    picture = np.concatenate([query, gap, _place_panel(recognition, thumbnail, query)], axis=1)
    width = picture.shape[1]
    words = textwrap.wrap(describe_answer(recognition), width // _LETTER)[:_LINES]
    colour = _DOUBTFUL if recognition.match is None else _ACCEPTED
    bars = [_write(np.zeros((_LINE_HEIGHT, width, 3), np.uint8), line, colour)
            for line in (*words, '', '')[:_LINES]]
    message = compressed_message(np.concatenate([picture, *bars]))
    message.header = header
    return message


def _place_panel(
    recognition: Recognition, thumbnail: Callable[[int], bytes | None], query: ImageArray
) -> ImageArray:
    """Return the believed place, or words at the query's size."""
    shown = None if recognition.decision is None else recognition.decision.keyframe
    stored = thumbnail(shown.keyframe_id) if shown is not None else None
    if stored:
        return _fit(rgb_from_encoded(stored, name='thumbnail'))
    return _write(np.zeros_like(query), 'no thumbnail in the map', _MISSING)


def _fit(image: ImageArray) -> ImageArray:
    """Return an image at the height of the picture."""
    width = max(1, round(image.shape[1] * _HEIGHT / image.shape[0]))
    way = cv2.INTER_AREA if image.shape[0] > _HEIGHT else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, _HEIGHT), interpolation=way), np.uint8)


def _write(panel: ImageArray, text: str, colour: tuple[int, int, int]) -> ImageArray:
    """Write a line into a panel, at half its height."""
    cv2.putText(panel, text, (4, panel.shape[0] // 2 + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour,
                1, cv2.LINE_AA)
    return panel


def _marker(
    header: Header, space: str, kind: int, colour: tuple[float, float, float],
    scale: tuple[float, float, float], pose: Pose = _ORIGIN, **fields: Any
) -> Marker:
    """Return an opaque marker of one colour; further arguments are fields of the message."""
    red, green, blue = colour
    x, y, z = scale
    return Marker(
        header=header, ns=space, type=kind, action=Marker.ADD, pose=pose_to_message(pose),
        scale=Vector3(x=x, y=y, z=z), color=ColorRGBA(r=red, g=green, b=blue, a=1.0), **fields)
