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
import numpy as np
import pytest
from ros_harness import PixelExtractor
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from vpr_compressed.errors import SourceError
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import ImageArray
from vpr_compressed.ros.conversions import stamp_to_ns
from vpr_compressed.ros.player.recording import Recording

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
    transport: str, folder: Path, local_node: Any, node_process: Any, tmp_path: Path
) -> None:
    """Every image is answered although the engine is slower than the player."""
    path = tmp_path / 'walk.map'
    common = {'map_path': str(path), 'image_transport': transport, 'image_qos': 'reliable'}
    play = {'source': folder, 'rate': 0.0, 'wait_for_answer': True, 'image_transport': transport}
    mapper = local_node(PixelExtractor(0.02), mode='mapping', pose_source='topic_pose',
                        pose_wait_s=2.0, **common).start()
    player = node_process('player.node', **play)
    assert player.wait() == 0, player.text
    assert '12 unknown, 0 unanswered' in player.text
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
    assert [answer['status'] for answer in answers] == ['candidate'] * 2 + ['accepted'] * 10
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
    peer.create_subscription(CompressedImage, '/image/compressed', seen.append, 20)
    player = node_process('player.node', source=folder, rate=0.0, hz=30.0,
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
    assert 0.5 <= float(taken_s.group(1)) < 6.0


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
    from vpr_compressed.sources import Frame

    path = tmp_path / 'answers.jsonl'
    recording = Recording(path)
    recording.published(Frame(
        index=3, name='a.png', stamp_ns=5, pose=None,
        load=lambda: np.zeros((2, 2, 3), np.uint8)))
    assert not recording.complete()
    recording.close()
    answer = json.loads(path.read_text(encoding='utf-8'))
    assert (answer['status'], answer['rows'], answer['latency_ms']) == ('unanswered', [], None)
    assert recording.summary() == '0 accepted, 0 candidate, 0 unknown, 1 unanswered'


def test_images_of_one_stamp_are_answered_in_order_and_strangers_are_counted() -> None:
    """A bag may hold one stamp twice; another node may answer on the same topic."""
    from vpr_compressed.ros.conversions import cloud_from_matches
    from vpr_compressed.ros.conversions import header_at
    from vpr_compressed.ros.conversions import MATCH_DTYPE
    from vpr_compressed.sources import Frame

    recording = Recording(None)
    for index in range(2):
        recording.published(Frame(
            index=index, name='a.png', stamp_ns=5, pose=None,
            load=lambda: np.zeros((2, 2, 3), np.uint8)))
    for place in (3, 4):
        rows = np.zeros(1, MATCH_DTYPE)
        rows['keyframe_id'] = place
        recording.matches(cloud_from_matches(rows, header_at(5, 'camera')))
    assert [answer.best['keyframe_id'] for answer in recording.answers()] == [3, 4]
    assert recording.unmatched == 0
    for stamp_ns in (5, 6):
        recording.matches(cloud_from_matches(rows, header_at(stamp_ns, 'camera')))
    assert recording.unmatched == 2


def test_node_report_is_in_the_format_the_evaluation_reads(tmp_path: Path) -> None:
    """The two sides cannot import each other; a node that said nothing has no counts."""
    from vpr_compressed.offline.live import answers
    from vpr_compressed.ros.player import node_report
    from vpr_compressed.sources import answer_log

    assert (node_report.FORMAT, node_report.SUFFIX) == (
        answer_log._REPORT_FORMAT, answer_log._REPORT_SUFFIX)
    assert node_report.path_beside(Path('out/run_0.5')) == Path('out/run_0.5.node.json')
    record = tmp_path / 'answers.jsonl'
    node_report.NodeReport('/image').write(record, transport='raw', unmatched=0)
    assert (tmp_path / 'answers.node.json').is_file()
    assert answers.read_node_counts(record) is None
