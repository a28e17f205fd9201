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

"""Imported networks against the forward pass of the repositories they come from."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest
import scipy  # noqa: F401
from tiny_checkpoints import FOREIGN
from tiny_checkpoints import Foreign
from tiny_checkpoints import make_foreign
import torch  # noqa: F401

from vpr_compressed.model_file.model import write_model
from vpr_compressed.offline.importers.checkpoint_files import read_pca
from vpr_compressed.offline.importers.families import FAMILIES
from vpr_compressed.offline.importers.families import import_network
from vpr_compressed.offline.importers.parts import CAFFE_PREPROCESSING
from vpr_compressed.offline.importers.parts import ForeignNetwork
from vpr_compressed.offline.importers.parts import IMAGENET_PREPROCESSING
from vpr_compressed.offline.network.engines import load_extractor

TOLERANCE = 1e-4
WIDTH, HEIGHT = 96, 64


@pytest.fixture
def images(rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Return random pictures, of the size of the network so that nobody resizes."""
    return [cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (WIDTH, HEIGHT),
                       interpolation=cv2.INTER_CUBIC) for _ in range(3)]


def imported(foreign: Foreign, folder: Path) -> Path:
    """Write a checkpoint, import it, and return the model file."""
    checkpoint = folder / 'checkpoint'
    foreign.write(checkpoint)
    family, network = import_network(checkpoint)
    assert family.name == foreign.family
    network = replace(network, preprocessing=replace(
        network.preprocessing, width=WIDTH, height=HEIGHT))
    projection = network.projection
    if foreign.pca is not None:
        assert projection is None
        np.savez(folder / 'pca.npz', **foreign.pca)
        projection = read_pca(folder / 'pca.npz')
    assert projection is not None
    path = folder / 'imported.vpr'
    write_model(path, network.model(projection))
    return path


def largest_difference(
    foreign: Foreign, model: Path, images: list[NDArray[np.uint8]], engine: str = 'onnxruntime'
) -> float:
    """Return by how much any value of a descriptor differs, from pixels on."""
    extractor = load_extractor(model, engine=engine)
    return max(float(np.abs(extractor.describe(image) - foreign.describe(image)).max())
               for image in images)


@pytest.mark.parametrize('engine', ['onnxruntime', 'torch'])
@pytest.mark.parametrize('layout', FOREIGN)
def test_import_describes_as_its_own_repository(
    layout: str, engine: str, tmp_path: Path, images: list[NDArray[np.uint8]]
) -> None:
    """From pixels to the descriptor, through the written file and an engine."""
    foreign = make_foreign(layout)
    assert largest_difference(foreign, imported(foreign, tmp_path), images, engine) < TOLERANCE


def test_different_images_have_different_descriptors(images: list[NDArray[np.uint8]]) -> None:
    """Else the comparisons above would say nothing."""
    for layout in FOREIGN:
        foreign = make_foreign(layout)
        first, second = (foreign.describe(image) for image in images[:2])
        assert float(np.abs(first - second).max()) > 20 * TOLERANCE, layout


def _other_order(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Take the other flatten order."""
    return {'feature_major': not fields['feature_major']}


def _other_sign(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the sign of the centres."""
    return {'centers': -fields['centers']}


def _other_preprocessing(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Normalise as families of the other kind do."""
    scaled = fields['preprocessing'].std[0] > 0.1
    return {'preprocessing': CAFFE_PREPROCESSING if scaled else IMAGENET_PREPROCESSING}


def _no_bias(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Forget the bias of the soft assignment."""
    return {'assignment_bias': np.zeros_like(fields['assignment_bias'])}


def _swapped_colours(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Take the means in the order blue, green, red."""
    found = fields['preprocessing']
    return {'preprocessing': replace(found, mean=found.mean[::-1], std=found.std[::-1])}


def _last_relu(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the ReLU behind conv5_3, which NetVLAD does without."""
    trunk = fields['trunk']
    return {'trunk': replace(trunk, layers=[
        *trunk.layers[:-1], replace(trunk.layers[-1], activation='relu')])}


# resnet50 goes the way of resnet18 and takes seconds
MISTAKES = [(layout, mistake) for layout in FOREIGN if 'resnet50' not in layout for mistake in (
    _other_order, _other_sign, _other_preprocessing, _swapped_colours)]
MISTAKES += [(layout, _no_bias) for layout in FOREIGN if 'vladv2' in layout]
MISTAKES += [(layout, _last_relu) for layout in FOREIGN if 'resnet' not in layout]


@pytest.mark.parametrize(('layout', 'mistake'), MISTAKES)
def test_a_mistake_of_an_importer_is_caught(
    layout: str, mistake: Callable[[Mapping[str, Any]], dict[str, Any]], tmp_path: Path,
    images: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each trap, built into the importer of each family, fails the comparison above."""
    foreign = make_foreign(layout)

    def mistaken(**fields: Any) -> ForeignNetwork:
        return ForeignNetwork(**{**fields, **mistake(fields)})

    monkeypatch.setattr(
        sys.modules[FAMILIES[foreign.family].build.__module__], 'ForeignNetwork', mistaken)
    model = imported(foreign, tmp_path)
    assert largest_difference(foreign, model, images[:1]) > 10 * TOLERANCE


def test_fewer_dimensions_are_the_first_ones(
    tmp_path: Path, images: list[NDArray[np.uint8]]
) -> None:
    """As the authors say: keep the first D and divide by their length."""
    foreign = make_foreign('mat')
    path = tmp_path / 'official.mat'
    foreign.write(path)
    _, network = import_network(path)
    network = replace(network, preprocessing=replace(
        network.preprocessing, width=WIDTH, height=HEIGHT))
    assert network.projection is not None
    write_model(tmp_path / 'small.vpr', network.model(network.projection.truncated(5)))
    extractor = load_extractor(tmp_path / 'small.vpr', engine='onnxruntime')
    for image in images:
        whole = foreign.describe(image)[:5]
        np.testing.assert_allclose(
            extractor.describe(image), whole / np.linalg.norm(whole), atol=TOLERANCE)
