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
Mapillary Street-Level Sequences: a folder per city, positions and flags in CSV files.

As its own code treats them (Warburg et al., CVPR 2020, task im2im): ``postprocessed.csv`` gives
``key``, ``easting`` and ``northing``; panoramas (``pano`` in ``raw.csv``) are left out, and in the
validation cities so is what ``subtask_index.csv`` does not count in ``all``, which leaves 750
queries. Night and the direction of view choose nothing. Places are compared within one city only.
Queries without a right answer stay, as unanswerable ones; the reported numbers leave them out,
and so does the recall of this package. The test cities were published without positions.
"""

from __future__ import annotations

from pathlib import Path

from vpr_compressed.errors import DatasetError
from vpr_compressed.errors import GroundTruthError
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.datasets import dataset
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.dataset import Request
from vpr_compressed.sources import ImageList
from vpr_compressed.sources import ListedImage
from vpr_compressed.sources.csv_table import read_table

VALIDATION = ('cph', 'sf')
_PARTS = ('database', 'query')
_TABLES = ('postprocessed.csv', 'raw.csv')
_NOTE = f'positions from {_TABLES[0]}'


def find(request: Request) -> dict[str, Path]:
    """Return name -> folder of each city with positions."""
    for base in (request.path / 'train_val', request.path):
        found = {
            folder.name: folder for folder in (dataset.folders_of(base) if base.is_dir() else [])
            if all((folder / part / _TABLES[0]).is_file() for part in _PARTS)}
        if found:
            return found
    return {}


def open_tree(request: Request, cities: dict[str, Path]) -> Dataset:
    """
    Open some cities: those of the split ``val`` (cph, sf) or ``train``, or named ones.

    :param cities: what :func:`find` found
    :raises DatasetError: a city that is not there, or files that are missing or damaged
    """
    places: list[ListedImage] = []
    asked: list[ListedImage] = []
    positives: list[frozenset[int]] = []
    radius_m = request.radius_or()
    for city in _choose(request, cities):
        reference, query = (_images(request.path, city / part) for part in _PARTS)
        positives += _positives(query, reference, radius_m, len(places))
        places += reference.images
        asked += query.images
    truth = GroundTruth(
        tuple(positives), len(places), f'within {radius_m:g} m in the same city')
    return Dataset(
        name=f'{request.name} {request.split or "val"}', layout='msls', truth=truth,
        reference=ImageList(request.path, places, note=_NOTE),
        query=ImageList(request.path, asked, note=_NOTE))


def _choose(request: Request, cities: dict[str, Path]) -> list[Path]:
    """Return the folders of the cities that were asked for or are usual."""
    split = request.split or 'val'
    if split == 'test' and 'test' not in cities:
        raise DatasetError(
            f'the test cities of {request.path} were published without positions, so nothing can '
            'be measured on them here; take the split val')
    wanted = {
        'val': list(VALIDATION),
        'train': [city for city in cities if city not in VALIDATION],
    }.get(split, split.split(','))
    missing = [city for city in wanted if city not in cities]
    if missing or not wanted:
        raise DatasetError(
            f'{request.path} has the cities {", ".join(cities)}; the split {split!r} needs '
            f'{", ".join(missing) or "others than those of val"}: name cities, as in '
            f'{",".join(list(cities)[:2])}, or unpack the missing ones')
    return [cities[city] for city in wanted]


def _images(root: Path, folder: Path) -> ImageList:
    """Return the images of database or query of one city that count."""
    table, flags = (folder / name for name in _TABLES)
    rows = read_table(table, ('key', 'easting', 'northing'), DatasetError)
    panorama = {
        row['key']: _flag(row['pano']) for row in read_table(flags, ('key', 'pano'), DatasetError)}
    missing = [row['key'] for row in rows if row['key'] not in panorama]
    if missing:
        raise DatasetError(
            f'{flags} has no row for {len(missing)} images of {table}, e.g. '
            f'{missing[0]}; the file is cut off, get it again')
    chosen = [True] * len(rows)
    if folder.parent.name in VALIDATION:
        chosen = _chosen(folder / 'subtask_index.csv', table, len(rows))
    counting = [
        row for row, counts in zip(rows, chosen) if counts and not panorama[row['key']]]
    if not counting:
        raise DatasetError(f'{table} has {len(rows)} rows, all panoramas or not of the task')
    images = [folder / 'images' / f'{row["key"]}.jpg' for row in counting]
    positions_m = [_position(table, row) for row in counting]
    dataset.check_present(images, table)
    return dataset.placed(root, images, positions_m, _NOTE)


def _chosen(path: Path, table: Path, count: int) -> list[bool]:
    """Return which rows of the table count in the sub-task ``all``."""
    rows = read_table(path, ('all',), DatasetError)
    # Its rows are those of the table in the same order; a key is not promised.
    if len(rows) != count:
        raise DatasetError(
            f'{path} has {len(rows)} rows and {table} {count}, which must be the same images; '
            'one of them is cut off, get both again')
    return [_flag(row['all']) for row in rows]


def _flag(text: str) -> bool:
    """Return a truth value as pandas writes it."""
    return text.strip().lower() in ('true', '1', '1.0')


def _position(table: Path, row: dict[str, str]) -> list[float]:
    """Return easting and northing of one row, in metres."""
    try:
        return dataset.finite((row['easting'], row['northing']))
    except ValueError as error:
        raise DatasetError(
            f'{table} has easting {row["easting"]!r} and northing {row["northing"]!r} for '
            f'{row["key"]}; needed are finite numbers, so get the file again') from error


def _positives(
    query: ImageList, reference: ImageList, radius_m: float, before: int
) -> list[frozenset[int]]:
    """Return the right answers in one city, counted from the first reference of all cities."""
    try:
        truth = dataset.within(query, reference, radius_m)
    except GroundTruthError:
        if not radius_m > 0:
            raise
        # One city without any answer does not spoil the others.
        return [frozenset()] * len(query)
    return [frozenset(before + row for row in rows) for rows in truth.positives]
