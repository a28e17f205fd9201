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

from geometry_msgs.msg import PoseArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from vpr_compressed.records import ImageArray
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Pose
from vpr_compressed.records import Recognition
from vpr_compressed.ros import qos
from vpr_compressed.ros.conversions import cloud_from_matches
from vpr_compressed.ros.conversions import match_rows
from vpr_compressed.ros.conversions import pose_with_covariance
from vpr_compressed.ros.place_recognition import markers
from vpr_compressed.ros.place_recognition.config import PlaceRecognitionConfig
from vpr_compressed.ros.place_recognition.debug_image import debug_image
from vpr_compressed.ros.place_recognition.debug_image import shown_place
from vpr_compressed.ros.place_recognition.tf import import_tf2
from vpr_compressed.ros.place_recognition.tf import MapToOdom


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
            self._candidates.publish(
                markers.candidate_poses(recognition, self.config.map_frame))
        if _wanted(self._match_markers):
            self._match_markers.publish(
                markers.match_markers(recognition, query_pose, self.config.map_frame))
        if _wanted(self._debug):
            place = shown_place(recognition)
            stored = None if place is None else thumbnail(place)
            self._debug.publish(debug_image(header, recognition, image, stored))

    def publish_map(self, keyframes: Iterable[Keyframe]) -> None:
        """Publish the places of the map; late subscribers get them too."""
        stamp_ns = self._node.get_clock().now().nanoseconds
        self._map_markers.publish(
            markers.map_markers(keyframes, stamp_ns, self.config.map_frame))

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
