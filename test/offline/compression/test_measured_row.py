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

"""A model file becomes a row of the report: measured in its own process, counted from the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.errors import VprError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import QuantizedTensor
from vpr_compressed.offline.accuracy.validation import SetScores
from vpr_compressed.offline.compression import data as row_module
from vpr_compressed.offline.compression.data import measure_row
from vpr_compressed.offline.compression.data import MeasuredModel
from vpr_compressed.offline.measuring.labelled_sets import Described
from vpr_compressed.offline.measuring.labelled_sets import ModelFacts
from vpr_compressed.offline.measuring.model_process import ImageRows
from vpr_compressed.offline.reports.compression_rows import StepRow
from vpr_compressed.system.processes import MeasurementCancelledError

COUNT = 20


def compressed(dimension: int = 16) -> Model:
    """Return the tiny model with a 4-bit projection, a quarter of it zero, and a codebook."""
    model = make_tiny_model()
    spec = replace(model.spec, dimension=dimension)
    random = np.random.default_rng(1)
    values = (16 * random.integers(-7, 8, (dimension, 32))).astype(np.int8)
    values[:, :8] = 0
    values[:, 8:][values[:, 8:] == 0] = 16
    return replace(model, spec=spec, tensors=dict(model.tensors) | {
        'projection.weight': QuantizedTensor(values, np.full(dimension, 0.01, np.float32)),
        'projection.bias': np.zeros(dimension, np.float16),
        'point.weight': CodebookTensor(
            random.integers(0, 5, (8, 8, 1, 1)).astype(np.uint8),
            np.array([-1.0, 0.0, 0.5, 1.0, 2.0], np.float32))})


def facts(path: Path) -> ModelFacts:
    """Return what a run could have cost."""
    return ModelFacts(
        model_bytes=path.stat().st_size, load_s=0.5, resident_bytes=1000, process_bytes=2000,
        latency_p50_ms=3.0, latency_p95_ms=4.0, engine='onnxruntime', threads=1, images=COUNT)


def measured(path: Path, size: int, parent: MeasuredModel | None = None) -> MeasuredModel:
    """Return a measurement with descriptors of a walk."""
    random = np.random.default_rng(3)
    found = random.standard_normal((COUNT, 16))[:, :size].astype(np.float32)
    return MeasuredModel(
        path=path, facts=facts(path), scores={}, parent=parent,
        descriptors=found / np.linalg.norm(found, axis=1, keepdims=True))


def row(found: MeasuredModel) -> StepRow:
    """Return its row."""
    return found.row(step='quantize', options='bits 4', parent_bytes=54240, seconds=7.0)


def test_a_row_counts_what_is_in_the_file(tiny_model_path: Path, tmp_path: Path) -> None:
    """Zeros in per cent, bits, bytes and the bound, tensor by tensor and in all."""
    path = tmp_path / 'small.vpr'
    write_model(path, compressed())
    found = row(measured(path, 16, measured(tiny_model_path, 16)))
    tensors = {item.name: item for item in found.tensors}
    projection = tensors['projection.weight']
    assert projection.zeros == pytest.approx(25.0)
    assert (projection.bits, projection.levels) == (4.0, 15)
    assert (tensors['point.weight'].bits, tensors['point.weight'].levels) == (3.0, 5)
    assert (tensors['stem.weight'].bits, tensors['stem.bias'].bits) == (16.0, 32.0)
    assert found.parameters == make_tiny_model().spec.parameters()
    assert found.multiply_adds > 0
    assert found.file_bytes == path.stat().st_size
    above = sum(item.file_bytes - item.bound_bytes for item in found.tensors)
    assert found.file_bytes - found.entropy_bound_bytes == pytest.approx(above, abs=1.0)
    assert above > 0
    assert (found.parent_bytes, found.seconds, found.latency_p50_ms) == (54240, 7.0, 3.0)
    assert StepRow.from_json(found.to_json()) == found


def test_a_row_without_labels_agrees_with_the_parent(tiny_model_path: Path) -> None:
    """The parent with itself wholly; a shorter descriptor has no cosine, but neighbours."""
    parent = measured(tiny_model_path, 16)
    own = row(parent)
    assert own.cosine == pytest.approx(1.0)
    assert own.agreement is not None
    assert own.agreement.top1 == 1.0
    shorter = row(measured(tiny_model_path, 12, parent))
    assert shorter.cosine is None
    assert shorter.agreement is not None
    assert shorter.agreement.mean_cosine is None
    assert 0.0 < shorter.agreement.top1 < 1.0 or shorter.agreement.within.neighbours < 1.0


def test_a_row_with_labels_has_scores_and_the_cosine(tiny_model_path: Path) -> None:
    """Agreement says less than recall, and is left out."""
    parent = measured(tiny_model_path, 16)
    scores = {'street': SetScores(
        answerable=4, recall={1: 0.5, 5: 0.75, 10: 1.0}, precision={1: 0.5, 30: 0.1},
        mean_average_precision=0.6)}
    found = row(replace(parent, scores=scores, parent=parent))
    assert found.agreement is None
    assert found.recall == 0.5
    assert found.cosine == pytest.approx(1.0)


@pytest.fixture
def stretch(tmp_path: Path) -> ImageRows:
    """Return images at network size in a file."""
    blocks = np.random.default_rng(0).integers(0, 256, (COUNT, 6, 8, 3), dtype=np.uint8)
    np.save(tmp_path / 'stretch.npy', blocks.repeat(8, axis=1).repeat(8, axis=2))
    return ImageRows(array=tmp_path / 'stretch.npy', rows=tuple(range(COUNT)))


def test_a_stretch_is_described_in_a_process_of_its_own(
    tiny_model_path: Path, stretch: ImageRows
) -> None:
    """With the bytes of the file, time and memory; every image in order."""
    seen: list[tuple[int, int]] = []
    found = measure_row(
        tiny_model_path, (), stretch, parent=None, threads=1, cancelled=lambda: False,
        progress=lambda *what: seen.append(what))
    assert found.descriptors.shape == (COUNT, 16)
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1.0, atol=1e-5)
    from vpr_compressed.runtime.extractor import load_extractor

    image = np.load(stretch.array)[7]
    np.testing.assert_allclose(
        found.descriptors[7], load_extractor(tiny_model_path).describe(image), atol=1e-5)
    assert found.facts.model_bytes == tiny_model_path.stat().st_size
    assert found.facts.latency_p50_ms > 0
    assert found.facts.resident_bytes > 0
    assert seen[-1] == (COUNT, COUNT)
    assert row(found).agreement is not None


def test_a_measurement_can_be_cancelled_and_needs_images(
    tiny_model_path: Path, stretch: ImageRows
) -> None:
    """Neither gives a row."""
    arguments: dict[str, Any] = {'parent': None, 'threads': 1, 'progress': lambda *_: None}
    with pytest.raises(MeasurementCancelledError):
        measure_row(tiny_model_path, (), stretch, cancelled=lambda: True, **arguments)
    with pytest.raises(VprError, match='there are no images to measure'):
        measure_row(tiny_model_path, (), None, cancelled=lambda: False, **arguments)


def test_the_child_is_asked_for_what_is_needed(
    tiny_model_path: Path, stretch: ImageRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads and cancelling reach it."""
    asked: dict[str, Any] = {}

    def describe(path: Path, jobs: Any, **how: Any) -> Described:
        """Take note and answer."""
        asked.update(how, path=path, jobs=jobs)
        return Described(descriptors=(np.ones((COUNT, 4), np.float32),), facts=facts(path))

    def stop() -> bool:
        """Never."""
        return False

    monkeypatch.setattr(row_module, 'describe_in_child', describe)
    progress: Callable[[int, int], None] = lambda *_: None  # noqa: E731
    measure_row(tiny_model_path, (), stretch, parent=None, threads=3, cancelled=stop,
                progress=progress)
    assert asked == {'path': tiny_model_path, 'jobs': [stretch], 'threads': 3, 'cancelled': stop,
                     'progress': progress}
