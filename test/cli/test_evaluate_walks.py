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

"""The verb evaluate on walks that are walked otherwise, unknown, or lead into their own past."""

from __future__ import annotations

from dataclasses import fields
import json
from pathlib import Path
import shutil
from typing import Any

import pytest

from vpr_compressed.cli.main import main
from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.records import Status
from vpr_compressed.system import processes

PLACES = 12


def evaluate(model: Path, out: Path, *more: str | Path) -> dict[str, Any]:
    """Run the verb and return the content of the report file."""
    assert main([
        'evaluate', '--model', str(model), '--engine', 'onnxruntime', '--threads', '1', '--out',
        str(out), *map(str, more)]) == 0
    values: dict[str, Any] = json.loads((out / 'report.json').read_text())
    return values


def refused(capsys: pytest.CaptureFixture[str], *more: str | Path) -> str:
    """Run the verb; return the one line it fails with."""
    assert main(['evaluate', *map(str, more)]) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert error.count('\n') == 1
    return error


@pytest.fixture(scope='module')
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of descriptors for all tests."""
    return tmp_path_factory.mktemp('cache')


@pytest.fixture
def two(walks: Path, cache: Path) -> list[str | Path]:
    """Return the arguments for two walks."""
    return ['--reference', walks / 'day', '--query', walks / 'night', '--tolerance-frames', '0',
            '--cache', cache]


def test_every_query_has_its_decision_with_a_reason(
    two: list[str | Path], tiny_model_path: Path, tmp_path: Path
) -> None:
    """And the figures are counted from them."""
    values = evaluate(tiny_model_path, tmp_path, *two)
    queries = values['per_query']
    for entry in queries:
        decision = entry['decision']
        assert decision['words'] == Status(decision['status']).words
        assert decision['reason']
        assert 0 <= decision['confidence'] <= 1
        assert (entry['match'] is not None) == (decision['status'] == Status.ACCEPTED)
    found = values['decision']
    believed = [entry['decision']['reference'] == entry['index'] for entry in queries]
    assert found['filtered_recall'] == sum(believed) / PLACES
    assert sum(found['statuses'].values()) == PLACES
    assert sum(each['images'] for each in found['reliability']) == sum(
        entry['decision']['reference'] is not None for entry in queries)
    assert found['first_match']['starts'][0]['start'] == 0
    assert values['replay'] == {
        'reverse': False, 'speed': 1.0, 'start_every': 0, 'cut': [], 'odometry': False,
        'description': ''}


def test_every_parameter_of_the_decision_is_an_option(
    two: list[str | Path], tiny_model_path: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """Under its own name, with its own default and bounds."""
    with pytest.raises(SystemExit):
        main(['evaluate', '--help'])
    words = capsys.readouterr().out.split()
    for field in fields(DecisionConfig):
        assert f'--{field.name.replace("_", "-")}' in words
    values = evaluate(
        tiny_model_path, tmp_path, *two, '--min-precision', '0.75', '--memory-s', '3')
    assert values['decision']['min_precision'] == 0.75
    assert values['decision']['memory_s'] == 3.0
    assert not values['from_cache']
    assert 'min_precision is 1.5' in refused(capsys, *two, '--min-precision', '1.5')


def test_another_walk_is_another_question_for_the_same_descriptors(
    two: list[str | Path], tiny_model_path: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is described twice, and nothing kept is taken for something else."""
    evaluate(tiny_model_path, tmp_path / 'plain', *two)
    for number, how in enumerate((['--reverse'], ['--speed', '2'], ['--start-every', '5'],
                                  ['--cut', '3:5'], ['--min-precision', '0.6'])):
        values = evaluate(tiny_model_path, tmp_path / str(number), *two, *how)
        assert not values['from_cache'], how
        assert values['images_described_earlier'] == 2 * PLACES - 2 * (how[0] == '--cut'), how

    def forbidden(*_args: object, **_more: object) -> None:
        pytest.fail('a child was started')

    monkeypatch.setattr(processes, 'start', forbidden)
    assert evaluate(tiny_model_path, tmp_path / 'again', *two, '--reverse')['from_cache']


def test_ground_truth_and_pictures_follow_a_walk(
    two: list[str | Path], tiny_model_path: Path, tmp_path: Path
) -> None:
    """Backwards, every second image, past a gap of the map."""
    values = evaluate(tiny_model_path, tmp_path, *two, '--reverse', '--speed', '2', '--cut', '4:8')
    queries = values['per_query']
    assert [entry['index'] for entry in queries] == [11, 9, 7, 5, 3, 1]
    assert [entry['answerable'] for entry in queries] == [True, True, False, False, True, True]
    assert (values['queries'], values['answerable_queries'], values['places']) == (6, 4, 8)
    rows = {each['reference'] for entry in queries for each in entry['candidates']}
    assert rows == {0, 1, 2, 3, 8, 9, 10, 11}
    assert values['recall']['1'] > 0.5
    assert values['replay']['cut'] == [[4, 8]]
    wanted = ('backwards, 2 times as fast, the map without the reference images 4 to 7')
    assert values['replay']['description'] == wanted
    assert wanted in values['ground_truth']
    assert wanted in (tmp_path / 'report.html').read_text()


def test_false_accepts_of_unknown_places_are_counted_per_recording(
    two: list[str | Path], walks: Path, tiny_model_path: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder and a bag; the walk itself is as without them."""
    few = tmp_path / 'few'
    few.mkdir()
    for number in range(3):
        shutil.copy(walks / 'night' / f'{number}.png', few)
    plain = evaluate(tiny_model_path, tmp_path / 'plain', *two)
    capsys.readouterr()
    values = evaluate(
        tiny_model_path, tmp_path / 'out', *two, '--unknown', few, '--unknown',
        walks / 'day_bag')
    assert 'false accepts' in capsys.readouterr().out
    found = values['decision']['unknown']
    assert [each['images'] for each in found] == [3, PLACES]
    assert 'few' in found[0]['source']
    for each in found:
        low, high = each['interval']
        assert low <= each['share'] == each['accepted'] / each['images'] <= high
        assert sum(each['statuses'].values()) == each['images']
    assert values['recall'] == plain['recall']
    assert values['accepted_matches'] == plain['accepted_matches']


@pytest.fixture
def loop(walks: Path, tmp_path: Path) -> Path:
    """Return a walk through the same twelve places twice."""
    path = tmp_path / 'loop'
    path.mkdir()
    lines = ['name,stamp_ns,x_m,y_m']
    for number in range(2 * PLACES):
        place, walk = number % PLACES, ('day', 'night')[number // PLACES]
        shutil.copy(walks / walk / f'{place}.png', path / f'{number}.png')
        lines.append(f'{number}.png,{number * 10**9},{10 * place},0')
    (path / 'poses.csv').write_text('\n'.join(lines))
    return path


def test_a_walk_is_recognised_in_its_own_past(
    loop: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    """The second time round there is one revisit; by positions and by a list."""
    values = evaluate(
        tiny_model_path, tmp_path / 'out', '--revisits', '--query', loop, '--radius-m', '2',
        '--exclude-recent-s', '5', '--odometry')
    assert values['replay']['odometry']
    assert values['kind'] == 'revisits'
    assert (values['images'], values['revisiting_images']) == (2 * PLACES, PLACES)
    assert [entry['answerable'] for entry in values['per_image']] == (
        [False] * PLACES + [True] * PLACES)
    revisit, = values['revisits']
    assert (revisit['start'], revisit['images']) == (PLACES, PLACES)
    first = next((number for number, entry in enumerate(values['per_image'])
                  if entry['outcome'] == 'right'), None)
    assert revisit['delay_images'] == (None if first is None else first - PLACES + 1)
    assert values['recall_at_1'] > 0.5
    outcomes = [entry['outcome'] for entry in values['per_image']]
    assert values['closures'] == outcomes.count('right') + outcomes.count('wrong')
    assert values['wrong_closures'] == outcomes.count('wrong')
    assert values['decision']['accepted']['correct'] == outcomes.count('right')
    assert 'seen more than 5 s before' in (tmp_path / 'out' / 'report.html').read_text()
    listed = tmp_path / 'truth.json'
    listed.write_text(json.dumps({str(place): [place + PLACES] for place in range(PLACES)}))
    again = evaluate(
        tiny_model_path, tmp_path / 'again', '--revisits', '--query', loop, '--ground-truth',
        listed, '--exclude-recent-s', '5', '--odometry', '--cache',
        tmp_path / 'out' / '.vpr_cache')
    assert again['from_cache']
    assert again['revisits'] == values['revisits']


def test_a_walk_without_a_loop_is_still_reported(
    walks: Path, tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is accepted is a false closure; no recall is made up."""
    listed = tmp_path / 'truth.json'
    listed.write_text('{"0": []}')
    values = evaluate(
        tiny_model_path, tmp_path / 'out', '--revisits', '--query', walks / 'day',
        '--ground-truth', listed, '--exclude-recent-s', '1')
    assert (values['revisiting_images'], values['revisits']) == (0, [])
    assert values['recall_at_1'] is None
    assert values['decision']['intervals']['recall'] is None
    assert values['wrong_closures'] == values['closures']
    assert values['warning'] is None
    count = values['closures']
    assert [line.split()[1:] for line in capsys.readouterr().out.splitlines()
            if line.startswith('closures ')] == [[f'{count},', str(count), 'wrong']]


@pytest.mark.parametrize(('more', 'message'), [
    (['--revisits', '--reference', 'day'], '--reference: --revisits recognises one recording'),
    (['--revisits', '--radius-m', '3', '--cut', '0:3'], '--cut: --revisits'),
    (['--revisits', '--radius-m', '3', '--unknown', 'x'], '--unknown: --revisits'),
    (['--revisits', '--radius-m', '3', '--start-every', '3'], '--start-every: --revisits'),
    (['--revisits', '--tolerance-frames', '3'], 'say which images show the same place'),
    (['--reference', 'night', '--radius-m', '3', '--exclude-recent-s', '3'],
     '--exclude-recent-s: only --revisits'),
    (['--reference', 'night', '--tolerance-frames', '0', '--cut', '9:13'],
     'cut 9:13 ends after the last of the 12 images'),
    (['--reference', 'night', '--radius-m', '3', '--ground-truth', 'x'], 'leave out one'),
    (['--reference', 'night', '--tolerance-frames', '0', '--speed', '0'], 'speed is 0.0'),
    (['--reference', 'night', '--tolerance-frames', '0', '--unknown', 'nowhere'],
     'nowhere does not exist'),
    (['--reference', 'night', '--tolerance-frames', '0', '--odometry'],
     'has images without a pose'),
    (['--reference', 'night', '--live', '--reverse'], '--live plays the recording as it is'),
    (['--reference', 'night', '--live', '--min-precision', '0.7'], '--live plays the recording'),
    (['--reference', 'night', '--live', '--unknown', 'x'], '--unknown: --live'),
])
def test_what_would_be_ignored_or_does_not_fit_is_refused(
    more: list[str], message: str, walks: Path, tmp_path: Path, tiny_model_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, before the long work."""
    monkeypatch.chdir(walks)
    out = tmp_path / 'out'
    assert message in refused(
        capsys, '--model', tiny_model_path, '--out', out, '--query', walks / 'day', *more)
    assert not (out / 'report.json').exists()


@pytest.mark.parametrize('text', ['5', '5:', ':5', '7:7', '9:3', '-3:4', 'a:b', '1:2:3'])
def test_a_stretch_that_is_none_is_refused(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an example of one."""
    with pytest.raises(SystemExit):
        main(['evaluate', f'--cut={text}'])
    assert 'such as 100:150' in capsys.readouterr().err
