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

"""Reference images and the check against the descriptors in a file."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.network.engines import ALL_ENGINES
from vpr_compressed.runtime.parity import check_parity
from vpr_compressed.runtime.parity import describe_reference
from vpr_compressed.runtime.parity import LEAST_COSINE
from vpr_compressed.runtime.parity import reference_images


def test_reference_images_are_the_same_everywhere() -> None:
    """Their bytes are written down: another machine, NumPy or version must give these."""
    images = reference_images(PreprocessingSpec())
    assert [image.shape for image in images] == [(240, 320, 3)] * 4
    digest = hashlib.sha256(b''.join(image.tobytes() for image in images)).hexdigest()
    assert digest[:16] == 'b2e51cc9b8c947b3'


@pytest.mark.parametrize('size', [(64, 48), (1, 1), (33, 7), (1280, 720)])
def test_reference_images_have_the_input_size(size: tuple[int, int]) -> None:
    """Whatever the network wants."""
    images = reference_images(PreprocessingSpec(width=size[0], height=size[1]), 2)
    assert [(image.shape, image.dtype) for image in images] == [
        ((size[1], size[0], 3), np.uint8)] * 2


def test_reference_images_are_textures_that_differ() -> None:
    """They use the range of a photograph without being black and white, and are unlike."""
    images = np.stack(reference_images(PreprocessingSpec())).astype(np.float64)
    for image in images:
        assert 80 < image.mean() < 170
        assert 35 < image.std() < 70
        assert ((image == 0) | (image == 255)).mean() < 0.1
    flat = images.reshape(4, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 0.5


def with_reference(model: Model) -> Model:
    """Return a model with the descriptors that the default engine gives here."""
    found = describe_reference(ALL_ENGINES.load(model, threads=1), model.preprocessing)
    return dataclasses.replace(model, reference=found.astype(np.float16))


def test_the_engine_that_made_the_descriptors_passes() -> None:
    """Float16 costs next to nothing."""
    model = with_reference(make_tiny_model())
    assert model.reference.shape == (4, 16)
    assert check_parity(model, ALL_ENGINES.load(model, threads=1)) > 0.99999


def test_the_other_engine_passes() -> None:
    """Torch multiplies in float what ONNX Runtime multiplies in integers."""
    pytest.importorskip('torch')
    model = with_reference(make_tiny_model())
    assert check_parity(model, ALL_ENGINES.load(model, 'torch', 1)) > LEAST_COSINE


def test_an_engine_that_computes_something_else_is_found() -> None:
    """Four rows of 16 with another sign are, and so is one image of four."""
    model = with_reference(make_tiny_model())
    tensors = dict(model.tensors)
    weight = model.float_tensor('projection.weight')
    weight[:4] *= -1
    tensors['projection.weight'] = weight
    broken = ALL_ENGINES.load(dataclasses.replace(model, tensors=tensors), threads=1)
    assert check_parity(model, broken) < LEAST_COSINE
    reference = model.reference.copy()
    reference[2] = -reference[2]
    changed = dataclasses.replace(model, reference=reference)
    assert check_parity(changed, ALL_ENGINES.load(model, threads=1)) < -0.99


def test_nan_is_no_agreement_and_nothing_is_nothing() -> None:
    """A file without descriptors gives None, an engine that gives NaN never passes."""
    class Broken:
        name = 'broken'

        def describe(self, images: np.ndarray) -> np.ndarray:
            return np.full(16, np.nan, np.float32)

    model = make_tiny_model()
    assert check_parity(model, Broken()) is None
    found = check_parity(with_reference(model), Broken())
    assert found is not None
    assert not found >= LEAST_COSINE
