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
Labelled images: those that are trained on, and those that judge a network.

Three kinds of label source become one form, :class:`LabelledImages`: every image has a group
and a coordinate; images of one group within ``positive_radius`` show the same place, and
images of one neighbourhood within ``ignore_radius`` never count as different places.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
import re

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import Bounded
from vpr_compressed.config import option
from vpr_compressed.errors import SourceError
from vpr_compressed.errors import TrainingError
from vpr_compressed.offline.accuracy.validation import positions_set
from vpr_compressed.offline.accuracy.validation import ValidationSet
from vpr_compressed.offline.accuracy.validation import walks_set
from vpr_compressed.sources.csv_table import read_table
from vpr_compressed.sources.image_files import image_files


@dataclass(frozen=True, kw_only=True)
class SourceConfig(Bounded):
    """One set of training images in the recipe."""

    kind: str = option('positions', 'where the labels come from',
                       choices=('positions', 'clips', 'aligned'))
    folder: str = option('', 'folder below the data folder that holds the images')
    table: str = option('', 'CSV below the data folder: positions and split (kind positions)')
    split: str = option('', 'use only rows of this split; empty uses all')
    walks: tuple[str, ...] = option((), 'image folders walked in step (kind aligned)')
    positive_radius: float = option(12.0, 'same place within: metres, or frames', minimum=0.0)
    ignore_radius: float = option(30.0, 'surely another place beyond: metres, or frames',
                                  minimum=0.0)
    every: int = option(1, 'take every n-th image', minimum=1)
    mine: bool = option(True, 'search hard negatives here; not where places look alike')
    share: float = option(1.0, 'relative share of the anchors of a batch', minimum=0.0)


@dataclass(frozen=True)
class LabelledImages:
    """
    Images with groups and coordinates.

    :param paths: image files, length N
    :param group: int64 ``(N,)``; positives share a group
    :param neighbourhood: int64 ``(N,)``; only images of one neighbourhood can be too near to
        be called different
    :param coordinates: float64 ``(N, 2)``, metres or frames
    """

    paths: tuple[Path, ...]
    group: NDArray[np.int64]
    neighbourhood: NDArray[np.int64]
    coordinates: NDArray[np.float64]
    config: SourceConfig

    def positives(self, row: int) -> NDArray[np.int64]:
        """Return the rows that show the same place as ``row``, itself excluded."""
        near = self._distance(row) <= self.config.positive_radius
        near &= self.group == self.group[row]
        near[row] = False
        return np.flatnonzero(near)

    def too_near(self, row: int) -> NDArray[np.bool_]:
        """Return which rows must not be used as negatives of ``row``, itself included."""
        near = self._distance(row) <= self.config.ignore_radius
        result: NDArray[np.bool_] = near & (self.neighbourhood == self.neighbourhood[row])
        return result

    def _distance(self, row: int) -> NDArray[np.float64]:
        """Return distances from ``row`` to all rows."""
        difference = self.coordinates - self.coordinates[row]
        return np.asarray(np.hypot(difference[:, 0], difference[:, 1]))


class TrainingSet:
    """
    All sources of a recipe under one numbering.

    :param sources: at least one with images
    """

    def __init__(self, sources: Sequence[LabelledImages]) -> None:
        self.sources = tuple(sources)
        self.paths = tuple(path for source in sources for path in source.paths)
        sizes = [len(source.paths) for source in sources]
        self._start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def place(self, index: int) -> tuple[LabelledImages, int, int]:
        """Return the source of an image, its row there, and the source's first index."""
        number = int(np.searchsorted(self._start, index, side='right')) - 1
        return self.sources[number], index - int(self._start[number]), int(self._start[number])

    def positives(self, index: int) -> NDArray[np.int64]:
        """Return the images of the same place as ``index``, itself excluded."""
        source, row, start = self.place(index)
        return source.positives(row) + start

    def different(self, indices: Sequence[int]) -> NDArray[np.bool_]:
        """Return which pairs surely show different places, ``(B, B)``."""
        chosen = np.asarray(indices, np.int64)
        result = np.ones((len(chosen), len(chosen)), bool)
        for position, index in enumerate(indices):
            source, row, start = self.place(index)
            near = np.flatnonzero(source.too_near(row)) + start
            result[position] = ~np.isin(chosen, near)
        return np.asarray(result & result.T, bool)

    def range_of(self, number: int) -> range:
        """Return the indices of one source."""
        return range(int(self._start[number]), int(self._start[number + 1]))


def load_training_set(root: Path, configs: Sequence[SourceConfig]) -> TrainingSet:
    """
    Read all sources of a recipe.

    :param root: folder the recipe's paths are relative to
    :raises TrainingError: if a folder or table is missing or holds no images
    """
    sources = [_LOADERS[config.kind](root, config) for config in configs]
    if not sources:
        raise TrainingError('the recipe names no training data; add entries under "data"')
    return TrainingSet(sources)


def list_images(folder: Path) -> list[Path]:
    """
    Return the images of a folder in natural name order (2 before 10).

    :raises TrainingError: if there are none
    """
    try:
        return image_files(folder)
    except SourceError as error:
        raise TrainingError(
            f'no images in {folder}; check --data and the folder in the recipe') from error


def _load_positions(root: Path, config: SourceConfig) -> LabelledImages:
    """Read ``{pano}_{heading}`` images placed by a table with columns pano, x_m, y_m, split."""
    rows = read_table(root / config.table, ('pano', 'x_m', 'y_m'), TrainingError)
    if config.split:
        rows = [row for row in rows if row.get('split') == config.split]
    where = {row['pano']: (float(row['x_m']), float(row['y_m'])) for row in rows}
    chosen = [path for path in list_images(root / config.folder)
              if path.stem.rpartition('_')[0] in where][::config.every]
    if not chosen:
        raise TrainingError(
            f'no image of {root / config.folder} is in {config.table} with split '
            f'{config.split!r}; names must be <pano>_<heading>')
    heading = [int(path.stem.rpartition('_')[2]) for path in chosen]
    return LabelledImages(
        paths=tuple(chosen), group=np.array(heading, np.int64),
        neighbourhood=np.zeros(len(chosen), np.int64),
        coordinates=np.array([where[path.stem.rpartition('_')[0]] for path in chosen]),
        config=config)


def _load_clips(root: Path, config: SourceConfig) -> LabelledImages:
    """Read ``<clip>_frame_<number>`` images; frames of one clip are near by number."""
    paths = list_images(root / config.folder)[::config.every]
    parts = [re.match(r'(.+?)_?(?:frame_?)?(\d+)$', path.stem) for path in paths]
    if not all(parts):
        raise TrainingError(f'images in {root / config.folder} must be named <clip>_<number>')
    clips = [part.group(1) for part in parts if part]
    number = {clip: index for index, clip in enumerate(dict.fromkeys(clips))}
    group = np.array([number[clip] for clip in clips], np.int64)
    frames = np.array([[float(part.group(2)), 0.0] for part in parts if part])
    # Two clips may walk the same place, so a clip's own frames are the only sure neighbours
    # and the clip as a whole is never split into different places beyond ignore_radius.
    return LabelledImages(paths=tuple(paths), group=group, neighbourhood=group,
                          coordinates=frames, config=config)


def _load_aligned(root: Path, config: SourceConfig) -> LabelledImages:
    """Read walks whose n-th images show the same place."""
    paths: list[Path] = []
    frames: list[float] = []
    for walk in config.walks:
        images = list_images(root / walk)[::config.every]
        paths += images
        frames += [float(index * config.every) for index in range(len(images))]
    if not paths:
        raise TrainingError('kind aligned needs "walks": two or more image folders')
    zeros = np.zeros(len(paths), np.int64)
    return LabelledImages(
        paths=tuple(paths), group=zeros, neighbourhood=zeros,
        coordinates=np.stack([frames, np.zeros(len(frames))], axis=1), config=config)


_LOADERS: dict[str, Callable[[Path, SourceConfig], LabelledImages]] = {
    'positions': _load_positions, 'clips': _load_clips, 'aligned': _load_aligned}


@dataclass(frozen=True, kw_only=True)
class ValidationConfig(Bounded):
    """One set of images on which checkpoints are compared; disjoint from the training data."""

    name: str = option('', 'name in the log')
    kind: str = option('positions', 'positions: every image against all others by metres; '
                       'walks: query folder against reference folder by a JSON ground truth',
                       choices=('positions', 'walks'))
    folder: str = option('', 'image folder (kind positions)')
    table: str = option('', 'CSV with pano, x_m, y_m, split (kind positions)')
    split: str = option('', 'rows of the table to use (kind positions)')
    radius_m: float = option(12.0, 'right within this many metres (kind positions)', minimum=0.0)
    query: str = option('', 'query folder (kind walks)')
    reference: str = option('', 'reference folder (kind walks)')
    ground_truth: str = option('', 'JSON: query index -> reference indices (kind walks)')
    dark: bool = option(False, 'make the queries dark, as by night')


def validation_set(root: Path, item: ValidationConfig) -> ValidationSet:
    """
    Read one set of validation images.

    :param root: folder the paths of the recipe are relative to
    :raises VprError: if images, table or ground truth are missing or do not fit
    """
    if item.kind == 'positions':
        found = positions_set(
            list_images(root / item.folder), root / item.table, name=item.name, split=item.split,
            radius_m=item.radius_m)
    else:
        found = walks_set(
            list_images(root / item.query), list_images(root / item.reference),
            root / item.ground_truth, name=item.name)
    return replace(found, dark=item.dark)
