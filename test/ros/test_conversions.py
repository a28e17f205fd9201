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

"""Messages say what the records said, and consumers accept them."""

from __future__ import annotations

import math
from types import SimpleNamespace

from geometry_msgs.msg import PoseStamped
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
import numpy as np
import pytest

from vpr_compressed.records import Candidate
from vpr_compressed.records import Decision
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Pose
from vpr_compressed.records import Recognition
from vpr_compressed.records import Status
from vpr_compressed.ros import conversions
from vpr_compressed.ros.place_recognition import outputs
from vpr_compressed.sources.frames import stamp_to_ns
from vpr_compressed.sources.poses import decode_pose

STAMP_NS = 1_700_000_000_123_456_789
NEAR = Keyframe(
    keyframe_id=7, session=2, stamp_ns=1_600_000_000_000_000_001, external_id='41',
    pose=Pose(position_m=(1.5, -2.0, 0.25), orientation_xyzw=(0.0, 0.0, 0.6, 0.8),
              covariance_diagonal=(0.04, 0.04, 0.0, 0.0, 0.0, 0.01)))
UNPOSED = Keyframe(keyframe_id=9, session=3, stamp_ns=5, external_id='a41')


def believing(
    keyframe: Keyframe | None, status: Status, similarity: float = 0.9, confidence: float = 0.97
) -> Decision:
    """Return what is said of a place."""
    return Decision(status=status, keyframe=keyframe, similarity=similarity,
                    confidence=confidence, reason=status.words)


def recognition(*candidates: Candidate, decision: Decision | None = None) -> Recognition:
    """Return what an image led to."""
    return Recognition(
        stamp_ns=STAMP_NS, descriptor=np.zeros(4, np.float32), candidates=candidates,
        confidences=tuple(0.5 for _ in candidates), decision=decision)


def nav2_accepts(message: PoseWithCovarianceStamped) -> bool:
    """Port of nav2_ros_common/validate_messages.hpp, which guards AMCL's /initialpose."""
    turn = message.pose.pose.orientation
    place = message.pose.pose.position
    numbers = [turn.x, turn.y, turn.z, turn.w, place.x, place.y, place.z]
    if not message.header.frame_id or not all(math.isfinite(n) for n in numbers):
        return False
    if abs(sum(n * n for n in numbers[:4]) - 1.0) > 1e-4:
        return False
    return all(math.isfinite(v) and 0.0 <= v <= 1e9 for v in message.pose.covariance)


def test_stamps_survive_the_round_trip_to_the_nanosecond() -> None:
    """A float anywhere would lose the last digits."""
    message = conversions.stamp_from_ns(STAMP_NS)
    assert (message.sec, message.nanosec) == (1_700_000_000, 123_456_789)
    assert stamp_to_ns(message) == STAMP_NS


def test_a_published_pose_is_one_nav2_accepts() -> None:
    """Diagonal, with the keyframe's own variance plus how far the robot may be from it."""
    message = conversions.pose_with_covariance(
        NEAR.pose, STAMP_NS, position_std_m=0.5, yaw_std_rad=0.1)
    assert nav2_accepts(message)
    covariance = np.reshape(message.pose.covariance, (6, 6))
    np.testing.assert_allclose(np.diag(covariance), [0.29, 0.29, 0.25, 0.01, 0.01, 0.02])
    assert np.count_nonzero(covariance) == 6
    assert stamp_to_ns(message.header.stamp) == STAMP_NS
    assert message.header.frame_id == 'map'
    assert (message.pose.pose.position.x, message.pose.pose.position.y) == (1.5, -2.0)


@pytest.mark.parametrize('variance', [-1.0, math.nan, math.inf, 1e12])
def test_an_absurd_variance_becomes_one_nav2_accepts(variance: float) -> None:
    """A SLAM that stores -1 for "unknown" must not make AMCL refuse the pose."""
    pose = Pose(position_m=(0.0, 0.0, 0.0), covariance_diagonal=(variance,) * 6)
    message = conversions.pose_with_covariance(pose, STAMP_NS, position_std_m=2.0)
    assert nav2_accepts(message)
    assert set(message.pose.covariance[::7]) == {1e9}, 'what is not known looks certain'


def test_a_quaternion_that_is_not_unit_is_normalised() -> None:
    """Nav2 tolerates 1e-4."""
    pose = Pose(position_m=(0.0, 0.0, 0.0), orientation_xyzw=(0.0, 0.0, 3.0, 4.0))
    message = conversions.pose_with_covariance(pose, STAMP_NS)
    assert nav2_accepts(message)
    assert message.pose.pose.orientation.z == pytest.approx(0.6)


def test_matches_carry_every_column_to_the_other_side() -> None:
    """What goes into the cloud comes out of the helper, the believed place first."""
    rows = conversions.match_rows(recognition(
        Candidate(UNPOSED, 0.95), Candidate(NEAR, 0.9),
        decision=believing(NEAR, Status.ACCEPTED)))
    cloud = conversions.cloud_from_matches(rows, conversions.header_at(STAMP_NS, 'camera'))
    assert (cloud.height, cloud.width, cloud.is_dense) == (1, 2, False)
    assert cloud.row_step == len(cloud.data) == 2 * cloud.point_step
    first, second = conversions.matches_from_cloud(cloud)
    np.testing.assert_allclose(
        [first[n] for n in ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw', 'similarity', 'confidence')],
        [1.5, -2.0, 0.25, 0.0, 0.0, 0.6, 0.8, 0.9, 0.97], atol=1e-6)
    assert (first['keyframe_id'], first['status']) == (7, 1)
    assert (first['stamp_sec'], first['stamp_nanosec']) == (1_600_000_000, 1)
    assert first['external_id'] == 41
    assert np.isnan([second[name] for name in ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')]).all()
    assert (second['keyframe_id'], second['session'], second['status']) == (9, 3, 0)
    assert (second['external_id'], second['confidence']) == (0, 0.5)


@pytest.mark.parametrize('decision', [None, believing(None, Status.EMPTY_MAP)])
def test_nothing_to_search_is_a_cloud_of_no_rows(decision: Decision | None) -> None:
    """While mapping, and in an empty map."""
    cloud = conversions.cloud_from_matches(
        conversions.match_rows(recognition(decision=decision)),
        conversions.header_at(STAMP_NS, 'camera'))
    rows = conversions.matches_from_cloud(cloud)
    assert (cloud.width, cloud.height, len(cloud.data), len(rows)) == (0, 1, 0, 0)
    assert 'similarity' in rows.dtype.names


@pytest.mark.parametrize(('status', 'number'), [
    (Status.ACCEPTED, 1), (Status.UNKNOWN, 2), (Status.LOOK_ALIKE, 3), (Status.STANDING, 4),
    (Status.UNSURE, 5)])
@pytest.mark.parametrize('candidate', [True, False])
def test_the_believed_place_comes_first_and_says_what_became_of_it(
    status: Status, number: int, candidate: bool
) -> None:
    """The walk may settle on a place the newest image ranks low; 1 alone means accepted."""
    found = (Candidate(UNPOSED, 0.8), Candidate(NEAR, 0.7))[:1 + candidate]
    rows = conversions.match_rows(recognition(
        *found, decision=believing(NEAR, status, similarity=0.7, confidence=0.9)))
    assert rows['keyframe_id'].tolist() == [7, 9]
    assert rows['status'].tolist() == [number, 0]
    np.testing.assert_allclose(rows['confidence'], [0.9, 0.5])
    np.testing.assert_allclose(rows['similarity'], [0.7, 0.8])


def test_rviz_can_show_the_rows_as_points() -> None:
    """A point display wants x, y, z as float32 without gaps."""
    cloud = conversions.cloud_from_matches(
        conversions.match_rows(recognition(Candidate(NEAR, 0.9))),
        conversions.header_at(STAMP_NS, 'map'))
    fields = {field.name: (field.offset, field.datatype) for field in cloud.fields}
    assert [fields[name] for name in 'xyz'] == [(0, 7), (4, 7), (8, 7)]
    assert cloud.is_dense


def test_the_helper_reads_other_layouts_and_byte_orders() -> None:
    """A bridge may repack the cloud; the field table decides."""
    data = np.zeros(2, [('pad', 'u1', 3), ('similarity', '>f4'), ('keyframe_id', '>u4')])
    data['similarity'], data['keyframe_id'] = [0.5, 0.25], [3, 70_000]
    cloud = SimpleNamespace(
        fields=[SimpleNamespace(name='similarity', offset=3, datatype=7),
                SimpleNamespace(name='keyframe_id', offset=7, datatype=6)],
        is_bigendian=True, point_step=data.itemsize, width=2, height=1, data=data.tobytes())
    rows = conversions.matches_from_cloud(cloud)
    assert rows['similarity'].tolist() == [0.5, 0.25]
    assert rows['keyframe_id'].tolist() == [3, 70_000]
    cloud.data = cloud.data[:-1]
    with pytest.raises(ValueError, match='21 bytes, its 2 points'):
        conversions.matches_from_cloud(cloud)


@pytest.mark.parametrize(('text', 'number'), [
    ('', 0.0), ('12', 12.0), ('-3', 0.0), ('a12', 0.0), (str(2**53), float(2**53)),
    ('9' * 400, 0.0)])
def test_external_ids_are_numbers_or_zero(text: str, number: float) -> None:
    """Point fields hold numbers only."""
    assert conversions.numeric_external_id(text) == number


@pytest.mark.parametrize('kind', [PoseStamped, PoseWithCovarianceStamped, Odometry])
def test_poses_are_read_from_each_message_type(kind: type) -> None:
    """The three types nest position and covariance differently."""
    message = kind(header=conversions.header_at(STAMP_NS, 'odom'))
    plain = message.pose if kind is PoseStamped else message.pose.pose
    plain.position.x, plain.orientation.w = 4.0, 2.0
    if kind is not PoseStamped:
        message.pose.covariance[0] = 0.5
        message.pose.covariance[35] = -1.0
    stamp_ns, pose = decode_pose(message)
    assert stamp_ns == STAMP_NS
    assert pose.position_m == (4.0, 0.0, 0.0)
    assert pose.orientation_xyzw == (0.0, 0.0, 0.0, 1.0)
    assert pose.frame_id == 'odom'
    assert pose.covariance_diagonal == (
        (0.0,) * 6 if kind is PoseStamped else (0.5, 0.0, 0.0, 0.0, 0.0, 1e9))


@pytest.mark.parametrize(('x', 'w'), [(math.nan, 1.0), (math.inf, 1.0), (0.0, 0.0)])
def test_a_pose_without_meaning_is_refused(x: float, w: float) -> None:
    """An all-zero quaternion is what an unfilled message has."""
    message = PoseStamped()
    message.pose.position.x, message.pose.orientation.w = x, w
    with pytest.raises(ValueError, match='is not a pose'):
        decode_pose(message)


def test_markers_show_only_what_has_a_pose() -> None:
    """The first marker clears what was shown before."""
    array = outputs.map_markers([NEAR, UNPOSED], STAMP_NS, 'map')
    assert [marker.action for marker in array.markers] == [3, 0]
    assert [(p.x, p.y, p.z) for p in array.markers[1].points] == [(1.5, -2.0, 0.25)]
    assert len(outputs.map_markers([], STAMP_NS, 'map').markers) == 1
    seen = recognition(Candidate(NEAR, 0.9), Candidate(UNPOSED, 0.8),
                       decision=believing(NEAR, Status.ACCEPTED))
    line = outputs.match_markers(seen, Pose(position_m=(1.0, 0.0, 0.0)), 'map').markers[-1]
    assert [(p.x, p.y) for p in line.points] == [(1.0, 0.0), (1.5, -2.0)]
    assert len(outputs.match_markers(seen, None, 'map').markers) == 4
    assert len(outputs.candidate_poses(seen, 'map').poses) == 1
