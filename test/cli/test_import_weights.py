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

"""Verb import-weights: from a published checkpoint to a model every other verb takes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy  # noqa: F401
from tiny_checkpoints import make_foreign
import torch  # noqa: F401

from vpr_compressed.cli.main import main
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.model_file.model import read_model
from vpr_compressed.runtime.extractor import load_extractor

RECIPE = """
held_out: 0.5
augment: false
acceptance: {min_agreement: 0.0, min_cosine: 0.0}
steps:
- {step: truncate_whitening, dimension: 8}
- {step: quantize, tensors: [all], bits: 8}
"""
SIZE = ['--width', '96', '--height', '64']


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a checkpoint with whitening and one without, and its PCA."""
    folder = tmp_path_factory.mktemp('checkpoints')
    make_foreign('patch-netvlad').write(folder / 'patch.pth.tar')
    swarm = make_foreign('swarm-slam')
    swarm.write(folder / 'nanne.pth.tar')
    np.savez(folder / 'pca.npz', **swarm.pca)
    make_foreign('deep-vg, linear layer').write(folder / 'layer.pth')
    return folder


def write_walk(folder: Path, count: int, noise: int) -> Path:
    """Write one picture of every place, with sensor noise."""
    folder.mkdir()
    for place in range(count):
        blocks = np.random.default_rng(place).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        image = cv2.resize(blocks, (96, 64)).astype(np.int64)
        grain = np.random.default_rng(1000 * noise + place).integers(-8, 9, image.shape)
        cv2.imwrite(str(folder / f'{place}.png'),
                    np.clip(image + noise * grain, 0, 255).astype(np.uint8))
    return folder


def test_imported_model_works_as_any_other(
    checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    rng: np.random.Generator
) -> None:
    """It says where it comes from, its engine is checked, it compresses and evaluates."""
    out = tmp_path / 'patch.vpr'
    assert main(['import-weights', str(checkpoints / 'patch.pth.tar'), '--out', str(out),
                 *SIZE]) == 0
    said = capsys.readouterr().out
    assert 'family patch-netvlad' in said
    assert 'decisions: the cautious default, not fitted' in said
    model = read_model(out)
    assert model.precision == 'fp32'
    assert model.provenance['projection'] == 'WPCA of the checkpoint'
    assert model.calibration == DecisionCalibration()
    assert len(model.provenance['file_sha256']) == 64

    assert main(['inspect', str(out), '--check']) == 0
    image = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    foreign = make_foreign('patch-netvlad')
    found = load_extractor(out, engine='onnxruntime').describe(image)
    np.testing.assert_allclose(found, foreign.describe(image), atol=1e-4)

    walk, again = write_walk(tmp_path / 'a', 50, 0), write_walk(tmp_path / 'b', 12, 1)
    assert main(['evaluate', '--reference', str(walk), '--query', str(again), '--model', str(out),
                 '--engine', 'onnxruntime', '--tolerance-frames', '0', '--out',
                 str(tmp_path / 'report')]) == 0
    recipe = tmp_path / 'recipe.yaml'
    recipe.write_text(RECIPE, encoding='utf-8')
    assert main(['compress', '--recipe', str(recipe), '--images', str(walk), '--model', str(out),
                 '--threads', '1', '--out', str(tmp_path / 'small')]) == 0
    small = read_model(tmp_path / 'small' / 'model.vpr')
    assert (small.spec.dimension, small.precision) == (8, 'int8')
    assert small.provenance['parent']['family'] == 'patch-netvlad'


@pytest.mark.parametrize(('layout', 'more'), [
    ('patch.pth.tar', []), ('nanne.pth.tar', ['--pca', 'pca.npz'])])
def test_dimension_keeps_the_first_ones(
    layout: str, more: list[str], checkpoints: Path, in_tmp_path: Path, rng: np.random.Generator
) -> None:
    """Of the checkpoint's whitening as well as of a PCA."""
    more = [str(checkpoints / word) if word.endswith('.npz') else word for word in more]
    for name, words in (('all.vpr', []), ('five.vpr', ['--dimension', '5'])):
        assert main(['import-weights', str(checkpoints / layout), '--out', name, *SIZE, *more,
                     *words]) == 0
    image = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    whole, part = (load_extractor(Path(name), engine='onnxruntime').describe(image)
                   for name in ('all.vpr', 'five.vpr'))
    assert (len(whole), len(part)) == (12, 5)
    np.testing.assert_allclose(part, whole[:5] / np.linalg.norm(whole[:5]), atol=1e-5)
    assert 'first 5 of 12 dimensions' in read_model(Path('five.vpr')).provenance['projection']


def test_pca_is_learned_from_images(checkpoints: Path, tmp_path: Path) -> None:
    """A network without whitening gets one."""
    images = write_walk(tmp_path / 'images', 12, 0)
    out = tmp_path / 'nanne.vpr'
    assert main(['import-weights', str(checkpoints / 'nanne.pth.tar'), '--out', str(out), *SIZE,
                 '--fit-pca', str(images), '--dimension', '10']) == 0
    model = read_model(out)
    assert model.spec.dimension == 10
    assert model.provenance['projection'] == 'PCA with half whitening of 12 images in images'
    extractor = load_extractor(out, engine='onnxruntime')
    seen = [extractor.describe(cv2.imread(str(images / f'{place}.png'))[..., ::-1])
            for place in range(12)]
    similarity = np.stack(seen) @ np.stack(seen).T
    # A PCA takes what all images share away; without it, VLAD vectors are all alike.
    assert abs(float(similarity[np.triu_indices(12, 1)].mean())) < 0.3


@pytest.mark.parametrize(('words', 'message'), [
    (['nanne.pth.tar'], 'Give --pca FILE.npz'),
    (['nanne.pth.tar'], '--fit-pca IMAGES'),
    (['nanne.pth.tar', '--fit-pca', 'images', '--dimension', '500'], 'more than 250'),
    (['nanne.pth.tar', '--fit-pca', 'nowhere'], 'no images in'),
    (['patch.pth.tar', '--pca', 'pca.npz'], 'a projection already'),
    (['patch.pth.tar', '--fit-pca', 'images'], 'a projection already'),
    (['patch.pth.tar', '--dimension', '13'], 'between 1 and 12'),
    (['patch.pth.tar', '--dimension', '0'], 'give 1 or more'),
    (['nanne.pth.tar', '--fit-pca', 'images', '--dimension', '-5'], 'give 1 or more'),
    (['nanne.pth.tar', '--fit-pca', 'images', '--dimension', '4', '--width', '8'], 'too small'),
    (['layer.pth', '--dimension', '5'], 'not ordered by variance'),
    (['patch.pth.tar', '--family', 'openibl'], "no tensors below 'base_model.base.'"),
    (['patch.pth.tar', '--family', 'mat'], 'is a PyTorch file'),
    (['patch.pth.tar', '--family', 'patch-netvald'], "did you mean 'patch-netvlad'"),
    (['patch.pth.tar', '--width', '8'], 'too small'),
    (['patch.pth.tar', '--width', '0'], 'width is 0, it must be at least 1'),
    (['nowhere.pth'], 'no checkpoint at'),
    (['images'], 'cannot read'),
])
def test_mistakes_are_one_clear_line(
    words: list[str], message: str, checkpoints: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """What was found, what is needed; exit code 1 and no file."""
    if not (checkpoints / 'images').exists():
        write_walk(checkpoints / 'images', 6, 0)
    words = [str(checkpoints / word) if '.' in word or word in ('images', 'nowhere') else word
             for word in words]
    out = tmp_path / 'out.vpr'
    size = [] if '--width' in words else SIZE
    assert main(['import-weights', *words, '--out', str(out), *size]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert 'Traceback' not in error
    assert not out.exists()


def test_existing_files_stay(
    checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model is replaced when asked, the checkpoint never."""
    out = tmp_path / 'there.vpr'
    out.write_text('precious', encoding='utf-8')
    command = ['import-weights', str(checkpoints / 'patch.pth.tar'), *SIZE, '--out']
    assert main([*command, str(out)]) == 1
    assert '--overwrite' in capsys.readouterr().err
    assert out.read_text(encoding='utf-8') == 'precious'
    pca = tmp_path / 'pca.npz'
    pca.write_bytes((checkpoints / 'pca.npz').read_bytes())
    assert main(['import-weights', str(checkpoints / 'nanne.pth.tar'), *SIZE, '--pca', str(pca),
                 '--out', str(pca), '--overwrite']) == 1
    assert 'another file that is read' in capsys.readouterr().err
    assert pca.read_bytes() == (checkpoints / 'pca.npz').read_bytes()
    size = (checkpoints / 'patch.pth.tar').stat().st_size
    assert main([*command, str(checkpoints / 'patch.pth.tar'), '--overwrite']) == 1
    assert (checkpoints / 'patch.pth.tar').stat().st_size == size
    assert main([*command, str(out), '--overwrite']) == 0
    assert read_model(out).spec.dimension == 12
