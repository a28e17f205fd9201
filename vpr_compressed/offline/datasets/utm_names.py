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
Image names that carry a position: ``@UTM_EAST@UTM_NORTH@...@.jpg`` in database and queries.

The convention of VPR-datasets-downloader (Berton et al., *Deep Visual Geo-localization
Benchmark*, CVPR 2022): fields between at signs, of which the first two, in metres, are needed.
As there, the zone of the grid is not looked at: a data set lies in one.
"""

from __future__ import annotations

import math
from pathlib import Path

from vpr_compressed.errors import DatasetError
from vpr_compressed.offline.datasets import files
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.dataset import Request
from vpr_compressed.sources import ImageList

_PARTS = ('database', 'queries')


def lacks(request: Request) -> str | None:
    """Return None for a tree of this layout, else what was expected where."""
    if _splits(request.path):
        return None
    return ('folders images/SPLIT/database and images/SPLIT/queries (SPLIT: train, val, test) '
            'with images @UTM_EAST@UTM_NORTH@...@.jpg')


def open_tree(request: Request) -> Dataset:
    """
    Open one split, ``test`` if none is named.

    :raises DatasetError: no such split, an empty folder, or a name without a position
    """
    split, folder = _choose(request, _splits(request.path))
    reference, query = (_source(folder / part) for part in _PARTS)
    return Dataset(
        name=f'{request.name} {split}'.strip(), layout='utm', reference=reference, query=query,
        truth=files.within(query, reference, request.radius_or()))


def _splits(root: Path) -> dict[str, Path]:
    """Return name -> folder of each split; '' when the two folders lie in the root itself."""
    folders = [
        entry for base in (root, root / 'images')
        if base.is_dir()
        for entry in [('', base), *((folder.name, folder) for folder in files.folders_of(base))]]
    return {
        name: folder for name, folder in folders
        if all((folder / part).is_dir() for part in _PARTS)}


def _choose(request: Request, splits: dict[str, Path]) -> tuple[str, Path]:
    """Return the split that was asked for or is usual."""
    wanted = request.split
    if wanted is None:
        wanted = 'test' if 'test' in splits else next(iter(splits)) if len(splits) == 1 else None
    if wanted is None or wanted not in splits:
        named = ', '.join(name or '(the folder itself)' for name in splits)
        asked = 'none is named' if wanted is None else f'there is no split {wanted!r}'
        raise DatasetError(f'{request.path} has the splits {named}; {asked}, choose one of them')
    return wanted, splits[wanted]


def _source(folder: Path) -> ImageList:
    """Return the images of one folder with the positions in their names."""
    images = files.images_below(folder)
    return files.listed(
        folder, images, [_position(image) for image in images], 'positions from their names')


def _position(image: Path) -> tuple[float, float]:
    """Return UTM easting and northing of an image, in metres."""
    fields = image.name.split('@')
    try:
        _, east, north = fields[0], float(fields[1]), float(fields[2])
    except (IndexError, ValueError):
        east = north = math.nan
    if not (math.isfinite(east) and math.isfinite(north)):
        raise DatasetError(
            f'the name of {image} has no UTM position, needed is @UTM_EAST@UTM_NORTH@...@'
            f'{image.suffix}; rename it, or list the images in reference.csv and query.csv')
    return east, north
