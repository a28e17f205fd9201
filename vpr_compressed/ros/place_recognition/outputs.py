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

"""The topics a node answers on; what nobody listens to is not built."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import cv2
from geometry_msgs.msg import PoseArray
from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Pose
from vpr_compressed.records import Recognition
from vpr_compressed.ros import qos
from vpr_compressed.ros.conversions import bytes_for_message
from vpr_compressed.ros.conversions import cloud_from_matches
from vpr_compressed.ros.conversions import match_rows
from vpr_compressed.ros.conversions import pose_with_covariance
from vpr_compressed.ros.place_recognition import markers
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.ros.place_recognition.diagnostics import describe_answer
from vpr_compressed.ros.place_recognition.tf import MapToOdom

_DEBUG_HEIGHT = 240


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
        create = node.create_lifecycle_publisher
        options = {'qos_overriding_options': qos.overridable()}
        self._matches = create(PointCloud2, '~/matches', qos.results(), **options)
        self._pose = create(PoseWithCovarianceStamped, '~/pose', qos.results(), **options)
        self._candidates = create(PoseArray, '~/candidate_poses', qos.results(1))
        self._map_markers = create(MarkerArray, '~/map_markers', qos.latched())
        self._match_markers = create(MarkerArray, '~/match_markers', qos.results(1))
        # reliable: whoever wants best effort gets it too, the other way round nothing arrives
        self._debug = create(CompressedImage, '~/debug_image/compressed', qos.results(1))
        self._map_to_odom = MapToOdom(node, config) if config.publish_map_to_odom_tf else None

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
            self._candidates.publish(
                markers.candidate_poses(recognition, self.config.map_frame))
        if _wanted(self._match_markers):
            self._match_markers.publish(
                markers.match_markers(recognition, query_pose, self.config.map_frame))
        if _wanted(self._debug):
            self._debug.publish(debug_image(header, recognition, image, thumbnail))

    def publish_map(self, keyframes: Iterable[Keyframe]) -> None:
        """Publish the places of the map; late subscribers get them too."""
        stamp_ns = self._node.get_clock().now().nanoseconds
        self._map_markers.publish(
            markers.map_markers(keyframes, stamp_ns, self.config.map_frame))

    def map_is_watched(self) -> bool:
        """Return whether somebody looks at the places of the map."""
        return _wanted(self._map_markers)

    def is_open(self) -> bool:
        """Return whether messages can still be published."""
        return bool(self._node.context.ok())

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


def debug_image(
    header: Header, recognition: Recognition, image: ImageArray,
    thumbnail: Callable[[int], bytes | None]
) -> CompressedImage:
    """
    Return query and most similar place side by side as JPEG, with the answer below.

    :param image: RGB uint8 ``(H, W, 3)``
    :param thumbnail: keyframe id -> encoded small image, or None
    """
    panels = [_fit(image)]
    if recognition.candidates:
        shown = (recognition.match.keyframe if recognition.match is not None
                 else recognition.candidates[0].keyframe)
        stored = thumbnail(shown.keyframe_id)
        if stored:
            panels.append(_fit(rgb_from_encoded(stored, name='thumbnail')))
    picture = np.concatenate(panels, axis=1)
    bar = np.zeros((24, picture.shape[1], 3), np.uint8)
    colour = (90, 220, 90) if recognition.match is not None else (235, 180, 60)
    cv2.putText(bar, describe_answer(recognition), (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.4,
                colour, 1, cv2.LINE_AA)
    bgr = cv2.cvtColor(np.concatenate([picture, bar]), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr)
    return CompressedImage(header=header, format='rgb8; jpeg compressed bgr8',
                           data=bytes_for_message(data.tobytes()))


def _fit(image: ImageArray) -> ImageArray:
    """Return an image at the height of the debug picture."""
    width = max(1, round(image.shape[1] * _DEBUG_HEIGHT / image.shape[0]))
    return cv2.resize(image, (width, _DEBUG_HEIGHT), interpolation=cv2.INTER_AREA)


def _wanted(publisher: Any) -> bool:
    """Return whether somebody subscribes."""
    return bool(publisher.get_subscription_count() > 0)
