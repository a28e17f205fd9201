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

"""``evaluate --live`` over real DDS, with the tiny model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import pytest

from vpr_compressed.cli.main import main
from vpr_compressed.offline.live import ros_processes

DOMAIN = os.environ.get('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))


def live(walks: Path, model: Path, out: Path, *more: str, reference: object = 'day_bag',
         query: str = 'night_bag') -> int:
    """Run the verb."""
    return main(['evaluate', '--reference', str(walks / str(reference)), '--query',
                 str(walks / query), '--model', str(model), '--threads', '1', '--engine',
                 'onnxruntime', '--out', str(out), '--domain-id', DOMAIN, *more])


def values_of(out: Path) -> dict[str, Any]:
    """Return what was written."""
    values: dict[str, Any] = json.loads((out / 'live.json').read_text(encoding='utf-8'))
    return values


@pytest.mark.ros
@pytest.mark.parametrize(('reference', 'query', 'pace'), [
    ('day_bag', 'night_bag', ('--wait-for-answer',)), ('night_bag', 'day_bag', ('--hz', '200'))])
def test_every_answer_equals_the_offline_one(
    reference: str, query: str, pace: tuple[str, ...], walks: Path, tiny_model_path: Path,
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both storages, in lock-step and too fast; the recording can be joined again later."""
    pytest.importorskip('rclpy')
    assert live(walks, tiny_model_path, tmp_path, '--live', *pace, reference=reference,
                query=query) == 0, capsys.readouterr().err
    values = values_of(tmp_path)
    assert values['published'] == 12
    assert values['answered'] == values['compared'] == values['same_best_place'] > 0
    assert values['same_decision'] == values['compared']
    assert values['max_similarity_difference'] == values['max_confidence_difference'] == 0.0
    assert values['with_odometry'] == 0
    assert values['image_transport'] == 'compressed'
    assert sum(values[name] for name in (
        'answered', 'dropped_by_mailbox', 'lost_before_node', 'refused', 'unheard')) == 12
    assert values['node_ms']['inference_ms_p50'] > 0.0
    if pace[0] == '--wait-for-answer':
        assert values['answered'] == 12
        assert values['accepted']['live'] == values['accepted']['offline']
    assert cv2.imread(str(tmp_path / 'live_latency.png')) is not None
    assert 'same best place' in capsys.readouterr().out
    assert live(walks, tiny_model_path, tmp_path / 'again', '--live-record',
                str(tmp_path / 'live_answers.jsonl'), reference=tmp_path / 'live.vprmap',
                query=query) == 0
    again = values_of(tmp_path / 'again')
    assert (again['compared'], again['differing']) == (values['compared'], [])


@pytest.mark.ros
def test_node_that_does_not_start_gives_its_reason(
    walks: Path, tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of its log is in the error."""
    pytest.importorskip('rclpy')
    monkeypatch.setattr(ros_processes, 'NODE_MODULE', 'vpr_compressed.ros.no_such_node')
    assert live(walks, tiny_model_path, tmp_path, '--live') == 1
    assert 'No module named' in capsys.readouterr().err


def test_missing_rclpy_names_the_remedy(
    walks: Path, tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is mapped."""
    monkeypatch.setattr(ros_processes, 'find_spec', lambda name: None)
    assert live(walks, tiny_model_path, tmp_path / 'out', '--live') == 1
    assert 'make setup' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('more', 'message'), [
    (('--live', '--tolerance-frames', '1'), 'needs no ground truth'),
    (('--live-record', 'x.jsonl'), 'needs the map file'),
    (('--live', '--dataset', 'pitts30k'), 'no --dataset'),
    (('--live', '--model', 'small'), 'give --model once'),
])
def test_arguments_that_would_be_ignored_are_refused(
    more: tuple[str, ...], message: str, walks: Path, tiny_model_path: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """The text says what to do."""
    assert live(walks, tiny_model_path, tmp_path, *more) == 1
    assert message in capsys.readouterr().err


def test_a_map_of_the_name_is_not_touched(
    walks: Path, tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a folder that a live evaluation has made is written over."""
    monkeypatch.setattr(ros_processes, 'find_spec', lambda name: object())
    (tmp_path / 'live.vprmap').write_text('precious', encoding='utf-8')
    assert live(walks, tiny_model_path, tmp_path, '--live') == 1
    assert 'live.vprmap' in capsys.readouterr().err
    assert (tmp_path / 'live.vprmap').read_text(encoding='utf-8') == 'precious'


def test_other_files_are_not_touched(
    walks: Path, tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of somebody else is refused."""
    monkeypatch.setattr(ros_processes, 'find_spec', lambda name: object())
    (tmp_path / 'thesis.txt').write_text('x', encoding='utf-8')
    assert live(walks, tiny_model_path, tmp_path, '--live') == 1
    assert 'thesis.txt' in capsys.readouterr().err
