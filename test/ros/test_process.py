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

"""The node in its own process: start, speed, and both kinds of end."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import signal
import sqlite3
import subprocess
import sys
from typing import Any

import cv2
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_harness import ROOT

from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import ImageArray
from vpr_compressed.ros.place_recognition.node import PlaceRecognitionNode
from vpr_compressed.runtime.extractor import load_extractor

Stamp = Callable[[int], int]


def test_a_node_that_cannot_start_exits_with_the_reason(node_process: Any) -> None:
    """``ros2 launch`` and systemd see the exit code."""
    process = node_process(mode='localization')
    assert process.wait() == 1
    assert 'cannot configure: mode localization needs parameter map_path' in process.text
    assert 'Traceback' not in process.text


@pytest.mark.parametrize('damage', ['missing', 'truncated'])
def test_a_model_that_cannot_be_read_is_named_in_the_reason(
    damage: str, context: Any, tmp_path: Path, tiny_model_path: Path,
    capfd: pytest.CaptureFixture[str]
) -> None:
    """The path that was tried tells a typo from a missing installation."""
    model = tmp_path / 'broken.vpr'
    if damage == 'truncated':
        model.write_bytes(tiny_model_path.read_bytes()[:-100])
    node = PlaceRecognitionNode(context=context, parameter_overrides=[
        Parameter('mode', value='slam'), Parameter('model_path', value=str(model))])
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    said = capfd.readouterr().err
    assert 'cannot configure: ' in said
    assert str(model) in said
    assert 'Traceback' not in said
    node.destroy_node()


def test_the_first_image_is_matched_by_a_warm_engine(
    node_process: Any, peer: Any, tmp_path: Path, tiny_model_path: Path,
    places: list[ImageArray], stamp: Stamp
) -> None:
    """After a cold start of the robot nobody waits for the graph, which ran once at configure."""
    extractor = load_extractor(tiny_model_path)
    path = tmp_path / 'walk.map'
    with PlaceMap.create(path, descriptor_id=extractor.descriptor_id,
                         dimension=extractor.dimension) as place_map:
        for number, image in enumerate(places):
            place_map.add(extractor.describe(image), stamp_ns=number)
    process = node_process(mode='localization', map_path=path, model_path=tiny_model_path,
                           image_qos='reliable')
    process.wait_until_active(peer)
    assert process.text.index('first inference took') < process.text.index('active in mode')
    assert peer.ask(places[4], stamp(0))['similarity'].max() > 0.99


def test_a_kill_while_mapping_loses_at_most_the_last_place(
    node_process: Any, peer: Any, tmp_path: Path, tiny_model_path: Path,
    places: list[ImageArray], stamp: Stamp
) -> None:
    """The battery falls out: what was answered is on disk."""
    path = tmp_path / 'walk.map'
    process = node_process(mode='mapping', map_path=path, model_path=tiny_model_path,
                           image_qos='reliable')
    process.wait_until_active(peer)
    for number in range(8):
        peer.ask(places[number], stamp(number))
    peer.send(places[8], stamp(8))
    process.process.kill()
    process.wait()
    extractor = load_extractor(tiny_model_path)
    with PlaceMap.open(path, descriptor_id=extractor.descriptor_id) as place_map:
        assert len(place_map) >= 8
        best = place_map.search(extractor.describe(places[7]), 1)[0]
        assert best.keyframe.stamp_ns == stamp(7)
    with PlaceMap.open(path, read_only=False) as place_map:
        place_map.add(extractor.describe(places[9]), stamp_ns=stamp(9))


def test_sigterm_closes_the_map_into_one_file(
    node_process: Any, peer: Any, tmp_path: Path, tiny_model_path: Path,
    places: list[ImageArray], stamp: Stamp
) -> None:
    """Afterwards the one file can be copied; no journal lies beside it."""
    path = tmp_path / 'walk.map'
    process = node_process(mode='mapping', map_path=path, model_path=tiny_model_path,
                           image_qos='reliable')
    process.wait_until_active(peer)
    for number in range(3):
        peer.ask(places[number], stamp(number))
    assert process.terminate() == 0, process.text
    assert 'Traceback' not in process.text
    assert [found.name for found in tmp_path.glob('walk.map*')] == ['walk.map']
    with sqlite3.connect(path) as connection:
        assert connection.execute('SELECT count(*) FROM keyframes').fetchone() == (3,)


@pytest.mark.parametrize('hears_sigint', [True, False])
def test_every_node_ends_in_order_at_ctrl_c(
    hears_sigint: bool, node_process: Any, peer: Any, tmp_path: Path, tiny_model_path: Path,
    places: list[ImageArray]
) -> None:
    """Also where SIGINT was inherited as ignored: ``ros2 launch`` stops its nodes with it."""
    cv2.imwrite(str(tmp_path / '0.png'), places[0])
    recognition = node_process(
        hears_sigint=hears_sigint, mode='slam', model_path=tiny_model_path)
    player = node_process('player.node', hears_sigint=hears_sigint, source=tmp_path,
                          image_transport='compressed', wait_for_subscriber_s=3600.0)
    relocalizer = node_process('relocalizer_node', hears_sigint=hears_sigint)
    recognition.wait_until_active(peer)
    assert peer.until(lambda: 'playing' in player.text), player.text
    assert peer.until(lambda: '/relocalizer' in [
        f'{space}{name}' for name, space in peer.get_node_names_and_namespaces()])
    for process, code in ((recognition, 0), (player, 130), (relocalizer, 0)):
        assert process.terminate(signal.SIGINT) == code, process.text
        assert 'Traceback' not in process.text


def test_the_recognition_node_does_without_what_reads_bags() -> None:
    """That takes 5 MB of a robot's memory."""
    program = 'import sys, vpr_compressed.ros.place_recognition.node as _; print(*sys.modules)'
    run = subprocess.run(
        [sys.executable, '-c', program], env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True, text=True, check=True)
    assert 'vpr_compressed.sources.poses' in run.stdout.split()
    assert 'rosbags' not in run.stdout.split()
