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
VPR-Bench (Zaffar et al., IJCV 2021): ``ref/``, ``query/`` and a table of right answers.

``ground_truth_new.npy`` has one row per query, its index and the list of its references. The
published lists of tolerant sequences run past the last image, and -1 stands for "nowhere";
neither can ever be found, so both are left out. ``ground_truth.json`` beside it wins: there the
same can be written without pickle, as {"query index": [reference indices]}.
"""

from __future__ import annotations

from pathlib import Path

from vpr_compressed.errors import DatasetError
from vpr_compressed.offline.accuracy import ground_truth
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.dataset import Request
from vpr_compressed.offline.datasets.object_array import read_object_array
from vpr_compressed.sources import FolderSource

_TABLE = 'ground_truth_new.npy'
_JSON = 'ground_truth.json'


def lacks(request: Request) -> str | None:
    """Return None for a tree of this layout, else what was expected where."""
    root = request.path
    if all((root / name).is_dir() for name in ('ref', 'query')) and truth_file(root).is_file():
        return None
    return f'folders ref/ and query/ with {_TABLE} or {_JSON} beside them'


def truth_file(root: Path) -> Path:
    """Return where the right answers are, or would be."""
    return root / _JSON if (root / _JSON).is_file() else root / _TABLE


def open_tree(request: Request) -> Dataset:
    """
    Open the two folders, in natural order of the file names.

    :raises DatasetError: the table is damaged or belongs to other images
    :raises SourceError: a folder without images
    """
    reference, query = (FolderSource(request.path / name) for name in ('ref', 'query'))
    path = truth_file(request.path)
    truth = (
        ground_truth.from_file(path, len(query), len(reference)) if path.name == _JSON else
        _truth(path, len(query), len(reference)))
    return Dataset(
        name=request.name, layout='vprbench', reference=reference, query=query, truth=truth)


def _truth(path: Path, queries: int, references: int) -> GroundTruth:
    """Return the right answers of a table of VPR-Bench."""
    shape, values = read_object_array(path)
    if shape != (queries, 2):
        raise DatasetError(
            f'{path} has the shape {shape}, needed is ({queries}, 2): a row for each image of '
            'query/ with its index and the list of its references; it belongs to other images')
    positives = []
    for query, (number, rows) in enumerate(zip(values[::2], values[1::2])):
        if number != query or not _is_list(rows):
            raise DatasetError(
                f'{path}: row {query} holds {number!r} and {type(rows).__name__}, needed is the '
                f'index {query} and a list of reference indices; get the file again')
        known = frozenset(row for row in rows if 0 <= row < references)
        if not known and any(row >= references for row in rows):
            raise DatasetError(
                f'{path}: query {query} has only references above {references - 1}, the last '
                'image of ref/; it belongs to other images')
        positives.append(known)
    return GroundTruth(tuple(positives), references, f'file {path.name}')


def _is_list(rows: object) -> bool:
    """Return whether a value of the table is a list of indices."""
    return isinstance(rows, list) and all(
        isinstance(row, int) and not isinstance(row, bool) for row in rows)
