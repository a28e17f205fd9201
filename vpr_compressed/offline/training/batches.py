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

"""Which images meet in a batch, how they are changed, and how they become tensors."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import TrainingError
from vpr_compressed.images.pixels import normalise
from vpr_compressed.images.pixels import resize
from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.accuracy.night import darken
from vpr_compressed.offline.accuracy.night import falloff
from vpr_compressed.offline.accuracy.night import grey
from vpr_compressed.offline.accuracy.night import sensor
from vpr_compressed.offline.training.labels import TrainingSet
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray

#: Hard negatives kept for every image.
HARD_KEPT = 10


def read_rgb(path: Path, at_least: tuple[int, int] | None = None) -> ImageArray:
    """
    Return the image in a file, uint8 RGB ``(H, W, 3)``.

    :param at_least: width and height below which decoding must not shrink it; None for all of it
    :raises TrainingError: if the file cannot be read
    :raises ImageFormatError: if it is no image
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrainingError(f'cannot read {path}: {error.strerror}') from error
    return rgb_from_encoded(data, name=str(path), at_least=at_least)


class ImageLoader:
    """
    Read, resize, augment and normalise image files on a few threads.

    :param spec: input size and normalisation
    """

    def __init__(self, spec: PreprocessingSpec, *, threads: int = 2) -> None:
        self.spec = spec
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix='images')

    def load(self, path: Path) -> ImageArray:
        """Return one image at network size."""
        size = self.spec.width, self.spec.height
        return resize(read_rgb(path, at_least=size), *size)

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
            yield normalise(np.stack(list(self._pool.map(one, numbers))), self.spec)

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

        return normalise(np.stack(list(self._pool.map(one, jobs))), self.spec)

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
        """
        Return which of the 2 P images of P pairs show the same and surely different places.

        :returns: bool ``(2 P, 2 P)``, twice; rows ``i`` and ``i + P`` are a pair
        """
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


def augment(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """
    Return the image as it might look from a little aside, in another light or at night.

    Day-only training data cost most of the recall at night; adding this to the data of the
    whitening alone won 5 points before any training.

    :param image: uint8 RGB, ``(H, W, 3)``
    :param rng: source of randomness; the same state gives the same picture
    :returns: uint8 RGB, same shape
    """
    warped = _change_viewpoint(image, rng)
    if rng.random() >= 0.45:
        return _change_light(warped, rng)
    night = darken(warped, rng)
    return _map_tones(night, rng) if rng.random() < 0.3 else night


def _change_viewpoint(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Crop, shift and tilt by a random homography of the four corners."""
    height, width = image.shape[:2]
    scale = rng.uniform(0.72, 1.0)
    left, top = rng.uniform(0.0, 1.0 - scale, 2)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * scale + (left, top)
    corners = corners + rng.uniform(-0.06, 0.06, (4, 2))
    size = np.array([width, height])
    target = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size
    matrix = cv2.getPerspectiveTransform(
        (corners * size).astype(np.float32), target.astype(np.float32))
    warped = cv2.warpPerspective(image, matrix, (width, height), flags=cv2.INTER_LINEAR,
                                 borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, np.uint8)


def _change_light(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Vary gamma, brightness, colour, fall-off, sharpness and noise as over a day."""
    pixels = image.astype(np.float32) / 255.0
    if rng.random() < 0.2:
        pixels = grey(pixels)
    else:
        pixels = pixels * rng.uniform(0.8, 1.2, 3).astype(np.float32)
    pixels = np.clip(pixels, 0.0, 1.0) ** np.float32(np.exp(rng.uniform(np.log(0.5), np.log(2.2))))
    pixels = (pixels - 0.5) * np.float32(rng.uniform(0.7, 1.3)) + 0.5
    pixels = pixels * np.float32(rng.uniform(0.5, 1.15))
    if rng.random() < 0.4:
        pixels = pixels * falloff(image.shape[:2], rng, low=0.4)
    return sensor(pixels, rng, noise=0.03)


def _map_tones(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Spread the contrast locally, noise included, as cameras with wide dynamic range do."""
    equalise = cv2.createCLAHE(clipLimit=rng.uniform(1.0, 6.0), tileGridSize=(4, 4))
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = equalise.apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)
