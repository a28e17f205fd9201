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

"""Verb compress: a recipe on images or a bag, killed and resumed, judged, and told about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores
from signals import popen_with_sigint
from signals import sigint
import torch

from vpr_compressed.cli.main import main
from vpr_compressed.model_file.model import read_model
from vpr_compressed.offline.compression import session
from vpr_compressed.offline.compression.data import MeasuredModel
from vpr_compressed.offline.compression.display import JsonDisplay
from vpr_compressed.offline.compression.recipe import describe
from vpr_compressed.offline.compression.recipe import load_recipe
from vpr_compressed.offline.measuring.labelled_sets import ModelFacts
from vpr_compressed.runtime.extractor import load_extractor
from vpr_compressed.runtime.parity import check_parity
from vpr_compressed.system.processes import MeasurementCancelledError

IMAGES = 60
KIND = 'sensor_msgs/msg/CompressedImage'
RECIPE = """
held_out: 0.4
save_every: 5
acceptance: {min_agreement: 0.5, min_cosine: 0.5}
steps:
- {step: sparsify, tensors: [projection], sparsity: 0.5, steps: 40, batch: 6}
- {step: quantize, tensors: [all], bits: 5, steps: 40, batch: 6}
"""
LABELLED = """
data: [{kind: clips, folder: clips, positive_radius: 1, ignore_radius: 99}]
validation: [{name: walk, kind: walks, query: walk, reference: walk, ground_truth: truth.json}]
augment: false
steps: [{step: sparsify, sparsity: 0.3, loss: triplet, steps: 3, batch: 4}]
"""


@dataclass(frozen=True)
class Site:
    """A folder with images, a model and a recipe."""

    folder: Path
    model: Path

    def command(self, out: Path, *more: str) -> list[str]:
        """Return the arguments of the verb; later ones replace earlier ones."""
        images = [] if {'--images', '--data'} & set(more) else [
            '--images', str(self.folder / 'images')]
        return ['compress', '--recipe', str(self.folder / 'tiny.yaml'), '--out', str(out),
                '--model', str(self.model), '--threads', '1', '--progress', 'json', *images, *more]


def texture(number: int) -> np.ndarray:
    """Return coarse colour blocks that differ with the number."""
    blocks = np.random.default_rng(number).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(blocks, (64, 48), interpolation=cv2.INTER_NEAREST))


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Site:
    """Return sixty images of a walk, and a recipe of two steps."""
    folder = tmp_path_factory.mktemp('site')
    (folder / 'images').mkdir()
    for number in range(IMAGES):
        cv2.imwrite(str(folder / 'images' / f'{number}.png'), texture(number))
    (folder / 'tiny.yaml').write_text(RECIPE, encoding='utf-8')
    return Site(folder, tiny_model_path)


def events(text: str) -> list[dict[str, Any]]:
    """Return the events of a run; every line must be one."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope='module')
def whole(site: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder and stdout of a run that nobody interrupted, measured for real."""
    out = tmp_path_factory.mktemp('whole') / 'out'
    done = subprocess.run(
        [sys.executable, '-m', 'vpr_compressed', *site.command(out)], text=True, check=False,
        capture_output=True, cwd=Path(__file__).resolve().parents[2], timeout=300)
    assert done.returncode == 0, done.stderr
    assert 'report: ' in done.stderr
    return out, done.stdout


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process: starting others costs a second for every row."""
    def measure(
        path: Path, _sets: Any, stretch: Any, *, parent: MeasuredModel | None, threads: int,
        cancelled: Callable[[], bool], progress: Callable[[int, int], None]
    ) -> MeasuredModel:
        """Describe the stretch."""
        extractor = load_extractor(path, threads=threads)
        images = np.load(stretch.array)[list(stretch.rows)]
        progress(1, len(images))
        if cancelled():
            raise MeasurementCancelledError('the measurement was cancelled')
        facts = ModelFacts(
            model_bytes=path.stat().st_size, load_s=0.1, resident_bytes=1, process_bytes=2,
            latency_p50_ms=1.0, latency_p95_ms=2.0, engine='onnxruntime', threads=threads,
            images=len(images))
        return MeasuredModel(
            path=path, facts=facts, scores={}, parent=parent,
            descriptors=np.stack([extractor.describe(image) for image in images]))

    monkeypatch.setattr(session, 'measure_row', measure)


def interrupted(
    site: Site, out: Path, signals: dict[str, signal.Signals], *, hears_ctrl_c: bool = True
) -> tuple[int, str]:
    """Start a run and send it signals, each as soon as it trains in a step."""
    left = dict(signals)
    with popen_with_sigint(
            [sys.executable, '-m', 'vpr_compressed', *site.command(out)], default=hears_ctrl_c,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2]) as run:
        for line in run.stdout or []:
            event = json.loads(line)
            if event.get('step') in left and event.get('stage', '').startswith('training'):
                run.send_signal(left.pop(event['step']))
        errors = run.stderr.read() if run.stderr else ''
        status = run.wait()
    assert not left, errors
    return status, errors


def test_killed_twice_and_resumed_ends_with_the_same_file(
    site: Site, whole: tuple[Path, str], tmp_path: Path, quick: None,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """The plug pulled in one step, ctrl-C in the next; then the same command to the end."""
    out = tmp_path / 'out'
    status, _ = interrupted(site, out, {'sparsify': signal.SIGKILL})
    assert status == -signal.SIGKILL
    status, errors = interrupted(site, out, {'quantize': signal.SIGINT})
    assert status == 130, errors
    assert 'finishing this step; once more to stop at once' in errors
    assert 'stopped; give the same command again to go on' in errors
    assert not (out / 'model.vpr').exists()
    assert main(site.command(out)) == 0
    assert f'resuming in {out}: ' in capsys.readouterr().err
    assert (out / 'model.vpr').read_bytes() == (whole[0] / 'model.vpr').read_bytes()


def test_a_background_run_minds_no_ctrl_c_and_stops_at_sigterm(
    site: Site, whole: tuple[Path, str], tmp_path: Path, quick: None,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """As under nohup or a supervisor: it goes on to the next step, and then saves and ends."""
    out = tmp_path / 'out'
    status, errors = interrupted(
        site, out, {'sparsify': signal.SIGINT, 'quantize': signal.SIGTERM}, hears_ctrl_c=False)
    assert status == 130, errors
    assert errors.count('finishing this step') == 1
    assert 'once more' not in errors
    assert 'stopped; give the same command again to go on' in errors
    assert main(site.command(out)) == 0
    assert f'resuming in {out}: 1 of 2 steps done' in capsys.readouterr().err
    assert (out / 'model.vpr').read_bytes() == (whole[0] / 'model.vpr').read_bytes()


def test_the_model_is_small_and_runs(site: Site, whole: tuple[Path, str]) -> None:
    """With its history, the thresholds of its parent, and descriptors to check an engine by."""
    out, _ = whole
    model, parent = read_model(out / 'model.vpr'), read_model(site.model)
    assert (out / 'model.vpr').stat().st_size < site.model.stat().st_size
    assert model.precision == 'int8'
    assert model.provenance['recipe'] == 'tiny'
    assert model.provenance['parent_descriptor_id'] == parent.descriptor_id
    recipe = load_recipe(site.folder / 'tiny.yaml')
    assert model.provenance['steps'] == [describe(step) for step in recipe.steps]
    assert model.calibration == parent.calibration
    zeros = (model.float_tensor('projection.weight') == 0).mean()
    assert 0.5 <= zeros < 0.6
    from vpr_compressed.runtime.engines import ENGINES

    parity = check_parity(model, ENGINES.load(model))
    assert parity is not None
    assert parity > 0.9999


def test_progress_as_json_is_as_agreed(whole: tuple[Path, str]) -> None:
    """What the node compress reads: one object a line, nothing else on stdout."""
    found = events(whole[1])
    assert {event['event'] for event in found} == {'progress', 'row', 'finished'}
    for event in found:
        if event['event'] == 'progress':
            assert set(event) == {
                'event', 'index', 'count', 'step', 'stage', 'done', 'total', 'eta_s'}
            assert event['count'] == 2
            assert event['step'] == ('sparsify', 'quantize')[event['index']]
            assert 0 < event['done'] <= event['total']
            assert event['eta_s'] is None or event['eta_s'] >= 0.0
    stages = [event['stage'].partition(',')[0] for event in found if event['event'] == 'progress']
    assert list(dict.fromkeys(stages)) == [
        'reading images', 'parent descriptors', 'measuring', 'training', *(
            stage for stage in dict.fromkeys(stages) if stage in ('bias correction', 'k-means'))]
    assert [event['row']['step'] for event in found if event['event'] == 'row'] == [
        'parent', 'sparsify', 'quantize']
    last = found[-1]
    assert last == {
        'event': 'finished', 'accepted': True, 'model': str(whole[0] / 'model.vpr'),
        'report': str(whole[0] / 'report.html'), 'reasons': []}


def test_the_report_has_a_row_for_every_step(whole: tuple[Path, str]) -> None:
    """Measured in a process of its own, from the file."""
    report = json.loads((whole[0] / 'report.json').read_text(encoding='utf-8'))
    rows = report['rows']
    assert [row['step'] for row in rows] == ['parent', 'sparsify', 'quantize']
    assert rows[2]['file_bytes'] < rows[1]['file_bytes']
    assert all(row['resident_bytes'] > 0 and row['latency_p50_ms'] > 0 for row in rows)
    assert rows[0]['cosine'] == pytest.approx(1.0)
    assert (whole[0] / 'report.html').stat().st_size > 1000


def test_a_finished_run_is_judged_anew_and_not_accepted_if_it_misses_its_limits(
    site: Site, whole: tuple[Path, str], tmp_path: Path, quick: None,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """The last network, not its parent; exit 3, no model, the report says by how much."""
    out = tmp_path / 'out'
    shutil.copytree(whole[0], out)
    cache = ('--cache', str(out / 'cache'))
    assert main(site.command(out, *cache)) == 0
    assert (out / 'model.vpr').read_bytes() == (whole[0] / 'model.vpr').read_bytes()
    capsys.readouterr()
    limits = '--set=acceptance={min_cosine: 1.0, min_agreement: 1.0}'
    for _ in range(2):  # asking again changes nothing
        assert main(site.command(out, limits)) == 3
        assert not (out / 'model.vpr').exists()
        said = capsys.readouterr()
        last = events(said.out)[-1]
        assert last['accepted'] is False
        assert last['model'] is None
        assert any('at least 1.0000 is needed' in reason for reason in last['reasons'])
        assert f'not accepted: {last["reasons"][0]}' in said.err
    report = json.loads((out / 'report.json').read_text(encoding='utf-8'))
    assert [row['step'] for row in report['rows']] == ['parent', 'sparsify', 'quantize']
    assert last['reasons'][0] in json.dumps(report)
    assert 'at least 1.0000 is needed' in (out / 'report.html').read_text(encoding='utf-8')


@pytest.mark.parametrize('stage', [
    'reading images', 'parent descriptors', 'measuring', 'training', 'k-means'])
def test_ctrl_c_is_heard_in_every_stage(
    stage: str, site: Site, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 130, no model, and the same command goes on."""
    show = JsonDisplay.progress

    def progress(self: Any, at: int, found: str, done: int, total: int) -> None:
        """Press ctrl-C at a stage."""
        show(self, at, found, done, total)
        if found.startswith(stage):
            signal.raise_signal(signal.SIGINT)
            monkeypatch.setattr(JsonDisplay, 'progress', show)

    monkeypatch.setattr(JsonDisplay, 'progress', progress)
    short = ('--set=steps.1.steps=3', '--set=steps.2.steps=3')
    with sigint():
        assert main(site.command(tmp_path, *short)) == 130
    assert 'give the same command again' in capsys.readouterr().err
    assert not (tmp_path / 'model.vpr').exists()
    assert not list(tmp_path.rglob('*.part'))
    assert main(site.command(tmp_path, *short)) == 0


def test_a_stop_that_could_not_be_saved_is_said(
    site: Site, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full when ctrl-C is pressed: what was trained is lost."""
    def full(_state: Any, _part: Path) -> None:
        """Fail as torch does."""
        raise RuntimeError('unexpected pos 64 vs 0')

    show = JsonDisplay.progress

    def progress(self: Any, at: int, found: str, done: int, total: int) -> None:
        """Press ctrl-C in training."""
        show(self, at, found, done, total)
        if found.startswith('training'):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(JsonDisplay, 'progress', progress)
    monkeypatch.setattr(torch, 'save', full)
    with sigint():
        assert main(site.command(tmp_path, '--set=steps.1.steps=3')) == 1
    assert 'cannot write the checkpoint' in capsys.readouterr().err


def test_a_row_that_was_not_measured_is_made_up_for(
    site: Site, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while measuring the first step."""
    measure = session.measure_row
    calls: list[Path] = []

    def kill(path: Path, *rest: Any, **how: Any) -> MeasuredModel:
        """Measure the parent, then fall."""
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(path, *rest, **how)

    short = ('--set=steps.1.steps=3', '--set=steps.2.steps=3')
    monkeypatch.setattr(session, 'measure_row', kill)
    assert main(site.command(tmp_path, *short)) == 130
    assert main(site.command(tmp_path, *short)) == 0
    report = json.loads((tmp_path / 'report.json').read_text(encoding='utf-8'))
    assert [row['step'] for row in report['rows']] == ['parent', 'sparsify', 'quantize']


@pytest.mark.parametrize('name', ['checkpoint.pt', 'rows.json'])
def test_a_damaged_file_of_an_earlier_run_is_one_line(
    name: str, site: Site, whole: tuple[Path, str], tmp_path: Path, quick: None,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """With its name, and what to do."""
    out = tmp_path / 'out'
    shutil.copytree(whole[0], out)
    (out / name).write_text('damaged', encoding='utf-8')
    assert main(site.command(out)) == 1
    assert f'{out / name}' in capsys.readouterr().err


def test_a_checkpoint_of_another_recipe_is_refused(
    site: Site, whole: tuple[Path, str], quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder keeps what it has."""
    before = (whole[0] / 'checkpoint.pt').read_bytes()
    assert main(site.command(whole[0], '--set', 'steps.2.bits=4')) == 1
    assert 'was made with another recipe' in capsys.readouterr().err
    assert main(site.command(whole[0], '--seed', '5')) == 1
    assert (whole[0] / 'checkpoint.pt').read_bytes() == before


def write_bag(path: Path, site: Site, count: int) -> Path:
    """Write images as a bag, and a topic that has none."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    made: dict[str, Any] = types.types
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        text = writer.add_connection('/chatter', 'std_msgs/msg/String', typestore=types)
        writer.write(text, 0, types.serialize_cdr(
            made['std_msgs/msg/String'](data='hello'), 'std_msgs/msg/String'))
        camera = writer.add_connection('/camera', KIND, typestore=types) if count else None
        for number in range(count):
            stamp = made['builtin_interfaces/msg/Time'](sec=number, nanosec=1)
            data = (site.folder / 'images' / f'{number}.png').read_bytes()
            writer.write(camera, number, types.serialize_cdr(made[KIND](
                header=made['std_msgs/msg/Header'](stamp=stamp, frame_id='camera'), format='png',
                data=np.frombuffer(data, np.uint8)), KIND))
    return path


def test_a_bag_of_the_robot_gives_the_model_of_its_images(
    site: Site, whole: tuple[Path, str], tmp_path: Path, quick: None
) -> None:
    """The same pictures, so the same descriptors."""
    bag = write_bag(tmp_path / 'bag', site, IMAGES)
    assert main(site.command(tmp_path / 'out', '--images', str(bag))) == 0
    found, wanted = (read_model(folder / 'model.vpr') for folder in (tmp_path / 'out', whole[0]))
    assert found.descriptor_id == wanted.descriptor_id


@pytest.mark.parametrize(('more', 'message'), [
    (['--recipe', 'nowhere.yaml'], 'cannot read nowhere.yaml'),
    (['--set', 'steps.1.sparsty=0.4'], "did you mean 'sparsity'"),
    (['--set', 'steps.2.bits'], 'KEY=VALUE'),
    (['--set', 'acceptance={min_cosin: 1}'], "did you mean 'min_cosine'"),
    (['--set', 'steps.1.loss=triplet'], '--images has none; use loss "distill" in its steps, or'),
    (['--model', 'nowhere.vpr'], 'nowhere.vpr'),
    (['--images', 'nowhere'], 'nowhere'),
    (['--data', '.'], 'this recipe lists no "data"; add it, or give --images'),
    (['--topic', '/camera'], '/camera'),
    (['--set', 'held_out=0.2'], '48 images to train on and 12 to judge the result; 20 of each'),
    (['--set', 'steps.1.tensors=[projektion]'], "did you mean 'projection'"),
    (['--set', 'steps.1.freeze_until=nowhere'], 'nowhere'),
])
def test_mistakes_are_one_clear_line(
    more: list[str], message: str, site: Site, tmp_path: Path, quick: None,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong option, path or file is answered by name, exit code 1."""
    assert main(site.command(tmp_path / 'out', *more)) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1].startswith('error: ')
    assert message in errors[-1]
    assert not (tmp_path / 'out' / 'model.vpr').exists()


@pytest.mark.parametrize(('count', 'message'), [
    (0, 'image'), (30, '18 images to train on and 12 to judge')])
def test_a_bag_with_no_or_few_images_is_refused(
    count: int, message: str, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what it holds."""
    bag = write_bag(tmp_path / 'bag', site, count)
    assert main(site.command(tmp_path / 'out', '--images', str(bag))) == 1
    said = capsys.readouterr().err
    assert message in said
    assert str(bag) in said


@pytest.mark.parametrize('option', ['--out', '--cache'])
def test_a_folder_that_cannot_be_made_is_one_clear_line(
    option: str, site: Site, tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file is in the way."""
    (tmp_path / 'file').write_text('a file', encoding='utf-8')
    assert main(site.command(tmp_path / 'out', option, str(tmp_path / 'file' / 'out'))) == 1
    assert str(tmp_path / 'file') in capsys.readouterr().err


def test_labels_train_and_judge(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --data: pairs to learn from, recall and mAP to be judged by; a bar on the terminal."""
    for folder, names in {'clips': [f'{c}_frame_{n}' for c in 'abcd' for n in range(6)],
                          'walk': [f'{n}' for n in range(8)]}.items():
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            cv2.imwrite(str(tmp_path / folder / f'{name}.png'), texture(
                number + (100 if folder == 'walk' else 0)))
    (tmp_path / 'truth.json').write_text(
        '{' + ', '.join(f'"{n}": [{n}]' for n in range(8)) + '}', encoding='utf-8')
    (tmp_path / 'recipe.yaml').write_text(LABELLED, encoding='utf-8')
    out = tmp_path / 'out'
    command = site.command(out, '--data', str(tmp_path), '--recipe', str(
        tmp_path / 'recipe.yaml'), '--progress', 'bar')
    assert main(command) == 0
    said = capsys.readouterr()
    assert said.out == ''
    assert 'step 1 of 1, sparsify: training' in said.err
    assert 'recall@1 1.000' in said.err
    provenance = read_model(out / 'model.vpr').provenance
    assert provenance['validation_recall_at_1'] == {'walk': 1.0}
    recipe = LABELLED.replace('query: walk, reference: walk', 'query: clips, reference: clips')
    (tmp_path / 'recipe.yaml').write_text(recipe, encoding='utf-8')
    assert main(command) == 1
    assert 'error: ' in capsys.readouterr().err


@pytest.mark.parametrize(('arguments', 'status', 'message'), [
    (['--help'], 0, 'steps.3.bits=4'),
    (['--help'], 0, 'goes on'),
    ([], 2, '--recipe'),
    (['--recipe', 'a.yaml'], 2, 'one of the arguments --data --images is required'),
    (['--recipe', 'a.yaml', '--data', 'a', '--images', 'b'], 2, 'not allowed with'),
])
def test_help_and_arguments(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Examples, and either labels or images."""
    with pytest.raises(SystemExit) as ended:
        main(['compress', *arguments])
    assert ended.value.code == status
    said = capsys.readouterr()
    assert message in said.out + said.err
    assert os.linesep in said.out + said.err
