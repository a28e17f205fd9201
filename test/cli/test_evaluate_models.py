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

"""The verb evaluate with several models: one page, paired, cached, resumable."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from signals import popen_with_sigint
from tiny_model import make_tiny_model

from vpr_compressed.cli.main import main
from vpr_compressed.model_file.model import write_model
from vpr_compressed.system import processes


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return three tiny models, two of them called alike."""
    folder = tmp_path_factory.mktemp('models')
    paths = [folder / 'tiny.vpr', folder / 'a' / 'other.vpr', folder / 'b' / 'other.vpr']
    for seed, path in enumerate(paths, start=3):
        path.parent.mkdir(exist_ok=True)
        write_model(path, make_tiny_model(seed))
    return paths


def arguments(walks: Path, models: list[Path], *more: str) -> list[str]:
    """Return a command line."""
    return ['evaluate', '--reference', str(walks / 'day'), '--query', str(walks / 'night'),
            '--engine', 'onnxruntime',
            *(word for model in models for word in ('--model', str(model))), *more]


def read_report(folder: Path) -> dict[str, Any]:
    """Return the content of the report file."""
    values: dict[str, Any] = json.loads((folder / 'report.json').read_text())
    return values


@pytest.fixture(scope='module')
def folder(walks: Path, models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one finished evaluation of three models."""
    path = tmp_path_factory.mktemp('report')
    assert main(arguments(
        walks, models, '--tolerance-frames', '0', '--out', str(path))) == 0
    return path


def test_each_model_has_its_own_numbers(folder: Path, models: list[Path]) -> None:
    """The first stands at the top, as when it is alone; the others do not disturb it."""
    values = read_report(folder)
    assert values['version'] == 3
    assert [entry['label'] for entry in values['models']] == ['tiny', 'a/other', 'b/other']
    assert len({entry['descriptor_id'] for entry in values['models']}) == 3
    assert [entry['model']['path'] for entry in values['models']] == list(map(str, models))
    for key in ('recall', 'map', 'map_oxford', 'latency_ms', 'resident_bytes', 'intervals'):
        assert values[key] == values['models'][0][key]
    for entry in values['models']:
        low, high = entry['intervals']['recall@1']
        assert low <= entry['recall']['1'] <= high
        assert 0 < entry['model_resident_bytes'] < entry['resident_bytes']


def test_differences_are_recounted_from_the_single_queries(folder: Path) -> None:
    """The lists of candidates have all that is needed."""
    values = read_report(folder)
    right = np.array([
        [entry['candidates'][0]['reference'] == entry['index'],
         *(other['candidates'][0]['reference'] == entry['index'] for other in entry['others'])]
        for entry in values['per_query']])
    for number, comparison in enumerate(values['comparisons'], start=1):
        assert comparison['only_first'] == (right[:, 0] & ~right[:, number]).sum()
        assert comparison['only_second'] == (right[:, number] & ~right[:, 0]).sum()
        assert comparison['difference'] == pytest.approx(
            right[:, number].mean() - right[:, 0].mean())
    assert [entry['second'] for entry in values['comparisons']] == ['a/other', 'b/other']


def test_page_has_all_models_and_needs_no_network(folder: Path) -> None:
    """Pictures are inside, scripts nowhere, every name is there."""
    text = (folder / 'report.html').read_text()
    for forbidden in ('<script', 'http://', 'https://', '@import', 'url('):
        assert forbidden not in text
    for wanted in ('a/other', 'b/other', 'exact McNemar test', 'Side by side', 'SHA-256'):
        assert wanted in text
    names = {entry.name for entry in folder.iterdir()}
    assert names == {
        'report.html', 'report.json', 'walk.png', 'precision_recall.png', 'reliability.png',
        'first_match.png', 'costs.png', 'recall.png', 'latency.png', 'similarity_1.png',
        'similarity_2.png', 'similarity_3.png', '.vpr_cache'}


def test_another_ground_truth_is_answered_without_a_child(
    folder: Path, walks: Path, models: list[Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was measured stays as it was; the accuracy is that of the new question."""
    def forbidden(*_args: object, **_more: object) -> None:
        pytest.fail('a child was started')

    monkeypatch.setattr(processes, 'start', forbidden)
    assert main(arguments(
        walks, models, '--tolerance-frames', '3', '--out', str(tmp_path), '--cache',
        str(folder / '.vpr_cache'))) == 0
    assert 'earlier, 20' in capsys.readouterr().out
    before, after = read_report(folder), read_report(tmp_path)
    assert after['from_cache']
    assert not before['from_cache']
    for first, second in zip(before['models'], after['models']):
        assert first['latency_ms'] == second['latency_ms']
        assert first['measured'] == second['measured']
        assert first['recall']['1'] <= second['recall']['1']
    assert before['ground_truth'] != after['ground_truth']


def test_fewer_models_leave_no_picture_of_the_last_report(
    folder: Path, walks: Path, models: list[Path], tmp_path: Path
) -> None:
    """A picture of a model that is not in the report any more would mislead."""
    out = tmp_path / 'out'
    shutil.copytree(folder, out)
    assert {'similarity_2.png', 'costs.png'} <= {entry.name for entry in out.iterdir()}
    assert main(arguments(
        walks, models[:1], '--tolerance-frames', '0', '--out', str(out))) == 0
    names = {entry.name for entry in out.iterdir()}
    assert 'similarity.png' in names
    assert not names & {'similarity_1.png', 'similarity_2.png', 'costs.png'}
    values = read_report(out)
    assert values['comparisons'] == []
    assert 'others' not in values['per_query'][0]


@pytest.mark.parametrize(('second', 'message'), [
    ('nowhere.vpr', 'no model file at nowhere.vpr'),
    ('tiny.vpr', 'give each --model once'),
])
def test_a_bad_second_model_is_refused_before_any_work(
    second: str, message: str, walks: Path, models: list[Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and nothing is written."""
    other = models[0] if second == 'tiny.vpr' else Path(second)
    assert main(arguments(
        walks, [models[0], other], '--tolerance-frames', '0', '--out', str(tmp_path))) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1
    assert not list(tmp_path.iterdir())


def write_distinct(folder: Path, count: int, seed: int) -> None:
    """Write so many different small images."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(count):
        blocks = random.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), cv2.resize(blocks, (64, 48)))


def long_evaluation(folder: Path) -> Callable[[str], list[str]]:
    """
    Write two walks; return the command line of an evaluation for a name of its report.

    It must be far from its end when its first file is seen, on a busy machine as well.
    """
    write_distinct(folder / 'day', 100, 0)
    write_distinct(folder / 'night', 100, 1)
    return lambda out: [
        'evaluate', '--reference', str(folder / 'day'), '--query', str(folder / 'night'),
        '--model', 'small', '--tolerance-frames', '0', '--engine', 'onnxruntime', '--threads', '1',
        '--out', str(folder / out)]


def wait_for_files(folder: Path, process: subprocess.Popen[str], count: int) -> None:
    """Wait until a running evaluation has kept so many files of descriptors."""
    cache = folder / 'out' / '.vpr_cache'
    while len(list(cache.glob('descriptors-*.npz'))) < count:
        assert process.poll() is None
        time.sleep(0.005)


def test_ctrl_c_loses_little_and_changes_nothing(tmp_path: Path) -> None:
    """A real interrupt of a real process; the same command goes on where it was."""
    command = long_evaluation(tmp_path)
    with popen_with_sigint(
            [sys.executable, '-m', 'vpr_compressed', *command('out')], text=True,
            stderr=subprocess.PIPE, env=processes.environment(),
            start_new_session=True) as process:
        wait_for_files(tmp_path, process, 1)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        _, error = process.communicate()
    assert process.returncode == 130, error
    assert children
    assert psutil.wait_procs(children, timeout=300)[1] == []
    assert 'Traceback' not in error
    assert 'the same command goes on from there' in error
    assert not (tmp_path / 'out' / 'report.json').exists()
    assert main(command('out')) == 0
    assert main(command('whole')) == 0
    resumed, whole = read_report(tmp_path / 'out'), read_report(tmp_path / 'whole')
    assert 15 <= resumed['images_described_earlier'] < 200
    assert whole['images_described_earlier'] == 0
    assert resumed['per_query'] == whole['per_query']
    assert resumed['recall'] == whole['recall']
    assert 'images described in an earlier run' in (tmp_path / 'out' / 'report.html').read_text()


def test_a_background_job_ignores_ctrl_c_and_ends_in_order_when_it_is_terminated(
    tmp_path: Path
) -> None:
    """With the process that measures."""
    command = long_evaluation(tmp_path)
    with popen_with_sigint(
            [sys.executable, '-m', 'vpr_compressed', *command('out')], default=False, text=True,
            stderr=subprocess.PIPE, env=processes.environment(),
            start_new_session=True) as process:
        wait_for_files(tmp_path, process, 1)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        wait_for_files(tmp_path, process, 2)
        process.terminate()
        _, error = process.communicate()
    assert process.returncode == 130, error
    assert 'the same command goes on from there' in error
    assert children
    assert psutil.wait_procs(children, timeout=300)[1] == []


@pytest.mark.data
def test_packaged_models_on_gardens_point_have_the_published_numbers(
    data_dir: Path, tmp_path: Path
) -> None:
    """Those of the README."""
    walks = data_dir / 'gardens_point'
    assert main([
        'evaluate', '--reference', str(walks / 'day_left'), '--query', str(walks / 'night_right'),
        '--tolerance-frames', '2', '--model', 'default', '--model', 'small', '--engine',
        'onnxruntime', '--out', str(tmp_path)]) == 0
    first, second = read_report(tmp_path)['models']
    found = [(entry['recall']['1'], entry['map']) for entry in (first, second)]
    np.testing.assert_allclose(found, [(0.645, 0.603), (0.690, 0.619)], atol=0.011)
