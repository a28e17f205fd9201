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


def find(request: Request) -> list[tuple[str, ...]]:
    """Return the two folders of the split, or all usual pairs without answers beside them."""
    if request.split is not None:
        wanted: tuple[tuple[str, ...], ...] = (tuple(request.split.split('/')),)
    elif vprbench.truth_file(request.path).is_file() or tables.find(request):
        return []
    else:
        wanted = PAIRS
    return [pair for pair in wanted if len(pair) == 2 and all(
        name and (request.path / name).is_dir() for name in pair)]


def open_tree(request: Request, pairs: list[tuple[str, ...]]) -> Dataset:
    """
    Open two folders, those named by the split ``REFERENCE/QUERY`` or the usual ones.

    :param pairs: what :func:`find` found, of which the first is opened
    :raises DatasetError: they hold different numbers of images
    :raises SourceError: a folder without images
    """
    pair = pairs[0]
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
