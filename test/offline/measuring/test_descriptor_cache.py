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

"""Descriptors that survive an interruption, and files that do not deserve trust."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_compressed.errors import VprError
from vpr_compressed.model_file.calibration import SimilarityCalibration
from vpr_compressed.offline.measuring import two_recordings
from vpr_compressed.offline.measuring.descriptor_cache import DescriptorStore
from vpr_compressed.offline.measuring.descriptor_cache import opened
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.sources import FolderSource

KEY = 'model and machine'
SIZE = 32 + 8 + 4 * 3 + 4


def digest(number: int) -> bytes:
    """Return a made-up digest of an image."""
    return bytes([number]) * 32


def vector(number: int) -> DescriptorArray:
    """Return a made-up descriptor."""
    return np.array([number, 0.5, -number], np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with the descriptors of images 0 to 4."""
    file = tmp_path / 'descriptors.bin'
    with opened(file, key=KEY, dimension=3) as store:
        for number in range(5):
            store.put(digest(number), vector(number), 10.0 + number)
    return file


def known(file: Path, key: str = KEY, dimension: int = 3) -> list[int]:
    """Return the images of which a file gives the right descriptor and time."""
    with opened(file, key=key, dimension=dimension) as store:
        found = {number: store.get(digest(number)) for number in range(6)}
    good = [number for number, entry in found.items() if entry is not None]
    for number in good:
        entry = found[number]
        assert entry is not None
        np.testing.assert_array_equal(entry[0], vector(number))
        assert entry[1] == 10.0 + number
    return good


def test_what_was_put_is_got_by_the_next_run(path: Path) -> None:
    """Bit for bit; an image that was never seen is not known."""
    assert known(path) == [0, 1, 2, 3, 4]
    assert path.stat().st_size == 5 * SIZE


def test_records_of_the_same_run_are_not_recalled(path: Path) -> None:
    """An image that occurs twice is timed twice."""
    with opened(path, key=KEY, dimension=3) as store:
        store.put(digest(5), vector(5), 15.0)
        assert store.get(digest(5)) is None
        assert len(store) == 5
    assert known(path) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize('cut', [1, SIZE - 1, SIZE, SIZE + 5])
def test_a_file_that_ends_early_loses_only_the_records_that_are_cut(cut: int, path: Path) -> None:
    """As after a power cut; what is appended afterwards is in step again."""
    path.write_bytes(path.read_bytes()[:-cut])
    left = (5 * SIZE - cut) // SIZE
    assert known(path) == list(range(left))
    with opened(path, key=KEY, dimension=3) as store:
        store.put(digest(5), vector(5), 15.0)
    assert known(path) == [*range(left), 5]


@pytest.mark.parametrize('place', [0, 31, 33, 45, SIZE - 1])
def test_a_flipped_bit_loses_its_record(place: int, path: Path) -> None:
    """In the digest, the time, the values or the checksum."""
    data = bytearray(path.read_bytes())
    data[2 * SIZE + place] ^= 4
    path.write_bytes(bytes(data))
    assert known(path) == [0, 1, 3, 4]
    assert path.stat().st_size == 4 * SIZE, 'the damaged record is gone for good'


def test_bit_that_flips_while_it_is_open_is_noticed(path: Path) -> None:
    """The checksum is looked at again when a record is used."""
    with opened(path, key=KEY, dimension=3) as store:
        data = bytearray(path.read_bytes())
        data[2 * SIZE + 45] ^= 4
        path.write_bytes(bytes(data))
        assert store.get(digest(2)) is None
        assert store.get(digest(3)) is not None


def test_descriptors_of_another_model_are_never_taken(path: Path) -> None:
    """A file that was renamed, or of another size of descriptor."""
    other = path.with_name('other.bin')
    other.write_bytes(path.read_bytes())
    assert known(other, key='another model') == []
    assert known(path, dimension=4) == []


def test_a_folder_that_is_missing_is_explained(tmp_path: Path) -> None:
    """With the option that helps."""
    with pytest.raises(VprError, match=r'cannot keep descriptors in .*--cache'):
        DescriptorStore(tmp_path / 'no' / 'file.bin', key=KEY, dimension=3)


class Pixels:
    """Describe an image of 4x4 pixels by its pixels, and be interrupted after a while."""

    dimension = 48
    descriptor_id = '00000000feedf00d'
    calibration = SimilarityCalibration(threshold=0.99, slope=50.0, offset=0.98)
    model_name = 'pixels'

    def __init__(self, patience: int = 1000) -> None:
        self.calls = 0
        self._patience = patience

    def describe(self, image: ImageArray) -> DescriptorArray:
        """Return the pixels around their mean, unit norm."""
        if self.calls == self._patience:
            raise KeyboardInterrupt
        self.calls += 1
        values = image.astype(np.float32).reshape(-1)
        values = values - values.mean()
        return np.asarray(values / np.linalg.norm(values), np.float32)


def test_an_interrupted_measurement_describes_only_what_is_missing(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """In the middle of the queries; matches, rankings and hashes are those of a run in one go."""
    for name in ('reference', 'query'):
        (tmp_path / name).mkdir()
        for number in range(8):
            pixels = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)
            cv2.imwrite(str(tmp_path / name / f'{number}.png'), pixels)
    sources = FolderSource(tmp_path / 'reference'), FolderSource(tmp_path / 'query')
    whole = two_recordings.measure(*sources, Pixels())  # type: ignore[arg-type]
    file = tmp_path / 'store.bin'
    with opened(file, key=KEY, dimension=48) as store, pytest.raises(KeyboardInterrupt):
        two_recordings.measure(*sources, Pixels(11), store=store)  # type: ignore[arg-type]
    again = Pixels()
    with opened(file, key=KEY, dimension=48) as store:
        assert len(store) == 11
        resumed = two_recordings.measure(*sources, again, store=store)  # type: ignore[arg-type]
    assert again.calls == 16 - 11
    assert (whole.recalled, resumed.recalled) == (0, 11)
    np.testing.assert_array_equal(resumed.rows, whole.rows)
    np.testing.assert_array_equal(resumed.similarities, whole.similarities)
    assert resumed.reference_sha256 == whole.reference_sha256
    assert resumed.query_sha256 == whole.query_sha256
    assert [query.match_row for query in resumed.queries] == [
        query.match_row for query in whole.queries]


def test_recalled_images_keep_the_milliseconds_of_their_network(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Reading them from a file is no inference."""
    (tmp_path / 'walk').mkdir()
    for number in range(3):
        pixels = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / 'walk' / f'{number}.png'), pixels)
    source = FolderSource(tmp_path / 'walk')
    runs = []
    for _ in range(2):
        with opened(tmp_path / 'store.bin', key=KEY, dimension=48) as store:
            runs.append(two_recordings.measure(
                source, source, Pixels(), store=store))  # type: ignore[arg-type]
    # The second record of an image replaces the first: that of the query.
    assert [query.inference_ms for query in runs[1].queries] == [
        query.inference_ms for query in runs[0].queries]
