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

"""The player publishes a source as it is and writes down what comes back."""

from __future__ import annotations

import json
from pathlib import Path
import re
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import pytest
from ros_harness import PixelExtractor
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from sensor_msgs.msg import PointCloud2

from vpr_compressed.errors import SourceError
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import ImageArray
from vpr_compressed.ros.conversions import cloud_from_matches
from vpr_compressed.ros.conversions import header_at
from vpr_compressed.ros.conversions import MATCH_DTYPE
from vpr_compressed.ros.player.node import due_after_s
from vpr_compressed.ros.player.node import PlayerConfig
from vpr_compressed.ros.player.recording import NodeReport
from vpr_compressed.ros.player.recording import Recording
from vpr_compressed.ros.program import diagnostic_status
from vpr_compressed.ros.program import OK
from vpr_compressed.sources import answer_log
from vpr_compressed.sources import Frame
from vpr_compressed.sources.frames import stamp_to_ns

NS = 1_000_000_000


@pytest.fixture
def folder(tmp_path: Path, places: list[ImageArray]) -> Path:
    """Return a folder of twelve images with poses, half a second and 1.5 m apart."""
    path = tmp_path / 'walk'
    path.mkdir()
    lines = ['name,stamp_ns,x_m,y_m,z_m,qx,qy,qz,qw']
    for number, image in enumerate(places):
        cv2.imwrite(str(path / f'{number}.png'), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        lines.append(f'{number}.png,{1_000 * NS + number * NS // 2},{1.5 * number},0,0,0,0,0,1')
    (path / 'poses.csv').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return path


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_a_walk_is_mapped_and_recognised_in_lock_step(
    transport: str, folder: Path, local_node: Any, node_process: Any, tmp_path: Path,
    decider: Any
) -> None:
    """Every image is answered although the engine is slower than the player."""
    path = tmp_path / 'walk.map'
    common = {'map_path': str(path), 'image_transport': transport, 'image_qos': 'reliable'}
    play = {'source': folder, 'rate': 0.0, 'wait_for_answer': True, 'image_transport': transport}
    mapper = local_node(PixelExtractor(0.02), mode='mapping', pose_source='topic_pose',
                        pose_wait_s=10.0, **common).start()
    player = node_process('player.node', **play)
    assert player.wait() == 0, player.text
    assert '0 accepted, 0 withheld, 12 unsearched, 0 unanswered' in player.text
    mapper.close()
    with PlaceMap.open(path) as place_map:
        assert [k.pose.position_m[0] for k in place_map.keyframes()] == [
            1.5 * number for number in range(12)]

    local_node(PixelExtractor(0.02), mode='localization', **common).start()
    record = tmp_path / 'answers.jsonl'
    player = node_process('player.node', record_path=record, **play)
    assert player.wait() == 0, player.text
    answers = [json.loads(line) for line in record.read_text(encoding='utf-8').splitlines()]
    assert [answer['index'] for answer in answers] == list(range(12))
    assert [answer['name'] for answer in answers] == [f'{n}.png' for n in range(12)]
    assert [answer['keyframe_id'] for answer in answers] == list(range(1, 13))
    assert '10 accepted, 2 withheld (2 not sure enough yet), 0 unsearched' in player.text
    assert [answer['status'] for answer in answers] == ['withheld'] * 2 + ['accepted'] * 10
    assert {answer['reason'] for answer in answers[:2]} == {'not sure enough yet'}
    assert [answer['pose'] is not None for answer in answers] == [False] * 2 + [True] * 10
    assert answers[5]['pose']['position_m'] == [7.5, 0.0, 0.0]
    assert answers[5]['stamp_ns'] == 1_002 * NS + NS // 2
    assert len(answers[5]['rows']) == 5
    assert all(answer['latency_ms'] > 10.0 for answer in answers)
    assert all(answer['similarity'] > 0.99 for answer in answers)


def test_published_pixels_are_those_of_the_files(
    folder: Path, node_process: Any, peer: Any, places: list[ImageArray]
) -> None:
    """A stored file is sent untouched when the transport is compressed."""
    seen: list[CompressedImage] = []
    answers = peer.create_publisher(PointCloud2, '/place_recognition/matches', 20)

    def answer(message: CompressedImage) -> None:
        seen.append(message)
        answers.publish(cloud_from_matches(np.zeros(0, MATCH_DTYPE), message.header))

    peer.create_subscription(CompressedImage, '/image/compressed', answer, 20)
    player = node_process('player.node', source=folder, rate=0.0, wait_for_answer=True,
                          image_transport='compressed')
    assert peer.until(lambda: len(seen) == 12)
    assert player.wait() == 0, player.text
    assert [bytes(m.data) for m in seen] == [
        (folder / f'{n}.png').read_bytes() for n in range(12)]
    assert [stamp_to_ns(m.header.stamp) for m in seen] == [
        1_000 * NS + n * NS // 2 for n in range(12)]


def test_the_stamps_set_the_pace(folder: Path, node_process: Any, peer: Any) -> None:
    """At ten times the speed, twelve images half a second apart take at least 0.55 s."""
    peer.create_subscription(Image, '/image', lambda message: None, 20)
    player = node_process('player.node', source=folder, rate=10.0)
    assert player.wait() == 0, player.text
    # Taken from the player's clock: when a message is handed out here is up to DDS.
    taken_s = re.search(r'played 12 images in ([0-9.]+) s', player.text)
    assert taken_s is not None, player.text
    assert float(taken_s.group(1)) >= 0.5


@pytest.mark.parametrize(('options', 'due_s'), [
    ({}, 2.0), ({'rate': 10.0}, 0.2), ({'rate': 0.0}, 0.0), ({'hz': 3.0}, 4 / 3)])
def test_an_image_is_due_when_its_stamp_or_the_rate_says(
    options: dict[str, float], due_s: float
) -> None:
    """The fifth image, two seconds after the first one."""
    frame = Frame(index=4, name='4.png', stamp_ns=9 * NS, pose=None, load=lambda: None)
    config = PlayerConfig(source='walk', **options)
    assert due_after_s(config, frame, 7 * NS) == pytest.approx(due_s)


@pytest.mark.parametrize(('parameters', 'message'), [
    ({}, 'parameter source is empty'),
    ({'source': '{tmp}/none'}, 'none does not exist'),
    ({'source': '{tmp}'}, '{tmp}'),
    ({'source': '{folder}', 'sorce_topic': 'x'}, "no parameter 'sorce_topic'"),
    ({'source': '{folder}', 'rate': -1.0}, 'rate is -1.0'),
    ({'source': '{folder}', 'record_path': '{tmp}/no/answers.jsonl'}, 'cannot write record_path'),
    ({'source': '{folder}', 'wait_for_subscriber_s': 0.3}, 'nobody subscribed to /image'),
])
def test_what_cannot_be_played_is_refused_in_words(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    parameters: dict[str, object], message: str
) -> None:
    """Exit code 1 and one line, no traceback."""
    from vpr_compressed.ros.player import node

    names = {'tmp': tmp_path, 'folder': folder}
    arguments = ['--ros-args']
    for name, value in parameters.items():
        arguments += ['-p', f'{name}:={str(value).format(**names)}']
    assert node.main(arguments) == 1
    said = capfd.readouterr().err
    assert message.format(**names) in said
    assert 'Traceback' not in said


def test_a_recording_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    """Not after an hour of playing."""
    with pytest.raises(SourceError, match='cannot write record_path'):
        Recording(tmp_path)


def test_an_image_without_answer_is_in_the_recording(tmp_path: Path) -> None:
    """Dropped images are results, too."""
    path = tmp_path / 'answers.jsonl'
    recording = Recording(path)
    recording.published(Frame(
        index=3, name='a.png', stamp_ns=5, pose=None,
        load=lambda: np.zeros((2, 2, 3), np.uint8)))
    assert not recording.complete()
    recording.write()
    answer = json.loads(path.read_text(encoding='utf-8'))
    assert (answer['status'], answer['rows'], answer['latency_ms']) == ('unanswered', [], None)
    assert recording.summary() == '0 accepted, 0 withheld, 0 unsearched, 1 unanswered'


def test_images_of_one_stamp_are_answered_in_order_and_strangers_are_counted() -> None:
    """A bag may hold one stamp twice; another node may answer on the same topic."""
    recording = Recording(None)
    for index in range(2):
        recording.published(Frame(
            index=index, name='a.png', stamp_ns=5, pose=None,
            load=lambda: np.zeros((2, 2, 3), np.uint8)))
    for place in (3, 4):
        rows = np.zeros(1, MATCH_DTYPE)
        rows['keyframe_id'] = place
        recording.matches(cloud_from_matches(rows, header_at(5, 'camera')))
    assert [answer.best['keyframe_id'] for answer in recording.images] == [3, 4]
    assert recording.unmatched == 0
    for stamp_ns in (5, 6):
        recording.matches(cloud_from_matches(rows, header_at(stamp_ns, 'camera')))
    assert recording.unmatched == 2


def test_the_report_of_the_node_is_what_the_evaluation_reads(tmp_path: Path) -> None:
    """Only of the node that listens to the images that were played."""
    log = tmp_path / 'answers.jsonl'
    assert answer_log.report_path(Path('out/run_0.5')) == Path('out/run_0.5.node.json')
    assert answer_log.read_report(log) is None
    report = NodeReport('/image')
    for topic, processed in (('/image', '3'), ('/other', '4')):
        report.take(DiagnosticArray(status=[
            diagnostic_status('vpr: input', OK, '', {'topic': topic}),
            diagnostic_status('vpr: inference', OK, '', {'processed': processed})]))
    assert report.covers(3)
    assert not report.covers(4)
    answer_log.write_report(log, report.parts, image_transport='raw', unmatched_answers=0)
    found = answer_log.read_report(log)
    assert found['diagnostics'] == {
        'input': {'topic': '/image'}, 'inference': {'processed': '3'}}
    assert found['image_transport'] == 'raw'
