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

"""Stamps, poses, images and matches as ROS messages; no node, no algorithm."""

from __future__ import annotations

import array
from functools import lru_cache
from typing import Any

from builtin_interfaces.msg import Time
import cv2
from geometry_msgs.msg import Pose as PoseMessage
from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from sensor_msgs.msg import PointCloud2
from sensor_msgs.msg import PointField
from std_msgs.msg import Header

from vpr_compressed.records import ImageArray
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Pose
from vpr_compressed.records import Recognition
from vpr_compressed.records import Status
from vpr_compressed.sources.poses import unit_quaternion
from vpr_compressed.sources.poses import UNKNOWN_VARIANCE

Quaternion = tuple[float, float, float, float]
_NS = 1_000_000_000
_UINT32_MAX = (1 << 32) - 1
_NAN = float('nan')

#: One row of ``~/matches``. ``x`` to ``qw`` are the pose of the keyframe in the frame of the map
#: (NaN: it has none), the stamp is the keyframe's, ``external_id`` its numeric key in another
#: system (0: none or not a number; exact up to 2^53), ``status`` a number of ``Status``.
MATCH_DTYPE = np.dtype([
    ('x', '<f4'), ('y', '<f4'), ('z', '<f4'),
    ('qx', '<f4'), ('qy', '<f4'), ('qz', '<f4'), ('qw', '<f4'),
    ('similarity', '<f4'), ('confidence', '<f4'),
    ('keyframe_id', '<u4'), ('stamp_sec', '<i4'), ('stamp_nanosec', '<u4'),
    ('external_id', '<f8'), ('session', '<u4'), ('status', 'u1'), ('padding', 'V3')])

_POINT_TYPES = {
    PointField.INT8: 'i1', PointField.UINT8: 'u1', PointField.INT16: 'i2',
    PointField.UINT16: 'u2', PointField.INT32: 'i4', PointField.UINT32: 'u4',
    PointField.FLOAT32: 'f4', PointField.FLOAT64: 'f8'}
_TYPE_CODES = {code: number for number, code in _POINT_TYPES.items()}


def stamp_from_ns(stamp_ns: int) -> Time:
    """Return nanoseconds as ``builtin_interfaces/Time``."""
    sec, nanosec = divmod(int(stamp_ns), _NS)
    return Time(sec=sec, nanosec=nanosec)


def header_at(stamp_ns: int, frame_id: str) -> Header:
    """Return a header with this stamp and frame."""
    return Header(stamp=stamp_from_ns(stamp_ns), frame_id=frame_id)


def rotation(quaternion: Quaternion) -> Quaternion:
    """Return a quaternion (xyzw) with norm 1; no rotation for one without direction."""
    return unit_quaternion(quaternion) or (0.0, 0.0, 0.0, 1.0)


def pose_to_message(pose: Pose) -> PoseMessage:
    """Return position and orientation as ``geometry_msgs/Pose``."""
    message = PoseMessage()
    place, turn = message.position, message.orientation
    place.x, place.y, place.z = map(float, pose.position_m)
    turn.x, turn.y, turn.z, turn.w = rotation(pose.orientation_xyzw)
    return message


def pose_with_covariance(
    pose: Pose, stamp_ns: int, *, map_frame: str = 'map', position_std_m: float = 0.0,
    yaw_std_rad: float = 0.0
) -> PoseWithCovarianceStamped:
    """
    Return a pose with a diagonal covariance that Nav2 accepts.

    :param pose: pose of the robot base; its own variances are kept and added to
    :param stamp_ns: stamp of the query image in nanoseconds
    :param map_frame: frame when the pose names none
    :param position_std_m: standard deviation added to x, y, z in metres
    :param yaw_std_rad: standard deviation added to roll, pitch, yaw in radians
    """
    message = PoseWithCovarianceStamped(header=header_at(stamp_ns, pose.frame_id or map_frame))
    message.pose.pose = pose_to_message(pose)
    extra = (position_std_m ** 2,) * 3 + (yaw_std_rad ** 2,) * 3
    message.pose.covariance = np.diag([
        min(own + more, UNKNOWN_VARIANCE) if own >= 0.0 else UNKNOWN_VARIANCE
        for own, more in zip(pose.covariance_diagonal, extra)]).ravel()
    return message


def match_rows(recognition: Recognition) -> NDArray[Any]:
    """
    Return the answer to one image as rows of ``MATCH_DTYPE``.

    :returns: the believed place with the status of the decision, candidate or not; then the
        other candidates, the most similar first. No row when there was nothing to search
    """
    rows, decision = [], recognition.decision
    believed = None if decision is None else decision.keyframe
    if decision is not None and believed is not None:
        rows.append(_match_row(
            believed, decision.similarity, decision.confidence, decision.status))
    rows += [
        _match_row(candidate.keyframe, candidate.similarity, confidence, Status.CANDIDATE)
        for candidate, confidence in zip(recognition.candidates, recognition.confidences)
        if believed is None or candidate.keyframe.keyframe_id != believed.keyframe_id]
    return np.array(rows, MATCH_DTYPE)


def cloud_from_matches(rows: NDArray[Any], header: Header) -> PointCloud2:
    """
    Return rows of ``MATCH_DTYPE`` as a PointCloud2 of height 1.

    :param rows: ``(N,)``, N may be 0
    :param header: header of the query image
    """
    return PointCloud2(
        header=header, height=1, width=len(rows), fields=[*_match_fields()], is_bigendian=False,
        point_step=MATCH_DTYPE.itemsize, row_step=MATCH_DTYPE.itemsize * len(rows),
        data=bytes_for_message(rows.tobytes()), is_dense=bool(np.isfinite(rows['x']).all()))


@lru_cache(maxsize=1)
def _match_fields() -> tuple[PointField, ...]:
    """Return the fields of every answer; making 14 messages anew takes as long as the rest."""
    return tuple(
        PointField(name=name, offset=field[1], datatype=_TYPE_CODES[field[0].str[1:]], count=1)
        for name, field in (MATCH_DTYPE.fields or {}).items() if name != 'padding')


def matches_from_cloud(cloud: Any) -> NDArray[Any]:
    """
    Return a ``~/matches`` message as a NumPy structured array, one row per place.

    :param cloud: PointCloud2 from rclpy or rosbags, of any field layout and byte order
    :returns: ``(N,)``, a copy, with the message's fields; the believed place first
    :raises ValueError: the data are shorter than the message says
    """
    order = '>' if cloud.is_bigendian else '<'
    dtype = np.dtype({
        'names': [field.name for field in cloud.fields],
        'formats': [order + _POINT_TYPES[field.datatype] for field in cloud.fields],
        'offsets': [field.offset for field in cloud.fields],
        'itemsize': cloud.point_step})
    count = int(cloud.width) * int(cloud.height)
    if len(cloud.data) < count * cloud.point_step:
        raise ValueError(f'PointCloud2 has {len(cloud.data)} bytes, its {count} points of '
                         f'{cloud.point_step} bytes need {count * cloud.point_step}')
    return np.frombuffer(cloud.data, dtype, count).copy() if count else np.zeros(0, dtype)


def image_message(image: ImageArray) -> Image:
    """Return RGB pixels, uint8 ``(H, W, 3)``, as an ``rgb8`` image without header."""
    height, width = image.shape[:2]
    return Image(height=height, width=width, encoding='rgb8', is_bigendian=0, step=3 * width,
                 data=bytes_for_message(np.ascontiguousarray(image).data.cast('B')))


def compressed_message(image: ImageArray, codec: str = 'jpeg') -> CompressedImage:
    """
    Return RGB pixels, uint8 ``(H, W, 3)``, as an encoded image without header.

    :param codec: ``jpeg``, or ``png``, which loses nothing
    """
    # OpenCV complains in the log about a setting of another codec.
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 1] if codec == 'png' else []
    _, data = cv2.imencode(f'.{codec}', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)
    return CompressedImage(format=f'rgb8; {codec} compressed bgr8',
                           data=bytes_for_message(data.tobytes()))


def bytes_for_message(data: Any) -> array.array[int]:
    """Return bytes as the one type that is fast for ``uint8[]`` fields in every ROS 2."""
    buffer = array.array('B')
    buffer.frombytes(data)
    return buffer


def numeric_external_id(text: str) -> float:
    """Return an external id as a number, 0 when it is empty or not a non-negative number."""
    try:
        value = float(int(text))
    except (ValueError, OverflowError):
        return 0.0
    return max(value, 0.0)


def _match_row(
    keyframe: Keyframe, similarity: float, confidence: float, status: Status
) -> tuple[Any, ...]:
    """Return the values of ``MATCH_DTYPE`` for one place."""
    pose = keyframe.pose
    return (
        *((_NAN,) * 7 if pose is None else (*pose.position_m, *pose.orientation_xyzw)),
        similarity, confidence, min(max(keyframe.keyframe_id, 0), _UINT32_MAX),
        *divmod(keyframe.stamp_ns, _NS), numeric_external_id(keyframe.external_id),
        keyframe.session, status, b'')
