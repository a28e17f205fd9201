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

"""
The pictures a compression trains on: at network size on disk, with the parent's descriptors.

Images are streamed once from files or a bag into memory-mapped arrays, so neither a long bag
nor a large data set has to fit into memory, and a batch costs no decoding.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import TrainingError
from vpr_compressed.images.pixels import normalise
from vpr_compressed.images.pixels import resize
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.training.batches import augment
from vpr_compressed.offline.training.batches import BatchSampler
from vpr_compressed.offline.training.batches import read_rgb
from vpr_compressed.offline.training.parallel import StoppedError
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.sources import ImageSource
from vpr_compressed.system.files import cache_key
from vpr_compressed.system.files import whole_file

#: Stage, images done, images in all.
StageProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ImageStream:
    """
    Images that can be read once, one after the other.

    :param name: what they are, for messages and for the cache
    :param count: how many there will be
    :param read: yields uint8 RGB ``(H, W, 3)``, any size
    """

    name: str
    count: int
    read: Callable[[], Iterator[ImageArray]]


class Views:
    """
    Pictures at network size, and every one of them in another light if asked.

    :param images: memory-mapped uint8 ``(M, h, w, 3)``; rows from ``count`` on are the changed
        views of the first ``count``, in order
    :param count: number N of images; M is N or 2 N
    :param path: the file behind ``images``
    """

    def __init__(
        self, images: NDArray[np.uint8], count: int, preprocessing: PreprocessingSpec,
        path: Path = Path()
    ) -> None:
        self.images = images
        self.count = count
        self.path = path
        self._preprocessing = preprocessing
        #: The parent's descriptors of all rows, float32 ``(M, D)``; empty until they are known.
        self.parent: DescriptorArray = np.zeros((0, 0), np.float32)
        #: Pairs of row numbers of the unchanged images; None without labels.
        self.sampler: BatchSampler | None = None

    @classmethod
    def of_file(cls, path: Path, count: int, preprocessing: PreprocessingSpec) -> Views:
        """
        Return the views in a file that :func:`build_views` wrote.

        :raises TrainingError: if it is damaged
        """
        images = load_array(path, mmap=True)
        shape = (preprocessing.height, preprocessing.width, 3)
        if images.dtype != np.uint8 or images.shape[1:] != shape or len(images) not in (
                count, 2 * count):
            raise TrainingError(
                f'{path} holds {images.dtype} {images.shape} and not {count} images of the '
                'network size; remove it, it is made again')
        return cls(images, count, preprocessing, path)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def bank(self) -> DescriptorArray:
        """Return the parent's descriptors of the unchanged images, ``(N, D)``."""
        return self.parent[:self.count]

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return rows as network input, float32 ``(B, 3, h, w)``."""
        return normalise(np.ascontiguousarray(self.images[np.asarray(rows)]), self._preprocessing)


def load_array(path: Path, *, mmap: bool = False) -> NDArray[Any]:
    """
    Return an array of the cache.

    :raises TrainingError: if it is damaged, with what to do
    """
    try:
        found: NDArray[Any] = np.load(path, mmap_mode='r' if mmap else None)
    except (OSError, ValueError, EOFError) as error:
        raise TrainingError(
            f'cannot read {path} ({error}); remove it, it is made again') from error
    return found


def evenly(count: int, most: int) -> list[int]:
    """Return at most so many of the numbers below ``count``, evenly spread, ends included."""
    return [int(index) for index in np.unique(
        np.linspace(0, count - 1, min(most, count)).round())] if count > 0 else []


def files(paths: Sequence[Path]) -> ImageStream:
    """
    Return image files as a list to read.

    :param paths: at least one; a file that cannot be read raises TrainingError when its turn comes
    """
    name = f'{len(paths)} files {_digest(paths)}'
    return ImageStream(name, len(paths), lambda: map(read_rgb, paths))


def frames(source: ImageSource, first: int, last: int, limit: int) -> ImageStream:
    """
    Return a stretch of a folder or bag, evenly thinned to at most ``limit`` images.

    :param first: index of the first frame, inclusive
    :param last: index behind the last frame
    """
    chosen = {first + index for index in evenly(last - first, limit)}

    def read() -> Iterator[ImageArray]:
        for frame in source:
            if frame.index in chosen:
                yield frame.load()
            if frame.index >= last - 1:
                return
    path = source.path
    parts = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [
        path]
    return ImageStream(
        f'{source.describe()} {_digest(parts)} [{first}:{last}]', len(chosen), read)


def build_views(
    folder: Path, images: ImageStream, preprocessing: PreprocessingSpec, *, changed: bool,
    seed: int, progress: StageProgress, cancelled: Callable[[], bool]
) -> Path:
    """
    Bring images to network size on disk, or take those that lie there from before.

    :param folder: cache; receives ``<key>.npy``
    :param changed: add one view of every image in another light
    :returns: the file, for :meth:`Views.of_file`
    :raises TrainingError: if there are no images, the disk is full, or it was cancelled
    """
    if images.count == 0:
        raise TrainingError(f'no images to train on in {images.name}; give a longer recording')
    key = cache_key([images.name, images.count, preprocessing.width, preprocessing.height, changed,
                     seed])[:20]
    path = folder / f'{key}.npy'
    if not path.exists():
        _remove_left_over(path)
        try:
            with whole_file(path) as part:
                _fill(part, images, preprocessing, changed, seed, progress, cancelled)
        except OSError as error:
            raise TrainingError(
                f'cannot write images to {folder}: {error.strerror}; free space there or '
                'lower max_images') from error
    return path


def _fill(
    path: Path, images: ImageStream, preprocessing: PreprocessingSpec, changed: bool, seed: int,
    progress: StageProgress, cancelled: Callable[[], bool]
) -> None:
    """Write all views to one file."""
    height, width, count = preprocessing.height, preprocessing.width, images.count
    shape = (count * (2 if changed else 1), height, width, 3)
    with path.open('wb') as stream:
        # A full disk behind a memory map is a SIGBUS; written as a stream it is an error.
        np.lib.format.write_array_header_1_0(
            stream, {'descr': '|u1', 'fortran_order': False, 'shape': shape})
        start, size = stream.tell(), height * width * 3
        done = 0
        for image in images.read():
            if cancelled():
                raise StoppedError('cancelled while reading images')
            small = resize(image, width, height)
            stream.seek(start + done * size)
            stream.write(small.tobytes())
            if changed:
                stream.seek(start + (count + done) * size)
                stream.write(augment(small, np.random.default_rng([seed, done])).tobytes())
            done += 1
            progress('reading images', done, count)
        if done != count:
            raise TrainingError(
                f'{images.name} gave {done} images instead of {count}; is it being written?')


def _digest(paths: Sequence[Path]) -> str:
    """Return text that changes with the names, sizes and times of files."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            facts = path.stat()
        except OSError as error:
            raise TrainingError(f'cannot read {path}: {error.strerror}') from error
        digest.update(f'{path} {facts.st_size} {facts.st_mtime_ns}\n'.encode())
    return digest.hexdigest()[:16]


def _remove_left_over(path: Path) -> None:
    """Remove what runs that were killed left of the same images; they may be gigabytes."""
    for part in path.parent.glob(f'{path.name}.*.part'):
        if not Path('/proc', part.name.split('.')[-2]).exists():
            part.unlink(missing_ok=True)
