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

"""The lifecycle of the node, asked over DDS, and what it refuses at configure."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import re
import stat
from typing import Any

from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_harness import GatedExtractor
from ros_harness import PixelExtractor

from vpr_compressed.errors import ModelFileError
from vpr_compressed.records import ImageArray
from vpr_compressed.ros.place_recognition.node import PlaceRecognitionNode

Stamp = Callable[[int], int]
FAILURE = TransitionCallbackReturn.FAILURE


def test_the_life_of_a_node_can_be_lived_twice(
    local_node: Any, peer: Any, walk_map: Path, places: list[ImageArray], stamp: Stamp
) -> None:
    """Configure, activate, deactivate, clean up, and all again, over the services."""
    node = local_node(mode='localization', map_path=str(walk_map)).spin()

    def change(label: str, transition: int) -> str:
        request = ChangeState.Request()
        request.transition.id = transition
        assert peer.request(ChangeState, '/place_recognition/change_state', request).success, label
        answer = peer.request(GetState, '/place_recognition/get_state', GetState.Request())
        return str(answer.current_state.label)

    for life in range(2):
        assert change('configure', 1) == 'inactive'
        assert node.node.pipeline is not None
        assert change('activate', 3) == 'active'
        rows = peer.ask(places[3], stamp(life))
        assert rows['keyframe_id'][0] == 4
        assert change('deactivate', 4) == 'inactive'
        assert peer.until(lambda: peer.count_subscribers('/image') == 0), 'still listening'
        assert change('cleanup', 2) == 'unconfigured'
        assert node.node.pipeline is None, 'the model is still in memory'
        peer._publishers_by_topic.clear()


def test_an_image_while_inactive_is_not_answered_later(
    local_node: Any, peer: Any, walk_map: Path, places: list[ImageArray], stamp: Stamp
) -> None:
    """The image in hand at deactivation is answered, the one in the mailbox is gone."""
    engine = GatedExtractor()
    node = local_node(
        engine, mode='localization', map_path=str(walk_map), image_qos='reliable').start()
    engine.hold()
    peer.send(places[0], stamp(0))
    assert peer.until(engine.busy.is_set)
    peer.send(places[1], stamp(1))
    pipeline = node.node.pipeline
    assert peer.until(lambda: pipeline.statistics.counts.received == 2)
    with ThreadPoolExecutor() as pool:
        deactivated = pool.submit(node.node.trigger_deactivate)
        assert peer.until(lambda: pipeline._thread._item is None)
        engine.go_on()
    assert deactivated.result() == TransitionCallbackReturn.SUCCESS
    peer.send(places[1], stamp(2))
    node.node.trigger_activate()
    peer._publishers_by_topic.clear()
    peer.ask(places[2], stamp(3))
    assert sorted(peer.matches) == [stamp(0), stamp(3)]


@pytest.mark.parametrize(('parameters', 'message'), [
    ({'mode': 'localisation'}, "mode is 'localisation'; choose one of 'mapping'"),
    ({'mode': 'localization'}, 'needs parameter map_path'),
    ({'mode': 'localization', 'map_path': '{tmp}/none.map'}, 'none.map does not exist'),
    ({'mode': 'slam', 'top_k': 3}, "no parameter 'top_k'"),
    ({'mode': 'slam', 'recognizer__topk': 3}, "did you mean 'recognizer.top_k'"),
    ({'mode': 'slam', 'recognizer__top_k': 0}, 'top_k is 0'),
    ({'mode': 'slam', 'decision__min_precision': 1.0}, r'decision.min_precision is 1.0'),
    ({'mode': 'slam', 'odometry_source': 'tf'}, 'odometry_source: tf needs.*tf2_ros'),
    ({'mode': 'slam', 'publish_map_to_odom_tf': True}, 'tf2_ros'),
    ({'mode': 'mapping', 'map_path': '{tmp}/not/there/my.map'}, 'my.map'),
])
def test_what_cannot_work_is_refused_at_configure_with_the_reason(
    local_node: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    parameters: dict[str, object], message: str
) -> None:
    """FAILURE with one log line, never a traceback, and nothing is left running."""
    given = {name: value.format(tmp=tmp_path) if isinstance(value, str) else value
             for name, value in parameters.items()}
    node = local_node(**given).node
    assert node.trigger_configure() == FAILURE
    said = capfd.readouterr().err
    assert 'cannot configure' in said
    assert 'Traceback' not in said
    assert re.search(message, said), said
    assert node.pipeline is None


def test_a_map_of_another_model_is_refused(
    local_node: Any, walk_map: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its descriptors would be compared with others of no relation."""
    other = PixelExtractor()
    other.descriptor_id = 'another0model000'
    node = local_node(other, mode='localization', map_path=str(walk_map)).node
    assert node.trigger_configure() == FAILURE
    said = capfd.readouterr().err
    assert 'feedfacefeedface' in said
    assert 'another0model000' in said


def test_a_map_in_a_folder_nobody_may_write_is_refused(
    local_node: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before the robot has driven its round, not after."""
    folder = tmp_path / 'locked'
    folder.mkdir()
    (folder / 'walk.map').mkdir()  # root may write anywhere, but not a file over a folder
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    node = local_node(mode='mapping', map_path=str(folder / 'walk.map')).node
    assert node.trigger_configure() == FAILURE
    assert 'walk.map' in capfd.readouterr().err


def test_a_model_that_cannot_be_loaded_is_refused_and_a_second_try_may_succeed(
    context: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """The reason is in the log; nothing of the first try is in the way of the second."""
    extractors: list[Any] = [ModelFileError('model x.vpr is truncated'), PixelExtractor()]

    def load(*_: Any, **__: Any) -> Any:
        found = extractors.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    node = PlaceRecognitionNode(loader=load, context=context, parameter_overrides=[
        Parameter('mode', value='slam')])
    assert node.trigger_configure() == FAILURE
    assert 'cannot configure: model x.vpr is truncated' in capfd.readouterr().err
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    node.close()
    node.destroy_node()
