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

"""Training on real images from disk: learns, repeats, resumes, stops, refuses."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import make_tiny_spec
import torch

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import TrainingError
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.accuracy.night import darken
from vpr_compressed.offline.network.network import VprNetwork
from vpr_compressed.offline.training.batches import augment
from vpr_compressed.offline.training.batches import BatchSampler
from vpr_compressed.offline.training.batches import ImageLoader
from vpr_compressed.offline.training.labels import load_training_set
from vpr_compressed.offline.training.labels import SourceConfig
from vpr_compressed.offline.training.loop import TrainRecord
from vpr_compressed.offline.training.train_config import load_train_config
from vpr_compressed.offline.training.train_config import TrainConfig
from vpr_compressed.offline.training.trainer import Trainer

SIZE = PreprocessingSpec(width=64, height=48)


@pytest.fixture
def street(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Return a street of 12 places 10 m apart, each seen twice 1 m apart, as image files."""
    folder = tmp_path / 'street'
    (folder / 'images').mkdir(parents=True)
    rows = ['pano,x_m,y_m,split']
    for place in range(12):
        texture = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (96, 72),
                             interpolation=cv2.INTER_CUBIC)
        for view in range(2):
            shifted = np.roll(texture, 3 * view, axis=1)
            cv2.imwrite(str(folder / 'images' / f'{place}{view}_0.png'), shifted)
            rows.append(f'{place}{view},{10 * place + view},0,train')
    (folder / 'places.csv').write_text('\n'.join(rows), encoding='utf-8')
    return folder


def _config(**changes: object) -> TrainConfig:
    """Return a recipe for the street."""
    source = SourceConfig(folder='images', table='places.csv', split='train',
                          positive_radius=3.0, ignore_radius=5.0)
    values: dict[str, object] = {
        'data': (source,), 'steps': 12, 'pairs': 6, 'freeze_until': 'deep', 'loss': 'triplet',
        'lr_trunk': 1e-3, 'lr_assignment': 1e-2, 'lr_head': 1e-2, 'warmup': 2, 'average': 0.5,
        'mine_every': 5, 'validate_every': 4}
    return TrainConfig(**(values | changes))


def _trainer(street: Path, folder: Path, **changes: object) -> Trainer:
    """Return a trainer of the tiny network whose score is how well pairs stand out."""
    torch.manual_seed(5)
    folder.mkdir(exist_ok=True)
    config = _config(**changes)
    data = load_training_set(street, config.data)

    def validate(describe: Callable[..., np.ndarray]) -> dict[str, float]:
        found = describe(data.paths, '')
        similarity = found @ found.T - 2 * np.eye(len(found))
        return {'street': float(np.mean(similarity.argmax(axis=1) // 2
                                        == np.arange(len(found)) // 2))}

    return Trainer(VprNetwork(make_tiny_spec()), data, ImageLoader(SIZE), config, folder, validate)


def test_labels_come_from_positions(street: Path) -> None:
    """The second view of a place is its positive; nothing within 5 m is a negative."""
    data = load_training_set(street, _config().data)
    assert len(data) == 24
    for index in range(24):
        assert data.positives(index).tolist() == [index ^ 1]
    different = data.different([0, 1, 2])
    assert different.tolist() == [[False, False, True], [False, False, True],
                                  [True, True, False]]


def test_labels_come_from_clips_and_aligned_walks(tmp_path: Path) -> None:
    """Clips: near frame numbers. Walks: equal indices, in natural order."""
    for folder, names in {'clips': ['a_frame_01', 'a_frame_02', 'a_frame_09', 'b_frame_02'],
                          'day': ['Image2', 'Image10'], 'night': ['Image2', 'Image10']}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            cv2.imwrite(str(tmp_path / folder / f'{name}.png'), np.zeros((8, 8, 3), np.uint8))
    clips = SourceConfig(kind='clips', folder='clips', positive_radius=2, ignore_radius=1e6)
    walks = SourceConfig(kind='aligned', walks=('day', 'night'), positive_radius=0)
    data = load_training_set(tmp_path, [clips, walks])
    assert [data.positives(i).tolist() for i in range(8)] == [
        [1], [0], [], [], [6], [7], [4], [5]]
    assert [path.stem for path in data.paths[4:6]] == ['Image2', 'Image10']
    assert data.different([0, 2, 3]).tolist() == [
        [False, False, True], [False, False, True], [True, True, False]]


def test_augmentation_repeats_and_changes_the_picture(rng: np.random.Generator) -> None:
    """Equal seeds give equal pictures, uint8 of the same shape; darkening darkens."""
    image = rng.integers(0, 256, (60, 80, 3), np.uint8)
    for change in (augment, darken):
        first, second = (change(image, np.random.default_rng(4)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert (first.shape, first.dtype) == (image.shape, np.uint8)
        assert not np.array_equal(first, image)
    means = [darken(image, np.random.default_rng(seed)).mean() for seed in range(20)]
    assert np.mean(means) < 0.6 * image.mean()


def test_hard_negatives_are_similar_and_elsewhere(street: Path) -> None:
    """Mining never returns the place itself and prefers the most similar other image."""
    data = load_training_set(street, _config().data)
    sampler = BatchSampler(data, pairs=6, hard_share=1.0, seed=1)
    random = np.random.default_rng(0)
    descriptors = random.standard_normal((24, 8)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    sampler.set_hard(range(24), descriptors)
    similarity = descriptors @ descriptors.T
    for row in range(24):
        assert not {row, row ^ 1} & set(sampler.hard[row].tolist())
        others = [i for i in range(24) if i // 2 != row // 2]
        assert max(others, key=lambda i: similarity[row, i]) in sampler.hard[row]
    anchors = [pair[0] for pair in sampler.pairs(0)]
    linked = [b in sampler.hard[a] for a, b in zip(anchors, anchors[1:])]
    assert any(linked)


def test_training_improves_the_score_and_keeps_the_best(street: Path, tmp_path: Path) -> None:
    """The kept weights score at least as well as the start, and the log says so."""
    records: list[TrainRecord] = []
    trainer = _trainer(street, tmp_path / 'run', steps=40, validate_every=10)
    assert trainer.train(records.append)
    scores = [record.recalls['street'] for record in records if record.recalls]
    assert [record.step for record in records] == list(range(41))
    assert trainer.best_score == max(scores) >= scores[0]
    losses = [record.loss for record in records[1:]]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    log = (tmp_path / 'run' / 'log.jsonl').read_text(encoding='utf-8').splitlines()
    assert [json.loads(line)['step'] for line in log] == [0, 10, 20, 30, 40]


def test_an_interrupted_run_ends_like_an_uninterrupted_one(street: Path, tmp_path: Path) -> None:
    """Stopping twice and resuming gives the same weights as running through."""
    whole = _trainer(street, tmp_path / 'whole')
    whole.train(lambda record: None)
    for stop_at in (5, 9, 99):
        part = _trainer(street, tmp_path / 'parts')
        assert part.resume() == (stop_at != 5)
        complete = part.train(
            lambda record: None, stopped=lambda part=part, at=stop_at: part.step == at)
        assert complete == (stop_at == 99)
    for name, values in whole.network.tensors().items():
        np.testing.assert_allclose(part.network.tensors()[name], values, rtol=1e-4, atol=1e-5)
    assert part.best_score == pytest.approx(whole.best_score)


def test_a_nan_loss_stops_and_keeps_the_checkpoint(street: Path, tmp_path: Path) -> None:
    """The error names the step; the checkpoint before it can still be resumed."""
    trainer = _trainer(street, tmp_path / 'run')

    def poison(record: TrainRecord) -> None:
        if record.step == 5:
            with torch.no_grad():
                trainer.network.projection.bias.fill_(float('nan'))

    with pytest.raises(TrainingError, match='loss became nan at step 5'):
        trainer.train(poison)
    again = _trainer(street, tmp_path / 'run')
    assert again.resume()
    assert again.step == 4
    assert all(np.isfinite(values).all() for values in again.network.tensors().values())


def test_a_checkpoint_of_another_recipe_is_refused(street: Path, tmp_path: Path) -> None:
    """Resuming never mixes two recipes; a damaged checkpoint names the remedy."""
    _trainer(street, tmp_path / 'run', steps=0).train(lambda record: None)
    with pytest.raises(TrainingError, match='another recipe'):
        _trainer(street, tmp_path / 'run', steps=3).resume()
    (tmp_path / 'run' / 'checkpoint.pt').write_bytes(b'damaged')
    with pytest.raises(TrainingError, match='remove it to start again'):
        _trainer(street, tmp_path / 'run', steps=0).resume()


@pytest.mark.parametrize(('text', 'error', 'message'), [
    ('stepz: 3', ConfigError, "did you mean 'steps'"),
    ('steps: many', ConfigError, 'must be int'),
    ('loss: hinge\ndata: [{folder: a}]', ConfigError, "'triplet'"),
    ('steps: 3', ConfigError, 'names no training images'),
    ('data: [{folder: a, radius: 3}]', ConfigError, 'radius'),
    ('- 1', ConfigError, 'must hold a mapping'),
    ('a: [', ConfigError, 'not valid YAML'),
])
def test_a_bad_recipe_is_refused(
    text: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    """Typos get a suggestion, wrong types the right one."""
    path = tmp_path / 'recipe.yaml'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(error, match=message):
        load_train_config(path)


def test_the_packaged_recipe_is_valid() -> None:
    """The recipe of the default model loads strictly and validates on other data."""
    recipes = Path(__file__).resolve().parents[3] / 'config' / 'recipes'
    config = load_train_config(recipes / 'train_default.yaml')
    assert (config.trunk, config.dimension, config.export) == ('mobilenet_v2', 512, 'int8')
    splits = {(item.folder, item.split) for item in config.validation if item.folder}
    assert not splits & {(item.folder, item.split) for item in config.data}


def test_missing_training_data_names_the_folder(tmp_path: Path) -> None:
    """An empty folder and a missing table are said by name."""
    (tmp_path / 'images').mkdir()
    with pytest.raises(TrainingError, match=r'places\.csv'):
        load_training_set(tmp_path, _config().data)
    with pytest.raises(TrainingError, match='no images in'):
        load_training_set(tmp_path, [SourceConfig(kind='clips', folder='images')])
