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
Own data as plain CSV files, for whatever has no layout of its own.

Either ``reference.csv`` and ``query.csv``: columns as in ``poses.csv`` (``name``, ``x_m``,
``y_m``, optionally ``z_m`` and ``stamp_ns``), one image a line, both in one frame. Or
``pairs.csv`` with the columns ``query`` and ``reference``: each line names two images of one
place. There an empty reference marks a query of a place that was never mapped, an empty query a
reference that nobody asks for. Names are paths relative to the folder of the CSV files; images
count in the order in which they are named first.
"""

from __future__ import annotations

from pathlib import Path

from vpr_compressed.errors import DatasetError
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.datasets import dataset
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.dataset import Request
from vpr_compressed.sources import ImageList
from vpr_compressed.sources import ListedImage
from vpr_compressed.sources.csv_table import read_table
from vpr_compressed.sources.image_list import read_pose_table

_PAIRS = 'pairs.csv'
_POSITIONS = ('reference.csv', 'query.csv')


def find(request: Request) -> list[Path]:
    """Return the table of pairs or those of positions."""
    pairs, *positions = (request.path / name for name in (_PAIRS, *_POSITIONS))
    if pairs.is_file():
        return [pairs]
    return positions if all(map(Path.is_file, positions)) else []


def open_tree(request: Request, found: list[Path]) -> Dataset:
    """
    Open the tables.

    :param found: by :func:`find`
    :raises DatasetError: both kinds are there, an image is missing, or a line is wrong
    :raises SourceError: a table of positions is wrong
    """
    if len(found) == 2:
        reference, query = map(_placed, found)
        truth = dataset.within(query, reference, request.radius_or())
    elif any((request.path / name).exists() for name in _POSITIONS):
        raise DatasetError(
            f'{request.path} has {_PAIRS} and positions, which may contradict each other; keep '
            'one kind')
    elif request.radius_m is not None:
        raise DatasetError(
            f'{found[0]} lists the right answers, a radius has no meaning; leave it out')
    else:
        reference, query, truth = _paired(found[0])
    return Dataset(
        name=request.name, layout='csv', reference=reference, query=query, truth=truth)


def _placed(table: Path) -> ImageList:
    """Return the images of a table of positions."""
    images = read_pose_table(table)
    names = [image.name for image in images]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DatasetError(f'{table} has several lines for {twice}; keep one')
    if not images:
        raise DatasetError(f'{table} has a header line and nothing else; list the images')
    unknown = [image.name for image in images if image.pose is None]
    if unknown:
        raise DatasetError(
            f'{table} has no position for {len(unknown)} images, e.g. {unknown[0]}; give x_m and '
            'y_m, or leave the image out')
    return _checked(table, images)


def _paired(table: Path) -> tuple[ImageList, ImageList, GroundTruth]:
    """Return references, queries and right answers of a table of pairs."""
    queries: dict[str, set[int]] = {}
    references: dict[str, int] = {}
    pairs = read_table(table, ('query', 'reference'), DatasetError)
    for number, row in enumerate(pairs, start=2):
        query, reference = row['query'].strip(), row['reference'].strip()
        if not query and not reference:
            raise DatasetError(f'{table}, line {number} names no image; remove it')
        if reference:
            references.setdefault(reference, len(references))
        if query:
            right = queries.setdefault(query, set())
            right.update({references[reference]} if reference else ())
    if not queries or not references:
        raise DatasetError(
            f'{table} names {len(queries)} queries and {len(references)} references; needed is '
            'at least one of each')
    truth = GroundTruth(
        tuple(frozenset(rows) for rows in queries.values()), len(references),
        f'file {table.name}')
    reference_list, query_list = (
        _checked(table, [ListedImage(file=table.parent / name, name=name) for name in names])
        for names in (references, queries))
    return reference_list, query_list, truth


def _checked(table: Path, images: list[ListedImage]) -> ImageList:
    """Return images as a source after a look at whether they are there."""
    dataset.check_present([image.file for image in images], table)
    return ImageList(table.parent, images, note=f'listed in {table.name}')
