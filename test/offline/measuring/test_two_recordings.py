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

"""The measurement: the map's own ranking, every image, nothing invented."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_compressed.errors import SourceError
from vpr_compressed.model_file.spec import SimilarityCalibration
from vpr_compressed.offline.measuring import two_recordings
from vpr_compressed.offline.measuring.model_process import load_measured
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.runtime.extractor import load_extractor
from vpr_compressed.sources import FolderSource
from vpr_compressed.sources import Frame


class Thumbnail:
    """Describe an image by its pixels: simple enough to be computed again in a test."""

    dimension = 48
    descriptor_id = '00000000feedf00d'
    calibration = SimilarityCalibration(threshold=0.99, slope=50.0, offset=0.98)
    model_name = 'thumbnail'

    def describe(self, image: ImageArray) -> DescriptorArray:
        """Return the pixels of the 4x4 image around their mean, unit norm."""
        vector = image.astype(np.float32).reshape(-1)
        vector = vector - vector.mean()
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


def write_images(path: Path, images: list[ImageArray]) -> FolderSource:
    """Write images without loss."""
    path.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(path / f'{number}.png'), image[..., ::-1])
    return FolderSource(path)


@pytest.fixture
def images(rng: np.random.Generator) -> list[ImageArray]:
    """Return ten different images of 4x4 pixels."""
    return [rng.integers(0, 256, (4, 4, 3)).astype(np.uint8) for _ in range(10)]


def test_ranking_is_that_of_the_similarities(tmp_path: Path, images: list[ImageArray]) -> None:
    """Complete, best first, and equal to brute force up to the rounding of the stored bytes."""
    reference = write_images(tmp_path / 'reference', images)
    query = write_images(tmp_path / 'query', images[:4])
    seen: list[tuple[int, int]] = []
    found = two_recordings.measure(
        reference, query, Thumbnail(),  # type: ignore[arg-type]
        progress=lambda done, total: seen.append((done, total)))
    described = np.stack([Thumbnail().describe(image) for image in images])
    for number in range(4):
        expected = described @ described[number]
        np.testing.assert_allclose(
            found.similarities[number], np.sort(expected)[::-1], atol=0.01)
        assert sorted(found.rows[number].tolist()) == list(range(10))
        assert found.rows[number, 0] == number
    assert seen == [(number, 14) for number in range(1, 15)]
    assert found.reference_names == tuple(f'{number}.png' for number in range(10))
    assert found.bytes_per_place > 48


def test_matches_need_agreement_and_name_reference_rows(
    tmp_path: Path, images: list[ImageArray]
) -> None:
    """The same walk again: withheld at first, right from the third image on."""
    source = write_images(tmp_path / 'walk', images)
    found = two_recordings.measure(source, source, Thumbnail())  # type: ignore[arg-type]
    matches = [query.match_row for query in found.queries]
    assert matches == [None, None, *range(2, 10)]
    assert found.queries[5].confidence > 0.5
    assert found.reference_sha256 == found.query_sha256


def test_large_runs_are_ranked_less_deep(
    tmp_path: Path, images: list[ImageArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory stays bounded; the first places are still there."""
    monkeypatch.setattr(two_recordings, 'MAX_SIMILARITIES', 12)
    monkeypatch.setattr(two_recordings, 'MIN_DEPTH', 3)
    reference = write_images(tmp_path / 'reference', images)
    query = write_images(tmp_path / 'query', images[:3])
    found = two_recordings.measure(reference, query, Thumbnail())  # type: ignore[arg-type]
    assert found.rows.shape == (3, 4)
    assert found.rows[:, 0].tolist() == [0, 1, 2]


def test_source_that_ends_early_is_refused(tmp_path: Path, images: list[ImageArray]) -> None:
    """Recall over fewer queries than announced would look like a result."""
    class Short(FolderSource):
        def __iter__(self) -> Iterator[Frame]:
            return iter(list(super().__iter__())[:-1])

    source = write_images(tmp_path / 'walk', images)
    with pytest.raises(SourceError, match=r'\(10 images\) gave only 9 images'):
        two_recordings.measure(source, Short(source.path), Thumbnail())  # type: ignore[arg-type]


def test_loading_a_model_is_measured(tiny_model_path: Path) -> None:
    """Loaded, run once, and ready."""
    extractor, cost = load_measured(tiny_model_path, engine='onnxruntime', threads=1)
    assert cost.load_s > 0
    assert cost.peak_bytes >= cost.resident_bytes >= 0
    expected = load_extractor(tiny_model_path, threads=1)
    assert extractor.descriptor_id == expected.descriptor_id
