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

"""Engines: both give the same descriptors, and say clearly when they cannot run."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.errors import EngineError
from vpr_compressed.errors import ImageFormatError
from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.model import default_model_path
from vpr_compressed.model_file.model import write_model
from vpr_compressed.offline.network.engines import ALL_ENGINES
from vpr_compressed.offline.network.engines import load_extractor as load_any
from vpr_compressed.runtime.engines import ENGINES
from vpr_compressed.runtime.extractor import load_extractor


@pytest.mark.parametrize(('precision', 'least'), [
    ('fp32', 0.999999), ('fp16', 0.999999), ('int8', 0.999)])
@pytest.mark.parametrize('engine', ENGINES.names)
def test_every_engine_equals_torch(
    engine: str, precision: str, least: float, tmp_path: Path, rng: np.random.Generator
) -> None:
    """The graph computes what the reference network computes, for every layer kind."""
    if not {engine, 'torch'} <= {*ALL_ENGINES.installed()}:
        pytest.skip(f'{engine} or torch is not installed')
    path = tmp_path / 'model.vpr'
    write_model(path, make_tiny_model().with_precision(precision))
    image = rng.integers(0, 256, (90, 120, 3), np.uint8)
    found = load_extractor(path, engine=engine).describe(image)
    expected = load_any(path, engine='torch').describe(image)
    assert (found.shape, found.dtype) == ((16,), np.float32)
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-5)
    assert float(found @ expected) >= least


def test_descriptor_equals_the_formulas_of_the_paper(
    tiny_model_path: Path, rng: np.random.Generator
) -> None:
    """A slow float64 computation of trunk, NetVLAD and projection gives the same vector."""
    from vpr_compressed.images.pixels import preprocess
    from vpr_compressed.model_file.model import read_model

    model = read_model(tiny_model_path)
    image = rng.integers(0, 256, (48, 64, 3), np.uint8)
    expected = _slow_descriptor(model, preprocess(image, model.preprocessing)[0])
    found = load_extractor(tiny_model_path).describe(image)
    assert float(found @ expected) > 0.999


def _slow_descriptor(model, image):
    """Loop over every position and cluster, as the formulas are written."""
    weights = {name: model.float_tensor(name).astype(np.float64) for name in model.tensors}

    def conv(x, name, stride, padding, groups):
        kernel, bias = weights[f'{name}.weight'], weights[f'{name}.bias']
        x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        side = kernel.shape[2]
        high, wide = ((size - side) // stride + 1 for size in x.shape[1:])
        result = np.zeros((len(kernel), high, wide))
        for out in range(len(kernel)):
            first = out // (len(kernel) // groups) * kernel.shape[1]
            for row in range(high):
                for column in range(wide):
                    window = x[first:first + kernel.shape[1],
                               row * stride:row * stride + side,
                               column * stride:column * stride + side]
                    result[out, row, column] = (window * kernel[out]).sum() + bias[out]
        return result

    stem = np.maximum(conv(image, 'stem', 4, 2, 1), 0)
    pool = stem.reshape(8, 6, 2, 8, 2).max(axis=(2, 4))
    deep = np.clip(conv(pool, 'deep', 1, 1, 8), 0, 6)
    features = (pool + conv(deep, 'point', 1, 0, 1)).reshape(8, -1).T          # (N, C)
    vlad = np.zeros((4, 8))
    for feature in features:
        x = feature / np.linalg.norm(feature)
        score = weights['netvlad.assignment.weight'] @ x + weights['netvlad.assignment.bias']
        share = np.exp(score - score.max())
        share /= share.sum()
        for cluster in range(4):
            vlad[cluster] += share[cluster] * (x - weights['netvlad.centers'][cluster])
    vlad /= np.linalg.norm(vlad, axis=1, keepdims=True)
    vector = vlad.ravel() / np.linalg.norm(vlad)
    descriptor = weights['projection.weight'] @ vector + weights['projection.bias']
    return (descriptor / np.linalg.norm(descriptor)).astype(np.float32)


@pytest.mark.parametrize('engine', ENGINES.names)
def test_a_black_image_has_a_finite_descriptor(engine: str, tiny_model_path: Path) -> None:
    """No division by zero where a picture holds nothing."""
    if engine not in ENGINES.installed():
        pytest.skip(f'{engine} is not installed')
    for value in (0, 255):
        image = np.full((48, 64, 3), value, np.uint8)
        assert np.isfinite(load_extractor(tiny_model_path, engine=engine).describe(image)).all()


@pytest.mark.parametrize('engine', ENGINES.names)
@pytest.mark.parametrize('name', ['default', 'small'])
def test_every_engine_equals_the_packaged_reference(engine: str, name: str) -> None:
    """The descriptors in the packaged file, made by another process on another day."""
    from vpr_compressed.model_file.model import read_model
    from vpr_compressed.runtime.parity import check_parity

    if engine not in ENGINES.installed():
        pytest.skip(f'{engine} is not installed')
    model = read_model(default_model_path().with_stem(name))
    assert (check_parity(model, ENGINES.load(model, engine, 1)) or 0.0) > 0.9999


def test_an_engine_that_is_not_installed_names_those_that_are(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a robot without OpenVINO."""
    monkeypatch.setitem(sys.modules, 'openvino', None)
    monkeypatch.delitem(sys.modules, 'vpr_compressed.runtime.openvino_engine', raising=False)
    with pytest.raises(EngineError, match=r"'openvino' is not installed.*one of onnxruntime"):
        ENGINES.load(make_tiny_model(), 'openvino')


def test_a_descriptor_is_not_changed_by_the_next_image(
    tiny_model_path: Path, rng: np.random.Generator
) -> None:
    """Engines that reuse their output memory give a copy away."""
    for engine in ALL_ENGINES.installed():
        extractor = load_any(tiny_model_path, engine=engine)
        first = extractor.describe(rng.integers(0, 256, (48, 64, 3), np.uint8))
        kept = first.copy()
        extractor.describe(rng.integers(0, 256, (48, 64, 3), np.uint8))
        assert np.array_equal(first, kept), engine


def test_unknown_engine_lists_the_known_ones() -> None:
    """A typo is answered with a suggestion."""
    with pytest.raises(EngineError, match="did you mean 'onnxruntime'"):
        ENGINES.load(make_tiny_model(), 'onnxrutime')


def test_missing_model_and_bad_image_are_clear(tiny_model_path: Path, tmp_path: Path) -> None:
    """Each error belongs to its family."""
    with pytest.raises(ModelFileError, match='no model file'):
        load_extractor(tmp_path / 'none.vpr')
    with pytest.raises(ImageFormatError):
        load_extractor(tiny_model_path).describe(np.full((48, 64, 3), np.nan, np.float32))


def test_loading_a_model_never_imports_torch(tiny_model_path: Path) -> None:
    """Torch alone would take more memory than the whole node."""
    code = ('import sys; from pathlib import Path; '
            'from vpr_compressed.runtime.extractor import load_extractor; '
            f'load_extractor(Path({str(tiny_model_path)!r})); '
            'sys.exit("torch" in sys.modules)')
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


@pytest.mark.parametrize(('name', 'times'), [('default', 50), ('small', 75)])
def test_the_packaged_models_are_small_and_complete(name: str, times: int) -> None:
    """A small part of their float parent, int8, 512-D, and they tell where they come from."""
    extractor = load_extractor(Path(name))
    assert extractor.model_path == default_model_path().with_stem(name)
    assert extractor.model_bytes <= 4 * extractor.provenance['parent_parameters'] / times
    assert (extractor.precision, extractor.dimension) == ('int8', 512)
    assert 'Apache-2.0' in str(extractor.provenance['parent']['trunk_weights'])
