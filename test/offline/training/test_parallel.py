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

"""Training on two processes, over gloo on the CPU, ends like on one; signals end both in time."""

from __future__ import annotations

import json
import os
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from signals import popen_with_sigint
from signals import sigint
import torch

from vpr_compressed.errors import TrainingError
from vpr_compressed.offline.training import parallel
from vpr_compressed.offline.training.parallel import stop_signals
from vpr_compressed.runtime.extractor import load_extractor

ROOT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name('parallel_worker.py')
TWO = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2',
       '--rdzv-backend', 'c10d', '--rdzv-endpoint', 'localhost:0']
# A GPU would be used if there were one: these tests are about two processes on one CPU.
ENVIRONMENT = {**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1',
               'PYTHONUNBUFFERED': '1', 'PYTHONPATH': os.pathsep.join([str(ROOT), f'{ROOT}/test'])}
RECIPE = """
trunk: resnet18
cut: layer1.1
freeze_until: layer1.0.conv1
clusters: 3
dimension: 6
width: 64
height: 48
data: [{kind: clips, folder: clips, positive_radius: 1, ignore_radius: 99}]
validation: [{name: walk, kind: walks, query: walk, reference: walk, ground_truth: truth.json}]
init_images: 24
steps: 30
pairs: 4
warmup: 2
mine_every: 8
validate_every: 10
"""


def _image(rng: np.random.Generator) -> np.ndarray:
    """Return a random picture."""
    return cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (96, 72))


@pytest.fixture
def street(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Return a street of 20 places 10 m apart, each seen twice: two batches to describe."""
    folder = tmp_path / 'street'
    (folder / 'images').mkdir(parents=True)
    rows = ['pano,x_m,y_m,split']
    for place in range(20):
        texture = _image(rng)
        for view in range(2):
            name = f'{place:02d}{view}'
            cv2.imwrite(str(folder / 'images' / f'{name}_0.png'),
                        np.roll(texture, 3 * view, axis=1))
            rows.append(f'{name},{10 * place + view},0,train')
    (folder / 'places.csv').write_text('\n'.join(rows), encoding='utf-8')
    return folder


def _train(street: Path, out: Path, processes: int, **options: object) -> list[dict[str, Any]]:
    """Run the worker alone or twice and return what each process wrote down."""
    start = TWO if processes == 2 else [sys.executable]
    done = subprocess.run(
        [*start, str(WORKER), str(street), str(out), json.dumps(options)], env=ENVIRONMENT,
        capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads((out / f'outcome_{rank}.json').read_text()) for rank in range(processes)]


def _assert_same_weights(first: Path, second: Path, tolerance: float = 1e-5) -> None:
    """Compare two archives of tensors."""
    with np.load(first) as one, np.load(second) as other:
        assert set(one) == set(other)
        for name, values in one.items():
            np.testing.assert_allclose(
                other[name], values, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.slow
def test_two_processes_end_like_one(street: Path, tmp_path: Path) -> None:
    """The same losses, recalls and weights; each image of a batch is read by one process."""
    alone, = _train(street, tmp_path / 'one', 1)
    pair = _train(street, tmp_path / 'two', 2)
    assert [outcome['processes'] for outcome in (alone, *pair)] == [1, 2, 2]
    assert all(outcome['complete'] for outcome in (alone, *pair))
    for outcome in pair:
        np.testing.assert_allclose(outcome['losses'][1:], alone['losses'][1:], atol=1e-5)
        np.testing.assert_allclose(outcome['recalls'], alone['recalls'], atol=1e-5)
    # five pairs: two for one process, three for the other, nothing twice
    assert alone['counts'] == [10] * 9
    assert [outcome['counts'] for outcome in pair] == [[4] * 9, [6] * 9]
    for kind in ('weights', 'best'):
        _assert_same_weights(tmp_path / f'one/{kind}_0.npz', tmp_path / f'two/{kind}_0.npz')
        _assert_same_weights(
            tmp_path / f'two/{kind}_0.npz', tmp_path / f'two/{kind}_1.npz', 0.0)
    assert abs(alone['recalls'][-1] - alone['recalls'][0]) > 1e-3  # there was something to learn


@pytest.mark.slow
@pytest.mark.parametrize('processes', [(2, 1), (1, 2)])
def test_a_run_resumes_with_another_number_of_processes(
    processes: tuple[int, int], street: Path, tmp_path: Path
) -> None:
    """One process asks to stop, all do; the checkpoint does not know how many there were."""
    _train(street, tmp_path / 'whole', 1)
    parts = tmp_path / 'parts'
    for outcome in _train(street, parts, processes[0], stop_at=5):
        assert (outcome['complete'], outcome['step'], outcome['resumed']) == (False, 5, False)
    for outcome in _train(street, parts, processes[1]):
        assert (outcome['complete'], outcome['step'], outcome['resumed']) == (True, 9, True)
    _assert_same_weights(tmp_path / 'whole/weights_0.npz', parts / 'weights_0.npz')
    steps = [json.loads(line)['step'] for line in (parts / 'log.jsonl').read_text().splitlines()]
    assert steps == [0, 4, 8, 9]  # one process writes the log


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_both(street: Path, tmp_path: Path) -> None:
    """Only the second process breaks; both say so, and the checkpoint is from before."""
    for outcome in _train(street, tmp_path / 'out', 2, poison_at=5):
        assert 'loss became nan at step 5' in outcome['error']
    again, = _train(street, tmp_path / 'out', 1)
    assert (again['resumed'], again['complete']) == (True, True)
    assert np.isfinite(again['losses']).all()


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Return a folder with four clips of six frames, another walk, and a recipe."""
    for folder, names in {'clips': [f'{c}_frame_{n}' for c in 'abcd' for n in range(6)],
                          'walk': [f'{n}' for n in range(8)]}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            cv2.imwrite(str(tmp_path / folder / f'{name}.png'), _image(rng))
    (tmp_path / 'truth.json').write_text(
        json.dumps({str(number): [number] for number in range(8)}), encoding='utf-8')
    (tmp_path / 'recipe.yaml').write_text(RECIPE, encoding='utf-8')
    return tmp_path


def _verb(data: Path, *more: str) -> list[str]:
    """Return the verb under torchrun."""
    return [*TWO, '-m', 'vpr_compressed', 'train', '--recipe', str(data / 'recipe.yaml'),
            '--data', str(data), '--out', str(data / 'out'), *more]


@pytest.mark.slow
def test_ctrl_c_under_torchrun_can_be_resumed(data: Path) -> None:
    """``torchrun ... train`` stops with a checkpoint, goes on, and writes one model."""
    run = popen_with_sigint(
        _verb(data), text=True, stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=ROOT)
    lines = []
    for line in run.stderr:
        lines.append(line)
        if 'step 10:' in line:
            run.send_signal(signal.SIGINT)
    said = ''.join(lines)
    assert run.wait() != 0, said
    assert said.count('give the same command again') == 1, said
    assert not (data / 'out' / 'model.vpr').exists()
    stopped = torch.load(data / 'out' / 'run_1' / 'checkpoint.pt', weights_only=True)
    assert 10 <= stopped['step'] < 30

    done = subprocess.run(_verb(data), capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT,
                          timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f'resuming at step {stopped["step"]}') == 1, done.stderr
    extractor = load_extractor(data / 'out' / 'model.vpr')
    assert extractor.provenance['validation_recall_at_1']['walk'] == 1.0
    log = (data / 'out' / 'run_1' / 'log.jsonl').read_text().splitlines()
    assert [json.loads(line)['step'] for line in log] == [0, 10, 20, 30]


@pytest.mark.slow
def test_a_mistake_ends_all_processes(data: Path) -> None:
    """More processes than pairs, or weights only the main process opens: said, and no hang."""
    for more, message in ((['--weights', 'nowhere.safetensors'], 'cannot use the weights'),
                          (['--set', 'pairs=2', '--data', 'nowhere'], 'no images in nowhere')):
        done = subprocess.run(
            _verb(data, *more), capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT,
            timeout=120, check=False)
        assert done.returncode != 0
        assert f'error: {message}' in done.stderr, done.stderr


def test_one_process_needs_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchrun nothing is started, and every row is the own one."""
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    with parallel.joined():
        assert not torch.distributed.is_initialized()
        assert (parallel.rank(), parallel.world_size(), parallel.is_main()) == (0, 1, True)
        assert list(parallel.share_of(5)) == [0, 1, 2, 3, 4]
        assert parallel.pair_rows(3) == [0, 1, 2, 3, 4, 5]
        part, module = torch.ones(2, 3), torch.nn.Linear(2, 2)
        assert parallel.gather(part, [0, 1], 2) is part
        assert parallel.wrap(module) is module
        assert parallel.any_true(flag=True)
        assert not parallel.any_true(flag=False)
        assert parallel.from_main(lambda: 'made') == 'made'


@pytest.mark.parametrize(('processes', 'count'), [(2, 5), (3, 8), (4, 4), (7, 28)])
def test_every_pair_belongs_to_one_process(
    processes: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shares cover the batch without overlap, and differ by one pair at most."""
    monkeypatch.setattr(parallel, 'world_size', lambda: processes)
    rows, sizes = [], []
    for rank in range(processes):
        monkeypatch.setattr(parallel, 'rank', lambda rank=rank: rank)
        mine = parallel.pair_rows(count)
        assert [row + count for row in mine[:len(mine) // 2]] == mine[len(mine) // 2:]
        rows += mine
        sizes.append(len(mine))
    assert sorted(rows) == list(range(2 * count))
    assert max(sizes) - min(sizes) <= 2
    with pytest.raises(TrainingError, match='raise "pairs"'):
        parallel.pair_rows(processes - 1)


def test_a_world_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """WORLD_SIZE without an address to meet at is a mistake with a remedy."""
    for name in ('RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(TrainingError, match='start them with torchrun'), parallel.joined():
        pass


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ctrl_c_interrupts(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user is told both; afterwards signals mean what they meant before."""
    with sigint():
        before = [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)]
        with stop_signals() as stopped:
            assert not stopped()
            signal.raise_signal(number)
            assert stopped()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)] == before
    assert capsys.readouterr().err == 'finishing this step; once more to stop at once\n'


def test_an_ignored_ctrl_c_stays_ignored_and_sigterm_asks(
    capsys: pytest.CaptureFixture[str]
) -> None:
    """As often as it comes, before and after."""
    with sigint(default=False):
        with stop_signals() as stopped:
            signal.raise_signal(signal.SIGINT)
            assert not stopped()
            signal.raise_signal(signal.SIGTERM)
            assert stopped()
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert capsys.readouterr().err == 'finishing this step\n'
