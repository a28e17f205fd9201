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
Two walks of one route, aligned image by image: Nordland, Gardens Point, two seasons of a street.

The n-th image of one folder shows the place of the n-th of the other. Nordland's journeys are
usually judged with a tolerance of one frame (Suenderhauf et al. 2013) or ten (Patch-NetVLAD).
"""

from __future__ import annotations

from vpr_compressed.errors import DatasetError
from vpr_compressed.offline.accuracy import ground_truth
from vpr_compressed.offline.datasets import tables
from vpr_compressed.offline.datasets import vprbench
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.dataset import Request
from vpr_compressed.sources import FolderSource

TOLERANCE_FRAMES = 1
#: Reference and query by which a tree is recognised, the usual ones first.
PAIRS = (
    ('ref', 'query'), ('reference', 'query'), ('summer', 'winter'), ('spring', 'winter'),
    ('fall', 'winter'), ('autumn', 'winter'), ('summer', 'fall'), ('day', 'night'))


def lacks(request: Request) -> str | None:
    """Return None for a tree of this layout, else what was expected where."""
    listed = request.split is None and (
        vprbench.truth_file(request.path).is_file() or tables.lacks(request) is None)
    if _pairs(request) and not listed:
        return None
    return ('two folders of images ' + ', '.join(f'{a}/ and {b}/' for a, b in PAIRS[:3])
            + ', ... without answers or positions beside them; or the two that the split '
            'REFERENCE/QUERY names')


def open_tree(request: Request) -> Dataset:
    """
    Open two folders, those named by the split ``REFERENCE/QUERY`` or the usual ones.

    :raises DatasetError: they hold different numbers of images
    :raises SourceError: a folder without images
    """
    pair = _pairs(request)[0]
    reference, query = (FolderSource(request.path / name) for name in pair)
    if len(reference) != len(query):
        raise DatasetError(
            f'{reference.path} holds {len(reference)} images and {query.path} {len(query)}; '
            'aligned walks have as many images as each other, so the index says nothing here')
    tolerance = request.tolerance_frames
    return Dataset(
        name=f'{request.name} {pair[0]}/{pair[1]}', layout='aligned', reference=reference,
        query=query, truth=ground_truth.from_tolerance(
            len(query), len(reference), TOLERANCE_FRAMES if tolerance is None else tolerance))


def _pairs(request: Request) -> list[tuple[str, ...]]:
    """Return the two folders of the split, or all usual pairs, if they are there."""
    wanted = PAIRS if request.split is None else (tuple(request.split.split('/')),)
    return [pair for pair in wanted if len(pair) == 2 and all(
        name and (request.path / name).is_dir() for name in pair)]
