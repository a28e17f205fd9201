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
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.offline.measuring import content_cache
from vpr_compressed.offline.measuring import two_recordings
from vpr_compressed.offline.measuring.content_cache import ContentCache
from vpr_compressed.offline.measuring.content_cache import DescribedImages
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.sources import FolderSource

KEY = 'model and machine'


def digest(number: int) -> bytes:
    """Return a made-up digest of an image."""
    return bytes([number]) * 32


def vector(number: int) -> DescriptorArray:
    """Return a made-up descriptor."""
    return np.array([number, 0.5, -number], np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a cache with the descriptors of images 0 to 4, one file each."""
    images = DescribedImages(ContentCache(tmp_path), KEY)
    for number in range(5):
        images.put(digest(number), vector(number), 10.0 + number)
        images.save()
    return tmp_path


def files(folder: Path) -> list[Path]:
    """Return the files of a cache in the order of their making."""
    return sorted(folder.glob('descriptors-*.npz'))


def known(folder: Path, key: str = KEY) -> list[int]:
    """Return the images of which a cache gives the right descriptor and time."""
    images = DescribedImages(ContentCache(folder), key)
    found = {number: images.get(digest(number)) for number in range(6)}
    good = [number for number, entry in found.items() if entry is not None]
    for number in good:
        entry = found[number]
        assert entry is not None
        np.testing.assert_array_equal(entry[0], vector(number))
        assert entry[1] == 10.0 + number
    return good


def test_what_was_put_is_got_by_the_next_run(folder: Path) -> None:
    """Bit for bit; an image that was never seen is not known."""
    assert known(folder) == [0, 1, 2, 3, 4]
    assert len(files(folder)) == 5


def test_records_of_the_same_run_are_not_recalled(folder: Path) -> None:
    """An image that occurs twice is timed twice."""
    images = DescribedImages(ContentCache(folder), KEY)
    images.put(digest(5), vector(5), 15.0)
    images.save()
    assert images.get(digest(5)) is None
    assert len(images) == 5
    assert known(folder) == [0, 1, 2, 3, 4, 5]


def test_a_later_description_replaces_an_earlier_one(folder: Path) -> None:
    """Also when there are more than nine files."""
    for milliseconds in (*range(90, 101), 12.0):
        images = DescribedImages(ContentCache(folder), KEY)
        images.put(digest(2), vector(2), milliseconds)
        images.save()
    assert known(folder) == [0, 1, 2, 3, 4]


def test_little_is_lost_when_nobody_saves(tmp_path: Path) -> None:
    """A file for some images each: few files, and at most some images are not in one."""
    images = DescribedImages(ContentCache(tmp_path), KEY)
    for number in range(2000):
        images.put(number.to_bytes(32, 'big'), vector(1), 1.0)
    kept = len(DescribedImages(ContentCache(tmp_path), KEY))
    assert 0 <= 2000 - kept <= max(16, 0.02 * 2000)
    assert len(files(tmp_path)) < 110


@pytest.mark.parametrize('damage', ['bit', 'cut', 'empty'])
def test_a_damaged_file_loses_only_its_own_images(damage: str, folder: Path) -> None:
    """As after a power cut; what is written afterwards is good again."""
    path = files(folder)[2]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(
        {'bit': bytes(data), 'cut': path.read_bytes()[:-1], 'empty': b''}[damage])
    assert known(folder) == [0, 1, 3, 4]
    assert not path.exists(), 'the damaged file is gone for good'
    images = DescribedImages(ContentCache(folder), KEY)
    images.put(digest(2), vector(2), 12.0)
    images.save()
    assert known(folder) == [0, 1, 2, 3, 4]


def test_bit_that_flips_while_it_is_open_is_noticed(folder: Path) -> None:
    """The digest is looked at again when a file is used."""
    images = DescribedImages(ContentCache(folder), KEY)
    path = files(folder)[2]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))
    assert images.get(digest(2)) is None
    assert images.get(digest(3)) is not None


def test_descriptors_of_another_model_are_never_taken(folder: Path) -> None:
    """Their key is another."""
    assert known(folder, key='another model') == []


def test_a_full_disk_costs_the_next_run_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This one goes on."""
    def full(*_args: object) -> None:
        raise OSError(28, 'No space left on device')

    images = DescribedImages(ContentCache(folder), KEY)
    monkeypatch.setattr(content_cache, 'write_whole', full)
    images.put(digest(5), vector(5), 15.0)
    images.save()
    assert known(folder) == [0, 1, 2, 3, 4]


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    """With the option that helps."""
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(VprError, match=r'cannot keep descriptors in .*--cache'):
        ContentCache(tmp_path / 'file' / 'cache')


class Pixels:
    """Describe an image of 4x4 pixels by its pixels, and be interrupted after a while."""

    dimension = 48
    descriptor_id = '00000000feedf00d'
    calibration = DecisionCalibration()
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
    cache = ContentCache(tmp_path / 'cache')
    with pytest.raises(KeyboardInterrupt):
        two_recordings.measure(
            *sources, Pixels(11), known=DescribedImages(cache, KEY))  # type: ignore[arg-type]
    again, images = Pixels(), DescribedImages(cache, KEY)
    assert len(images) == 11
    resumed = two_recordings.measure(*sources, again, known=images)  # type: ignore[arg-type]
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
    runs = [
        two_recordings.measure(
            source, source, Pixels(),  # type: ignore[arg-type]
            known=DescribedImages(ContentCache(tmp_path / 'cache'), KEY))
        for _ in range(2)]
    # The second record of an image replaces the first: that of the query.
    assert [query.inference_ms for query in runs[1].queries] == [
        query.inference_ms for query in runs[0].queries]
