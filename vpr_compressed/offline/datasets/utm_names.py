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

from pathlib import Path

from vpr_compressed.errors import DatasetError
from vpr_compressed.offline.datasets import dataset
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.dataset import Request
from vpr_compressed.sources import ImageList

_PARTS = ('database', 'queries')


def find(request: Request) -> dict[str, Path]:
    """Return name -> folder of each split; '' when the two folders lie in the root itself."""
    root = request.path
    folders = [
        entry for base in (root, root / 'images')
        if base.is_dir()
        for entry in [('', base), *((folder.name, folder) for folder in dataset.folders_of(base))]]
    return {
        name: folder for name, folder in folders
        if all((folder / part).is_dir() for part in _PARTS)}


def open_tree(request: Request, splits: dict[str, Path]) -> Dataset:
    """
    Open one split, ``test`` if none is named.

    :param splits: what :func:`find` found
    :raises DatasetError: no such split, an empty folder, or a name without a position
    """
    usual = next(iter(splits)) if len(splits) == 1 else 'test'
    wanted = usual if request.split is None else request.split
    if wanted not in splits:
        named = ', '.join(name or '(the folder itself)' for name in splits)
        asked = 'none is named' if request.split is None else f'there is no split {wanted!r}'
        raise DatasetError(f'{request.path} has the splits {named}; {asked}, choose one of them')
    reference, query = (_source(splits[wanted] / part) for part in _PARTS)
    return Dataset(
        name=f'{request.name} {wanted}'.strip(), layout='utm', reference=reference, query=query,
        truth=dataset.within(query, reference, request.radius_or()))


def _source(folder: Path) -> ImageList:
    """Return the images of one folder with the positions in their names."""
    images = dataset.images_below(folder)
    return dataset.placed(folder, images, map(_position, images), 'positions from their names')


def _position(image: Path) -> tuple[float, float]:
    """Return UTM easting and northing of an image, in metres."""
    try:
        east, north = dataset.finite(image.name.split('@')[1:3])
    except ValueError as error:
        raise DatasetError(
            f'the name of {image} has no UTM position, needed is @UTM_EAST@UTM_NORTH@...@'
            f'{image.suffix}; rename it, or list the images in reference.csv and query.csv'
        ) from error
    return east, north
