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

"""Which images meet in a batch, and how they become tensors."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import TrainingError
from vpr_compressed.images.pixels import normalise
from vpr_compressed.images.pixels import resize
from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.accuracy.night import darken
from vpr_compressed.offline.training.augment import augment
from vpr_compressed.offline.training.labels import TrainingSet
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray

#: Hard negatives kept for every image.
HARD_KEPT = 10


@dataclass(frozen=True)
class Batch:
    """
    Pairs of images of one optimiser step; row ``i`` and ``i + P`` are a pair.

    :param images: normalised float32, ``(2 P, 3, h, w)``; of several processes, own rows only
    :param same: bool ``(2 P, 2 P)``, pairs that show the same place
    :param different: bool ``(2 P, 2 P)``, pairs that surely do not
    """

    images: NDArray[np.float32]
    same: NDArray[np.bool_]
    different: NDArray[np.bool_]


class ImageLoader:
    """
    Read, resize, augment and normalise image files on a few threads.

    :param spec: input size and normalisation
    """

    def __init__(self, spec: PreprocessingSpec, *, threads: int = 2) -> None:
        self._spec = spec
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix='images')

    def load(self, path: Path) -> ImageArray:
        """
        Return one image at network size.

        :raises TrainingError: if the file cannot be read
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise TrainingError(f'cannot read {path}: {error.strerror}') from error
        size = self._spec.width, self._spec.height
        return resize(rgb_from_encoded(data, name=str(path), at_least=size), *size)

    def batches(
        self, paths: Sequence[Path], size: int = 32, *, change: str = '', seed: int = 0,
        starts: Iterable[int] | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """
        Yield normalised images in order.

        :param change: '' for the images as they are, ``augment`` or ``dark``
        :param starts: first images of the batches wanted, None for all
        :returns: float32 arrays ``(<= size, 3, h, w)``
        """
        functions = {'augment': augment, 'dark': darken}

        def one(number: int) -> ImageArray:
            image = self.load(paths[number])
            if change:
                image = functions[change](image, np.random.default_rng([seed, number]))
            return image

        for start in range(0, len(paths), size) if starts is None else starts:
            numbers = range(start, min(start + size, len(paths)))
            yield normalise(np.stack(list(self._pool.map(one, numbers))), self._spec)

    def pairs(
        self, paths: Sequence[tuple[Path, Path]], seed: Sequence[int],
        rows: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """
        Load anchors (half of them augmented) and positives (all augmented).

        :param seed: numbers that make the randomness of this batch repeatable
        :param rows: which of the 2 P images to load, None for all; each looks the same either way
        :returns: float32 ``(2 P, 3, h, w)``, anchors first, or ``(len(rows), 3, h, w)``
        """
        jobs = [(pair[0], index, index % 2 == 1) for index, pair in enumerate(paths)]
        jobs += [(pair[1], len(paths) + index, True) for index, pair in enumerate(paths)]
        if rows is not None:
            jobs = [jobs[row] for row in rows]

        def one(job: tuple[Path, int, bool]) -> ImageArray:
            path, number, changed = job
            image = self.load(path)
            return augment(image, np.random.default_rng([*seed, number])) if changed else image

        return normalise(np.stack(list(self._pool.map(one, jobs))), self._spec)

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)


class BatchSampler:
    """
    Choose pairs; a batch depends on the seed, the step and the hard negatives alone.

    :param data: labelled images
    :param pairs: pairs in a batch
    :param hard_share: share of anchors that are hard negatives of another anchor
    """

    def __init__(self, data: TrainingSet, *, pairs: int, hard_share: float, seed: int) -> None:
        self._data = data
        self._pairs, self._hard_share, self._seed = pairs, hard_share, seed
        shares = np.array([source.config.share for source in data.sources])
        if shares.sum() <= 0:
            raise TrainingError('every training source has share 0; give one a positive share')
        self._shares = shares / shares.sum()
        #: Most similar images of other places, ``(N, HARD_KEPT)``, -1 where unknown.
        self.hard: NDArray[np.int64] = np.full((len(data), HARD_KEPT), -1, np.int64)

    def pairs(self, step: int) -> list[tuple[int, int]]:
        """Return anchor and positive of every pair of one step."""
        random = np.random.default_rng([self._seed, step])
        anchors: list[int] = []
        while len(anchors) < self._pairs:
            candidate = self._hard_of(anchors, random)
            if candidate < 0 or candidate in anchors:
                number = int(random.choice(len(self._shares), p=self._shares))
                candidate = int(random.choice(self._data.range_of(number)))
            anchors.append(candidate)
        pairs = []
        for anchor in anchors:
            positives = self._data.positives(anchor)
            alone = len(positives) == 0 or random.random() < 0.25
            pairs.append((anchor, anchor if alone else int(random.choice(positives))))
        return pairs

    def masks(
        self, pairs: Sequence[tuple[int, int]]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which of the 2 P images show the same and surely different places."""
        count = len(pairs)
        rows = [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
        same = np.zeros((2 * count, 2 * count), bool)
        index = np.arange(count)
        same[index, index + count] = same[index + count, index] = True
        return same, self._data.different(rows) & ~same

    def mined_sources(self) -> list[range]:
        """Return the image ranges in which hard negatives are searched."""
        return [self._data.range_of(number) for number, source in enumerate(self._data.sources)
                if source.config.mine]

    def set_hard(self, images: range, descriptors: DescriptorArray) -> None:
        """
        Keep the most similar images of other places.

        :param images: indices the descriptors belong to
        :param descriptors: float32 ``(len(images), D)``
        """
        similarity = descriptors @ descriptors.T
        source, _, start = self._data.place(images[0])
        for row in range(len(images)):
            similarity[row, source.too_near(row)] = -2.0
        kept = min(HARD_KEPT, len(images))
        best = np.argpartition(-similarity, kept - 1, axis=1)[:, :kept]
        known = np.take_along_axis(similarity, best, axis=1) > -1.5
        self.hard[images.start:images.stop, :kept] = np.where(known, best + start, -1)

    def _hard_of(self, anchors: Sequence[int], random: np.random.Generator) -> int:
        """Return a hard negative of the newest anchor, or -1."""
        if not anchors or random.random() >= self._hard_share:
            return -1
        return int(random.choice(self.hard[anchors[-1]]))
