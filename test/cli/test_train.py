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

"""Verb train: from image files to a model file that runs, interrupted on the way."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from signals import popen_with_sigint

from vpr_compressed.cli.main import main
from vpr_compressed.runtime.extractor import load_extractor

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
more_runs: [{seed: 2, steps: 10}]
"""


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Return a folder with four clips of six frames, another walk, and the recipe."""
    for folder, names in {'clips': [f'{c}_frame_{n}' for c in 'abcd' for n in range(6)],
                          'walk': [f'{n}' for n in range(8)]}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            image = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48))
            cv2.imwrite(str(tmp_path / folder / f'{name}.png'), image)
    (tmp_path / 'truth.json').write_text(
        '{' + ', '.join(f'"{n}": [{n}]' for n in range(8)) + '}', encoding='utf-8')
    (tmp_path / 'recipe.yaml').write_text(RECIPE, encoding='utf-8')
    return tmp_path


def _command(data: Path, *more: str) -> list[str]:
    """Return the arguments of the verb."""
    return ['train', '--recipe', str(data / 'recipe.yaml'), '--data', str(data),
            '--out', str(data / 'out'), *more]


def test_ctrl_c_and_the_same_command_again_end_with_a_model(data: Path) -> None:
    """An interrupted run says how to go on; the second one resumes and writes the model."""
    pytest.importorskip('torch', reason='training needs torch (train extra)')
    environment = {**os.environ, 'PYTHONUNBUFFERED': '1'}
    run = popen_with_sigint(
        [sys.executable, '-m', 'vpr_compressed', *_command(data, '--threads', '1')], text=True,
        stderr=subprocess.PIPE, env=environment, cwd=Path(__file__).resolve().parents[2])
    lines = []
    for line in run.stderr:
        lines.append(line)
        if 'step 10:' in line:
            run.send_signal(signal.SIGINT)
    assert run.wait() == 130, ''.join(lines)
    assert 'give the same command again' in ''.join(lines)
    assert not (data / 'out' / 'model.vpr').exists()

    assert main(_command(data, '--threads', '1')) == 0
    extractor = load_extractor(data / 'out' / 'model.vpr')
    assert (extractor.dimension, extractor.precision) == (6, 'int8')
    assert extractor.provenance['validation_recall_at_1']['walk'] == 1.0
    assert extractor.provenance['runs'] == [{'seed': 1, 'steps': 30}, {'seed': 2, 'steps': 10}]
    assert load_extractor(data / 'out' / 'model_fp32.vpr').precision == 'fp32'
    assert (data / 'out' / 'run_1' / 'training.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('hears_ctrl_c', [True, False])
def test_sigterm_always_leaves_a_checkpoint(hears_ctrl_c: bool, data: Path) -> None:
    """A background run ignores ctrl-C and trains on; SIGTERM ends both kinds in order."""
    torch = pytest.importorskip('torch', reason='training needs torch (train extra)')
    environment = {**os.environ, 'PYTHONUNBUFFERED': '1'}
    lines = []
    with popen_with_sigint(
            [sys.executable, '-m', 'vpr_compressed', *_command(data, '--threads', '1')],
            default=hears_ctrl_c,
            text=True, stderr=subprocess.PIPE, env=environment,
            cwd=Path(__file__).resolve().parents[2]) as run:
        for line in run.stderr:
            lines.append(line)
            if 'step 10:' in line and not hears_ctrl_c:
                run.send_signal(signal.SIGINT)
            if 'step 20:' in line:
                run.send_signal(signal.SIGTERM)
        assert run.wait() == 130, ''.join(lines)
    assert ('once more to stop' in ''.join(lines)) == hears_ctrl_c
    stored = torch.load(data / 'out' / 'run_1' / 'checkpoint.pt', weights_only=True)
    assert 20 <= stored['step'] <= 30


@pytest.mark.parametrize(('more', 'message'), [
    (['--set', 'stepz=3'], "did you mean 'steps'"),
    (['--set', 'steps'], 'KEY=VALUE'),
    (['--recipe', 'nowhere.yaml'], 'cannot read nowhere.yaml'),
    (['--data', 'nowhere'], 'no images in nowhere'),
    (['--weights', 'nowhere.safetensors'], 'cannot use the weights'),
])
def test_mistakes_are_one_clear_line(
    more: list[str], message: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong option, path or file is answered by name, exit code 1."""
    pytest.importorskip('torch', reason='training needs torch (train extra)')
    assert main(_command(data, *more)) == 1
    assert message in capsys.readouterr().err


def test_training_images_cannot_validate(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A validation set that shares images with the training data is refused."""
    pytest.importorskip('torch', reason='training needs torch (train extra)')
    recipe = (data / 'recipe.yaml').read_text(encoding='utf-8')
    (data / 'recipe.yaml').write_text(
        recipe.replace('query: walk, reference: walk', 'query: clips, reference: clips'),
        encoding='utf-8')
    assert main(_command(data)) == 1
    assert 'shares 24 images with the training' in capsys.readouterr().err
