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

"""Pictures at network size on disk: from folders and bags, thinned, kept, never half written."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import resource

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores

from vpr_compressed.errors import ImageFormatError
from vpr_compressed.errors import TrainingError
from vpr_compressed.errors import VprError
from vpr_compressed.images.pixels import normalise
from vpr_compressed.images.pixels import resize
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.training.batches import augment
from vpr_compressed.offline.training.views import build_views
from vpr_compressed.offline.training.views import files
from vpr_compressed.offline.training.views import frames
from vpr_compressed.offline.training.views import ImageStream
from vpr_compressed.offline.training.views import Views
from vpr_compressed.sources import open_source

SIZE = PreprocessingSpec(width=32, height=24)
COUNT = 7
KIND = 'sensor_msgs/msg/CompressedImage'


def picture(number: int) -> NDArray[np.uint8]:
    """Return what the camera saw, larger than the network's input."""
    blocks = np.random.default_rng(number).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(blocks, (80, 60), interpolation=cv2.INTER_CUBIC))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with seven images."""
    path = tmp_path / 'images'
    path.mkdir()
    for number in range(COUNT):
        cv2.imwrite(str(path / f'{number}.png'), picture(number)[..., ::-1])
    return path


def bag(path: Path, images: Path, storage: StoragePlugin) -> Path:
    """Write the files of a folder as a bag."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    made = types.types
    with Writer(path, version=8, storage_plugin=storage) as writer:
        connection = writer.add_connection('/camera/compressed', KIND, typestore=types)
        for number in range(COUNT):
            stamp = made['builtin_interfaces/msg/Time'](sec=number, nanosec=1)
            message = made[KIND](
                header=made['std_msgs/msg/Header'](stamp=stamp, frame_id='camera'), format='png',
                data=np.frombuffer((images / f'{number}.png').read_bytes(), np.uint8))
            writer.write(connection, number, types.serialize_cdr(message, KIND))
    return path


def build(
    cache: Path, images: ImageStream, *, changed: bool = False, seed: int = 1,
    cancelled: Callable[[], bool] = lambda: False
) -> Path:
    """Build views without watching."""
    return build_views(cache, images, SIZE, changed=changed, seed=seed,
                       progress=lambda *_: None, cancelled=cancelled)


def listed(count: int = COUNT, given: int = COUNT, name: str = 'made up') -> ImageStream:
    """Return made-up images; ``given`` of them really come."""
    return ImageStream(name, count, lambda: (picture(number) for number in range(given)))


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_folder_and_bags_of_both_storages_give_the_same_views(
    folder: Path, tmp_path: Path
) -> None:
    """Pixel by pixel, and those of a list of files; each at network size."""
    wanted = np.stack([resize(picture(number), 32, 24) for number in range(COUNT)])
    lists = [files(sorted(folder.glob('*.png'))), *(
        frames(open_source(path), 0, COUNT, 100) for path in (
            folder, bag(tmp_path / 'sqlite', folder, StoragePlugin.SQLITE3),
            bag(tmp_path / 'mcap', folder, StoragePlugin.MCAP)))]
    paths = [build(tmp_path / 'cache', images) for images in lists]
    assert len(set(paths)) == 4
    for path in paths:
        found = Views.of_file(path, COUNT, SIZE)
        assert (len(found), found.count, found.path) == (COUNT, COUNT, path)
        np.testing.assert_array_equal(found.images, wanted)
        assert isinstance(found.images, np.memmap)  # a long bag does not fit into memory
    np.testing.assert_array_equal(found.batch([5, 2]), normalise(wanted[[5, 2]], SIZE))


@pytest.mark.parametrize(('first', 'last', 'limit', 'wanted'), [
    (0, 7, 3, [0, 3, 6]), (2, 6, 100, [2, 3, 4, 5]), (2, 6, 2, [2, 5]), (3, 4, 5, [3]),
    (0, 7, 1, [0])])
def test_a_stretch_is_thinned_evenly(
    first: int, last: int, limit: int, wanted: list[int], folder: Path
) -> None:
    """Both ends included; what comes is what was announced."""
    images = frames(open_source(folder), first, last, limit)
    found = list(images.read())
    assert images.count == len(found) == len(wanted)
    for image, number in zip(found, wanted):
        np.testing.assert_array_equal(image, picture(number))


def test_a_stretch_is_not_read_beyond_its_end(folder: Path) -> None:
    """A broken image in the held-out part does not stop the training part."""
    (folder / '6.png').write_bytes(b'broken')
    assert len(list(frames(open_source(folder), 0, 6, 100).read())) == 6
    with pytest.raises(VprError, match=r'6\.png'):
        list(frames(open_source(folder), 0, 7, 100).read())


def test_changed_views_are_the_same_every_time(tmp_path: Path) -> None:
    """Behind the unchanged ones, in order; another seed gives others."""
    found = Views.of_file(build(tmp_path / 'a', listed(), changed=True), COUNT, SIZE)
    assert (len(found), found.count) == (2 * COUNT, COUNT)
    for number in range(COUNT):
        small = resize(picture(number), 32, 24)
        np.testing.assert_array_equal(found.images[number], small)
        np.testing.assert_array_equal(
            found.images[COUNT + number], augment(small, np.random.default_rng([1, number])))
    found.parent = np.zeros((2 * COUNT, 4), np.float32)
    assert found.bank.shape == (COUNT, 4)
    again = np.load(build(tmp_path / 'b', listed(), changed=True))
    np.testing.assert_array_equal(again, found.images)
    other = np.load(build(tmp_path / 'b', listed(), changed=True, seed=2))
    assert (other[COUNT:] != found.images[COUNT:]).any()


def test_images_are_read_once(tmp_path: Path) -> None:
    """The second run takes what is there; another size or list is read anew."""
    reads = []

    def read() -> Iterator[NDArray[np.uint8]]:
        reads.append(1)
        return (picture(number) for number in range(COUNT))

    images = ImageStream('counted', COUNT, read)
    assert build(tmp_path, images) == build(tmp_path, images)
    assert len(reads) == 1
    build(tmp_path, ImageStream('others', COUNT, read))
    build(tmp_path, images, changed=True)
    build_views(tmp_path, images, PreprocessingSpec(width=16, height=16), changed=False, seed=1,
                progress=lambda *_: None, cancelled=lambda: False)
    assert len(reads) == 4


def test_progress_is_told_image_by_image(tmp_path: Path) -> None:
    """With a name for the stage."""
    seen: list[tuple[str, int, int]] = []
    build_views(tmp_path, listed(), SIZE, changed=False, seed=1,
                progress=lambda *what: seen.append(what), cancelled=lambda: False)
    assert seen == [('reading images', number + 1, COUNT) for number in range(COUNT)]


def test_what_a_killed_run_left_is_written_anew(tmp_path: Path) -> None:
    """Only a complete file has the name that is looked for."""
    path = build(tmp_path, listed())
    wanted = path.read_bytes()
    path.unlink()
    left = path.with_name(f'{path.name}.1.part')  # of another process, which may be alive
    left.write_bytes(b'half of')
    assert build(tmp_path, listed()).read_bytes() == wanted
    assert sorted(tmp_path.iterdir()) == sorted([path, left])


def test_a_damaged_cache_is_refused_or_made_anew(tmp_path: Path) -> None:
    """After a power cut a file can have its name but not its content."""
    path = build(tmp_path, listed())
    path.write_bytes(path.read_bytes()[:-100])
    try:
        assert len(Views.of_file(build(tmp_path, listed()), COUNT, SIZE)) == COUNT
    except TrainingError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_images_that_were_replaced_are_read_again(folder: Path, tmp_path: Path) -> None:
    """The same folder with as many other images, as a robot overwrites its last recording."""
    paths = sorted(folder.glob('*.png'))
    build(tmp_path / 'cache', files(paths))
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), picture(100 + number)[..., ::-1])
    found = np.load(build(tmp_path / 'cache', files(paths)))
    np.testing.assert_array_equal(found[0], resize(picture(100), 32, 24))


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    """Neither a part nor something that looks like a cache; with space it works."""
    cache = tmp_path / 'cache'
    with small_disk(9000), pytest.raises(
            TrainingError, match=r'cannot write images to .*cache: File too large; free space'):
        build(cache, listed())
    assert not list(cache.iterdir())
    assert np.load(build(cache, listed())).shape == (COUNT, 24, 32, 3)


def test_a_cache_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / 'cache').write_text('a file')
    with pytest.raises(TrainingError, match='cannot write images to'):
        build(tmp_path / 'cache', listed())


def test_cancelling_leaves_nothing(tmp_path: Path) -> None:
    """In the middle of reading."""
    asked = iter([False, False, True])
    with pytest.raises(TrainingError, match='cancelled while reading images'):
        build(tmp_path, listed(), cancelled=lambda: next(asked))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('given', [3, 9])
def test_another_number_of_images_than_announced_is_refused(given: int, tmp_path: Path) -> None:
    """A bag that is still being recorded."""
    with pytest.raises(TrainingError, match=f'gave {given} images instead of 7; is it being wri'):
        build(tmp_path, listed(given=given), changed=True)
    assert not list(tmp_path.iterdir())


def test_no_images_are_refused(folder: Path, tmp_path: Path) -> None:
    """An empty stretch too."""
    with pytest.raises(TrainingError, match='no images to train on in made up'):
        build(tmp_path, listed(0, 0))
    with pytest.raises(TrainingError, match='no images to train on in folder'):
        build(tmp_path, frames(open_source(folder), 3, 3, 10))


def test_files_that_cannot_be_read_are_named(folder: Path, tmp_path: Path) -> None:
    """When their turn comes; nothing half written stays."""
    (folder / '3.png').write_bytes(b'no image')
    with pytest.raises(ImageFormatError, match=r'3\.png'):
        build(tmp_path / 'cache', files(sorted(folder.glob('*.png'))))
    (folder / '3.png').unlink()
    with pytest.raises(TrainingError, match=r'cannot read .*3\.png: No such file'):
        build(tmp_path / 'cache', files([folder / '3.png']))
    assert not list((tmp_path / 'cache').iterdir())
