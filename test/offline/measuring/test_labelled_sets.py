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

"""Measuring a model file in a child: real child, real tiny model, metrics counted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
import json
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import GroundTruthError
from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.validation import score
from vpr_compressed.offline.accuracy.validation import ValidationSet
from vpr_compressed.offline.measuring import model_process
from vpr_compressed.offline.measuring.labelled_sets import describe_in_child
from vpr_compressed.offline.measuring.labelled_sets import measure_model
from vpr_compressed.offline.measuring.labelled_sets import ModelFacts
from vpr_compressed.offline.measuring.model_process import ImageFiles
from vpr_compressed.offline.measuring.model_process import ImageRows
from vpr_compressed.runtime.extractor import load_extractor
from vpr_compressed.system.processes import MeasurementCancelledError


def write_images(folder: Path, rng: np.random.Generator, count: int) -> tuple[Path, ...]:
    """Write images that are easy to tell apart."""
    paths = []
    for number in range(count):
        paths.append(folder / f'{number}.png')
        pixels = rng.integers(0, 256, (3, 4, 3), np.uint8)
        cv2.imwrite(str(paths[-1]), cv2.resize(pixels, (64, 48)))
    return tuple(paths)


def pairs_set(name: str, queries: Sequence[Path], references: Sequence[Path],
              *, dark: bool = False) -> ValidationSet:
    """Return a set in which query i belongs to reference i and cannot see itself."""
    right = np.eye(len(queries), len(references), dtype=bool)
    barred = np.array([[one == other for other in references] for one in queries])
    return ValidationSet(name, tuple(queries), tuple(references), right, barred, dark)


def test_scores_are_those_counted_by_hand() -> None:
    """Query 0 ranks 2 (right), 3, 1 (right); query 1 ranks 3, 0, 2, and 2 is right."""
    right = np.array([[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
    barred = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], bool)
    paths = tuple(Path(str(number)) for number in range(4))
    item = ValidationSet('hand', paths[:3], paths, right, barred)
    similarity = np.array([[-2, .1, .9, .5], [.5, -2, .2, .8], [.1, .1, -2, .1]], np.float32)
    found = score(item, similarity)
    assert found.answerable == 2
    assert found.recall == {1: 0.5, 5: 1.0, 10: 1.0}
    # Of three places that may be seen: two of three and one of three are right.
    assert found.precision == {1: 0.5, 5: pytest.approx(0.5), 10: pytest.approx(0.5),
                               30: pytest.approx(0.5)}
    assert found.mean_average_precision == pytest.approx(((1 + 2 / 3) / 2 + 1 / 3) / 2)


def test_a_right_answer_that_is_barred_does_not_count() -> None:
    """Nobody finds what nobody may see."""
    paths = (Path('0'), Path('1'))
    both = np.ones((1, 2), bool)
    item = ValidationSet('hand', paths[:1], paths, both, np.array([[True, False]]))
    found = score(item, np.array([[-2.0, 0.3]], np.float32))
    assert found.mean_average_precision == 1.0
    with pytest.raises(GroundTruthError, match='no query has a right answer'):
        score(ValidationSet('hand', paths[:1], paths, both, both),
              np.full((1, 2), -2.0, np.float32))


def test_a_model_file_is_measured_on_its_sets(
    tmp_path: Path, tiny_model_path: Path, rng: np.random.Generator
) -> None:
    """Shared images are described once, dark ones per list; the scores are those of the file."""
    paths = write_images(tmp_path, rng, 8)
    sets = [pairs_set('day', paths[:4], paths[4:]), pairs_set('self', paths, paths[::-1]),
            pairs_set('night', paths[:4], paths[4:], dark=True)]
    asked: list[tuple[int, int]] = []
    found = measure_model(tiny_model_path, sets, threads=1,
                          progress=lambda done, total: asked.append((done, total)))
    assert found.images == tuple(sorted(paths))
    assert asked[-1] == (12, 12)
    assert found.facts.images == 12
    extractor = load_extractor(tiny_model_path, threads=1)
    descriptors = np.stack([
        extractor.describe(cv2.imread(str(path))[..., ::-1]) for path in sorted(paths)])
    np.testing.assert_allclose(found.descriptors, descriptors, atol=1e-6)
    similarity = descriptors[:4] @ descriptors[4:].T
    best = similarity.argmax(axis=1)
    assert found.scores['day'].recall[1] == np.mean(best == np.arange(4))
    assert set(found.scores) == {'day', 'self', 'night'}


def test_rows_of_an_array_are_described_in_the_child(
    tmp_path: Path, tiny_model_path: Path, rng: np.random.Generator
) -> None:
    """As for frames of a bag."""
    frames = tmp_path / 'frames.npy'
    pixels = rng.integers(0, 256, (5, 48, 64, 3), np.uint8)
    np.save(frames, pixels)
    found = describe_in_child(
        tiny_model_path, [ImageRows(array=frames, rows=(4, 0)), ImageRows(array=frames, rows=())],
        threads=1)
    extractor = load_extractor(tiny_model_path, threads=1)
    np.testing.assert_allclose(found.descriptors[0][0], extractor.describe(pixels[4]), atol=1e-6)
    assert found.descriptors[1].shape == (0, 16)


def test_a_cancelled_measurement_ends_its_child(
    tmp_path: Path, tiny_model_path: Path, rng: np.random.Generator
) -> None:
    """At once, although the job would take long."""
    paths = write_images(tmp_path, rng, 1) * 50_000
    before = set(psutil.Process().children())
    calls: list[int] = []
    children: list[psutil.Process] = []

    def cancelled() -> bool:
        calls.append(1)
        children.extend(set(psutil.Process().children()) - before)
        return len(calls) > 3

    with pytest.raises(MeasurementCancelledError, match='cancelled'):
        describe_in_child(tiny_model_path, [ImageFiles(paths=paths)], threads=1,
                          cancelled=cancelled)
    assert children
    assert psutil.wait_procs(set(children), timeout=300)[1] == []


def test_a_broken_model_is_reported_in_the_words_of_the_child(
    tmp_path: Path, tiny_model_path: Path, rng: np.random.Generator
) -> None:
    """Truncated, as after a broken download."""
    broken = tmp_path / 'broken.vpr'
    broken.write_bytes(tiny_model_path.read_bytes()[:-40])
    paths = write_images(tmp_path, rng, 1)
    with pytest.raises(VprError, match=r'broken\.vpr is truncated or damaged'):
        describe_in_child(broken, [ImageFiles(paths=paths)], threads=1)


def test_a_missing_and_a_damaged_image_are_named(tmp_path: Path, tiny_model_path: Path) -> None:
    """The worker goes no further: a score of fewer images would look like a result."""
    with pytest.raises(VprError, match=r'cannot read image .*gone\.png: No such file'):
        describe_in_child(tiny_model_path, [ImageFiles(paths=(tmp_path / 'gone.png',))], threads=1)
    (tmp_path / 'text.png').write_text('no image', encoding='utf-8')
    with pytest.raises(VprError, match=r'text\.png'):
        describe_in_child(tiny_model_path, [ImageFiles(paths=(tmp_path / 'text.png',))], threads=1)


def test_nothing_to_describe_is_refused(tiny_model_path: Path) -> None:
    """Before a child is started."""
    with pytest.raises(VprError, match='no images to measure'):
        measure_model(tiny_model_path, [])


def test_facts_are_those_of_a_process_of_its_own(
    tmp_path: Path, tiny_model_path: Path, rng: np.random.Generator
) -> None:
    """Bytes, seconds and milliseconds make sense together, and survive being written."""
    paths = write_images(tmp_path, rng, 4)
    facts = describe_in_child(tiny_model_path, [ImageFiles(paths=paths)], threads=1).facts
    assert facts.model_bytes == tiny_model_path.stat().st_size
    assert (facts.engine, facts.threads, facts.images) == ('onnxruntime', 1, 4)
    assert 1e6 < facts.resident_bytes < facts.process_bytes < 1e9
    assert 0.0 < facts.latency_p50_ms <= facts.latency_p95_ms
    assert 0.0 < facts.load_s < 600.0
    assert config_from_mapping(ModelFacts, json.loads(json.dumps(asdict(facts)))) == facts


def test_ctrl_c_that_reaches_the_child_first_is_a_cancellation(
    tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may send it a signal of its own."""
    (tmp_path / 'interrupted.py').write_text('raise SystemExit(130)')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(model_process, 'MODULE', 'interrupted')
    with pytest.raises(MeasurementCancelledError):
        describe_in_child(tiny_model_path, [ImageFiles(paths=(Path('x'),))], threads=1)


def test_a_full_temporary_folder_is_explained(
    tmp_path: Path, tiny_model_path: Path, rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """Descriptors travel through files."""
    def full(*_args: object, **_more: object) -> None:
        raise OSError(28, 'No space left on device')

    paths = write_images(tmp_path, rng, 1)
    monkeypatch.setattr(np, 'load', full)
    with pytest.raises(VprError, match=r'No space left.*is the disk of'):
        describe_in_child(tiny_model_path, [ImageFiles(paths=paths)], threads=1)
