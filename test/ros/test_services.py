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

"""Services, parameters, markers and diagnostics of the running node, asked over DDS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from std_srvs.srv import SetBool
from visualization_msgs.msg import MarkerArray

from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Status
from vpr_compressed.ros.place_recognition import activity

Stamp = Callable[[int], int]


def test_services_answer_in_words(
    local_node: Any, peer: Any, tmp_path: Path, places: list[ImageArray], stamp: Stamp
) -> None:
    """Map two places, save, stop adding, clear."""
    path = tmp_path / 'walk.map'
    local_node(mode='mapping', map_path=str(path)).start()
    for number in range(2):
        peer.ask(places[number], stamp(number))
    saved = peer.call('save_map')
    assert (saved.success, saved.message) == (True, f'2 places in {path}')
    assert peer.call('set_mapping', SetBool.Request(data=False)).message == 'not adding places'
    peer.ask(places[2], stamp(2))
    assert peer.call('save_map').message.startswith('2 places')
    assert peer.call('set_mapping', SetBool.Request(data=True)).success
    peer.ask(places[3], stamp(3))
    cleared = peer.call('clear_map')
    assert (cleared.success, cleared.message) == (True, '3 places removed')
    refused = peer.call('trigger_localization')
    assert not refused.success
    assert 'mode mapping does not localise' in refused.message


def test_a_read_only_map_cannot_be_changed(
    local_node: Any, peer: Any, walk_map: Path
) -> None:
    """Queries must never contaminate a map."""
    local_node(mode='localization', map_path=str(walk_map)).start()
    for answer in (peer.call('set_mapping', SetBool.Request(data=True)), peer.call('clear_map')):
        assert not answer.success
        assert 'read-only in mode localization' in answer.message
    with PlaceMap.open(walk_map) as place_map:
        assert len(place_map) == 12


def test_a_map_in_memory_says_that_it_cannot_be_saved(local_node: Any, peer: Any) -> None:
    """Mode slam works without a file."""
    local_node(mode='slam').start()
    answer = peer.call('save_map')
    assert not answer.success
    assert 'map_path' in answer.message


def test_a_disabled_node_ignores_images(
    local_node: Any, peer: Any, walk_map: Path, places: list[ImageArray], stamp: Stamp
) -> None:
    """No inference, no answer, and no complaint about missing images."""
    node = local_node(mode='localization', map_path=str(walk_map), image_timeout_s=0.2).start()
    peer.ask(places[0], stamp(0))
    assert peer.call('enable', SetBool.Request(data=False)).success
    peer.send(places[1], stamp(1))
    assert peer.until(lambda: node.node.pipeline.statistics.counts.received == 2)
    assert not peer.call('trigger_localization').success
    peer.diagnostics.clear()
    assert peer.until(lambda: peer.status('input'))
    assert peer.status('input').level == DiagnosticStatus.OK
    assert peer.status('input').message == 'disabled by ~/enable'
    assert peer.call('enable', SetBool.Request(data=True)).success
    peer.ask(places[2], stamp(2))
    assert sorted(peer.matches) == [stamp(0), stamp(2)]


@pytest.mark.parametrize('way', ['service', 'topic'])
def test_a_trigger_looks_until_a_place_is_accepted(
    way: str, local_node: Any, peer: Any, walk_map: Path, again: list[ImageArray], stamp: Stamp,
    decider: Any
) -> None:
    """Isaac's handshake: the content of the message has no meaning, the answer is a match."""
    decider.needed = 2
    node = local_node(mode='localization', map_path=str(walk_map), continuous=False,
                      trigger_timeout_s=60.0, image_timeout_s=60.0).start()
    peer.send(again[0], stamp(0))
    assert peer.until(lambda: node.node.pipeline.statistics.counts.received == 1)
    if way == 'service':
        answer = peer.call('trigger_localization')
        assert answer.success, answer.message
        assert '/image for up to 60 s' in answer.message
    else:
        peer.publisher(PoseWithCovarianceStamped, '/place_recognition/trigger_localization'
                       ).publish(PoseWithCovarianceStamped())
        assert peer.until(lambda: node.node.pipeline.attempt.active)
    assert peer.ask(again[1], stamp(1))['status'].tolist() == [Status.UNSURE, 0, 0, 0, 0]
    assert peer.ask(again[2], stamp(2))['status'][0] == 1
    assert peer.until(lambda: not node.node.pipeline.attempt.active)
    assert node.node.pipeline.attempt.outcome == 'localised: place accepted, image 2'
    peer.send(again[3], stamp(3))
    assert peer.until(lambda: node.node.pipeline.statistics.counts.received == 4)
    assert sorted(peer.matches) == [stamp(1), stamp(2)], 'only the attempt is answered'


def test_a_trigger_forgets_what_was_believed_and_maps_on_in_its_session(
    local_node: Any, peer: Any, again: list[ImageArray], stamp: Stamp, decider: Any
) -> None:
    """Who asks is lost: the images before must not answer, but the map is as good as it was."""
    node = local_node(mode='slam', recognizer__exclude_recent_s=0.0).start()
    for number in range(5):
        rows = peer.ask(again[number], stamp(number))
    assert rows['status'][0] == 1
    assert peer.call('trigger_localization').success
    later = [peer.ask(again[5 + n], stamp(5 + n))['status'][0] for n in range(3)]
    assert later == [Status.UNSURE, Status.UNSURE, 1]
    assert peer.until(lambda: not node.node.pipeline.attempt.active)
    assert {k.session for k in node.node.pipeline.place_map.keyframes()} == {1}


def test_a_trigger_in_an_unknown_place_gives_up_and_says_so(
    local_node: Any, peer: Any, walk_map: Path, stamp: Stamp, rng: np.random.Generator,
    decider: Any
) -> None:
    """Not localised is an answer, too."""
    decider.withheld = Status.UNKNOWN
    node = local_node(mode='localization', map_path=str(walk_map), continuous=False,
                      trigger_timeout_s=600.0, image_timeout_s=60.0).start()
    assert peer.call('trigger_localization').success
    unknown = rng.integers(0, 256, (96, 128, 3), np.uint8)
    assert peer.ask(unknown, stamp(0))['status'].tolist() == [Status.UNKNOWN, 0, 0, 0, 0]
    node.node.pipeline.attempt._deadline_s = 0.0  # time is up
    assert peer.until(lambda: not node.node.pipeline.attempt.active)
    assert node.node.pipeline.attempt.outcome == (
        'not localised in time: nothing known looks like this, image 1')
    assert peer.until(lambda: peer.values('matching').get(
        'trigger_localization', '').startswith('not localised'))


def test_a_late_subscriber_gets_the_places_of_the_map(
    local_node: Any, peer: Any, tmp_path: Path, places: list[ImageArray], stamp: Stamp
) -> None:
    """The markers are latched, and follow the map while somebody looks."""
    local_node(mode='mapping', map_path=str(tmp_path / 'walk.map'), pose_source='topic_pose',
               pose_wait_s=10.0).start()
    peer.ask(places[0], stamp(0), x_m=1.0)
    shown: list[MarkerArray] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    peer.create_subscription(
        MarkerArray, '/place_recognition/map_markers', shown.append, latched)
    assert peer.until(lambda: shown and len(shown[-1].markers) == 2)
    peer.ask(places[1], stamp(1), x_m=2.5)
    assert peer.until(lambda: len(shown[-1].markers[-1].points) == 2)
    assert [point.x for point in shown[-1].markers[-1].points] == [1.0, 2.5]
    peer.call('clear_map')
    assert peer.until(lambda: len(shown[-1].markers) == 1), 'places are shown after clear'


def test_parameters_change_while_it_runs_or_are_refused_with_the_reason(
    local_node: Any, peer: Any, walk_map: Path, places: list[ImageArray], stamp: Stamp,
    decider: Any
) -> None:
    """top_k applies to the next image; a wrong value and a read-only one change nothing."""
    local_node(mode='localization', map_path=str(walk_map), decision__memory_s=9.0).start()
    assert decider.configs == [DecisionConfig(memory_s=9.0)]

    def change(name: str, value: object) -> Any:
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()])
        return peer.request(SetParameters, '/place_recognition/set_parameters', request).results[0]

    assert len(peer.ask(places[0], stamp(0))) == 5
    assert change('recognizer.top_k', 2).successful
    assert len(peer.ask(places[1], stamp(1))) == 2
    assert change('decision.min_precision', 0.9).successful
    refused = change('decision.min_precision', 0.2)
    assert not refused.successful
    assert 'min_precision' in refused.reason
    assert not change('model_path', '/tmp/other.vpr').successful
    assert len(peer.ask(places[2], stamp(2))) == 2
    assert decider.configs[-1] == DecisionConfig(min_precision=0.9, memory_s=9.0)


def test_diagnostics_tell_how_it_goes(
    local_node: Any, peer: Any, walk_map: Path, again: list[ImageArray], stamp: Stamp,
    decider: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rate, latency, map and matching, once a second."""
    local_node(mode='localization', map_path=str(walk_map)).start()
    assert capfd.readouterr().err.count('cautious default calibration') == 1
    for number in range(5):
        peer.ask(again[number], stamp(number))
    peer.diagnostics.clear()
    assert peer.until(lambda: peer.status('matching'))
    entries = {name: peer.values(name) for name in ('input', 'inference', 'map', 'matching')}
    assert entries['input']['topic'] == '/image'
    assert entries['input']['publishers'] == '1'
    assert entries['input']['received'] == '5'
    assert entries['input']['encoding'] == 'rgb8'
    assert float(entries['inference']['inference_ms_p95']) > 0.0
    assert float(entries['inference']['total_ms_p50']) > 0.0
    assert entries['inference']['engine'] == 'pixels'
    assert entries['map']['places'] == '12'
    assert float(entries['map']['bytes_per_place']) > 100
    assert entries['matching']['looked'] == '5'
    assert entries['inference']['calibration'] == 'cautious default calibration'
    matching = entries['matching']
    assert {name: matching[name] for name in (
        'accepted', 'unknown', 'look_alike', 'standing', 'unsure', 'empty_map')} == {
            'accepted': '3', 'unknown': '0', 'look_alike': '0', 'standing': '0', 'unsure': '2',
            'empty_map': '0'}
    assert float(matching['accept_rate']) == pytest.approx(0.6)
    assert float(matching['confidence']) == float(matching['confidence_p50']) == 0.75
    assert (matching['odometry_source'], matching['with_odometry']) == ('auto', '0')
    assert peer.status('matching').message == 'place accepted, image 5'
    assert peer.status('matching').level == DiagnosticStatus.OK
    assert peer.status('input').hardware_id == 'pixels on pixels'


@pytest.mark.parametrize(('reason', 'level'), [
    (Status.UNSURE, DiagnosticStatus.WARN), (Status.UNKNOWN, DiagnosticStatus.OK)])
def test_a_robot_that_is_never_sure_is_told_what_to_do(
    reason: Status, level: bytes, local_node: Any, peer: Any, walk_map: Path, *,
    again: list[ImageArray], stamp: Stamp, decider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning with the remedy, once it has lasted; to be off the map is no fault."""
    monkeypatch.setattr(activity, 'MANY_IMAGES', 4)
    monkeypatch.setattr(activity, 'LONG_S', 0.0)
    decider.needed, decider.withheld = 99, reason
    local_node(mode='localization', map_path=str(walk_map)).start()
    for number in range(4):
        peer.ask(again[number], stamp(number))
    assert peer.until(lambda: peer.values('matching').get('looked') == '4')
    status = peer.status('matching')
    assert status.level == level
    assert ('lower decision.min_precision' in status.message) == (reason is Status.UNSURE)
    assert ('no fault' in status.message) == (reason is Status.UNKNOWN)


def test_a_topic_that_never_starts_or_stops_is_reported(
    local_node: Any, peer: Any, walk_map: Path, places: list[ImageArray], stamp: Stamp,
    capfd: pytest.CaptureFixture[str]
) -> None:
    """The resolved topic and the number of publishers tell a typo from a dead camera."""
    local_node(mode='localization', map_path=str(walk_map), image_timeout_s=0.3).start()

    def complaint(level: bytes) -> bool:
        found = peer.status('input')
        return found is not None and found.level == level and 'no image on /image' in found.message

    assert peer.until(lambda: complaint(DiagnosticStatus.ERROR))
    assert '(0 publishers)' in peer.status('input').message
    peer.ask(places[0], stamp(0))
    peer.diagnostics.clear()
    assert peer.until(lambda: complaint(DiagnosticStatus.WARN))
    assert '(1 publisher)' in peer.status('input').message
    assert 'no image on /image' in capfd.readouterr().err
    refused = peer.call('trigger_localization')
    assert not refused.success
    assert 'no image on /image' in refused.message
