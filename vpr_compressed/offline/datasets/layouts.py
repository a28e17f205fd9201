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
Public data sets of place recognition, each in the layout its authors published it in.

To add a layout, write a module with two functions and enter it into :data:`LAYOUTS`:
``find(request)`` returns by what a tree of this layout is recognised, nothing for another tree;
``open_tree(request, found)`` returns the :class:`Dataset`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpr_compressed.config import suggest
from vpr_compressed.errors import DatasetError
from vpr_compressed.offline.datasets import aligned
from vpr_compressed.offline.datasets import dbstruct
from vpr_compressed.offline.datasets import msls
from vpr_compressed.offline.datasets import oxford
from vpr_compressed.offline.datasets import tables
from vpr_compressed.offline.datasets import utm_names
from vpr_compressed.offline.datasets import vprbench
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.dataset import Request

AUTO = 'auto'


@dataclass(frozen=True)
class DatasetLayout:
    """
    How one family of data sets lies on the disk.

    :param find: returns by what a tree is recognised; empty or None if it has another layout
    :param open_tree: opens a tree by what was found
    :param files: what lies where in a tree of this layout
    :param right: what counts as a right answer
    :param takes: which of ``split``, ``radius_m`` and ``tolerance_frames`` can be chosen
    """

    find: Callable[[Request], Any]
    open_tree: Callable[[Request, Any], Dataset]
    files: str
    right: str
    takes: tuple[str, ...] = ()

    @property
    def tree(self) -> str:
        """Return one line that says what the tree looks like and what counts as right."""
        return f'{self.files}; right: {self.right}'


LAYOUTS = {
    'utm': DatasetLayout(
        utm_names.find, utm_names.open_tree,
        'images/SPLIT/{database,queries}/@UTM_EAST@UTM_NORTH@...@.jpg (VPR-datasets-downloader); '
        'SPLIT: train, val or test', 'within 25 m', ('split', 'radius_m')),
    'dbstruct': DatasetLayout(
        dbstruct.find, dbstruct.open_tree,
        '[datasets/]NAME_SPLIT.mat with a dbStruct, beside the folders of the images it names '
        '(Pitts30k, Pitts250k, Tokyo 24/7)', 'within its posDistThr', ('split', 'radius_m')),
    'msls': DatasetLayout(
        msls.find, msls.open_tree,
        'train_val/CITY/{database,query}/{postprocessed.csv,raw.csv,images/} (Mapillary SLS); '
        'SPLIT: val, train or cities', 'within 25 m', ('split', 'radius_m')),
    'aligned': DatasetLayout(
        aligned.find, aligned.open_tree,
        'two folders such as ref/ and query/ or summer/ and winter/, aligned image by image '
        '(Nordland), without answers or positions beside them; SPLIT: REFERENCE/QUERY',
        'index within 1 frame', ('split', 'tolerance_frames')),
    'oxford': DatasetLayout(
        oxford.find, oxford.open_tree,
        '[gt/]LANDMARK_N_{query,good,ok,junk}.txt beside the images (Oxford5k, Paris6k); queries '
        'are cut to their box', 'good and ok, junk does not count'),
    'vprbench': DatasetLayout(
        vprbench.find, vprbench.open_tree,
        'ref/, query/ and ground_truth_new.npy or ground_truth.json (VPR-Bench)', 'as listed'),
    'csv': DatasetLayout(
        tables.find, tables.open_tree,
        'reference.csv and query.csv (name,x_m,y_m), or pairs.csv (query,reference)',
        'within 25 m, or as listed', ('radius_m',)),
}


def open_dataset(
    path: Path, *, layout: str = AUTO, split: str | None = None, radius_m: float | None = None,
    tolerance_frames: int | None = None
) -> Dataset:
    """
    Open a data set, its right answers included; no image is decoded.

    :param path: folder of the data set, as unpacked
    :param layout: key of :data:`LAYOUTS`, or ``auto`` to recognise it by its files
    :param split: part of the data set, None for the one that is usually reported
    :param radius_m: largest distance of a right answer, None for the usual one
    :param tolerance_frames: largest difference of the indices, None for the usual one
    :raises DatasetError: no layout fits or several do, files are missing or damaged, or an
        option has no meaning for this layout
    :raises GroundTruthError: no query has a right answer, or a radius or tolerance is wrong
    """
    if not path.is_dir():
        found = 'is a file' if path.exists() else 'does not exist'
        raise DatasetError(f'{path} {found}; give the folder of the data set')
    request = Request(path, split=split, radius_m=radius_m, tolerance_frames=tolerance_frames)
    name = detect(request) if layout == AUTO else layout
    if name not in LAYOUTS:
        raise DatasetError(
            f'there is no layout {name!r}{suggest(name, LAYOUTS)}; the layouts are '
            f'{", ".join(LAYOUTS)}, or {AUTO}')
    chosen = LAYOUTS[name]
    found = chosen.find(request)
    if not found:
        raise DatasetError(
            f'{path} is not a data set of the layout {name}: it has no {chosen.files}; give '
            'the folder that holds them, or another layout')
    for option in ('split', 'radius_m', 'tolerance_frames'):
        if getattr(request, option) is not None and option not in chosen.takes:
            raise DatasetError(
                f'{path} has the layout {name} ({chosen.tree}), which has no '
                f'{option.partition("_")[0]} to choose; leave it out')
    return chosen.open_tree(request, found)


def detect(request: Request) -> str:
    """
    Return the layout of a folder.

    :raises DatasetError: none fits or several do; the text lists what each expects
    """
    path = request.path
    fitting = [name for name, layout in LAYOUTS.items() if layout.find(request)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise DatasetError(
            f'{path} fits the layouts {" and ".join(fitting)}; name one of them:\n' + '\n'.join(
                f'  {name:<9} {LAYOUTS[name].tree}' for name in fitting))
    raise DatasetError(
        f'{path} is not a data set of a known layout; expected, but not found there, is one of\n'
        + '\n'.join(f'  {name:<9} {layout.files}' for name, layout in LAYOUTS.items()))
