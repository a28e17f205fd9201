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
A ``dbStruct`` in a MATLAB file: Pitts30k, Pitts250k, Tokyo 24/7 and what came after.

Written by the code of NetVLAD (Arandjelovic et al., CVPR 2016), read here by the names of its
fields: ``dbImageFns`` and ``qImageFns`` (cells of file names), ``utmDb`` and ``utmQ`` (metres,
2 rows), ``posDistThr`` (metres, 25 as a rule). The images lie somewhere near: those of the
queries have a folder of their own (``queries_real`` in Pittsburgh), and the database of Tokyo
24/7 is PNG under names that end in .jpg. Folders up to two levels deep are searched.

On Tokyo 24/7 the paper counts cut-outs of one panorama once when it gives recall@5 and @10; here
every image counts, so only recall@1 compares with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vpr_compressed.errors import DatasetError
from vpr_compressed.offline.datasets import dataset
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.dataset import Request
from vpr_compressed.sources import ImageList

#: Part of the name of folders that hold queries (``queries_real``, ``247query_v3``).
_QUERY_FOLDER = 'quer'
_SPLITS = ('train', 'val', 'test')


def find(request: Request) -> list[Path]:
    """Return the MATLAB files of a tree."""
    root = request.path
    return sorted([*root.glob('*.mat'), *root.glob('datasets/*.mat')])


def open_tree(request: Request, tables: list[Path]) -> Dataset:
    """
    Open the file of one split, ``test`` if none is named.

    :param tables: what :func:`find` found
    :raises DatasetError: no or several files for that split, a file that cannot be read, or
        missing images
    """
    table = _choose(request, tables)
    content = _read(table)
    reference = _source(request.path, table, content, ('dbImageFns', 'utmDb'))
    query = _source(request.path, table, content, ('qImageFns', 'utmQ'))
    radius_m = request.radius_m
    if radius_m is None:
        usual = content.get('posDistThr', request.radius_or())
        try:
            radius_m = float(np.squeeze(usual))
        except (TypeError, ValueError) as error:
            raise DatasetError(
                f'posDistThr of {table} is {usual!r}, needed is a number of metres; name a radius'
            ) from error
    return Dataset(
        name=table.stem.replace('_', ' '), layout='dbstruct', reference=reference, query=query,
        truth=dataset.within(query, reference, radius_m))


def _choose(request: Request, tables: list[Path]) -> Path:
    """Return the file of the split that was asked for or is usual."""
    split = request.split or 'test'
    found = [table for table in tables if table.stem == split] or [
        table for table in tables if table.stem.endswith(f'_{split}')]
    if not found and request.split is None:
        # Tokyo 24/7 has one file, tokyo247.mat, and no splits.
        found = [t for t in tables if not t.stem.endswith(tuple(f'_{name}' for name in _SPLITS))]
    if len(found) != 1:
        count = 'several of them are' if found else 'none of them is'
        raise DatasetError(
            f'{request.path} has the files {", ".join(table.name for table in tables)}; {count} '
            f'for the split {split!r}: name a split, or a file without its .mat')
    return found[0]


def _read(table: Path) -> dict[str, Any]:
    """Return the fields of the dbStruct of a file."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DatasetError(
            f'{table} is a MATLAB file, which needs scipy; pip install scipy') from error
    try:
        content = loadmat(str(table), simplify_cells=True).get('dbStruct')
    except NotImplementedError as error:
        raise DatasetError(
            f'{table} has the format of MATLAB 7.3 (HDF5); save it in MATLAB with '
            f"save('{table.name}', 'dbStruct', '-v7')") from error
    except Exception as error:
        # scipy lets the errors of zlib, struct and NumPy through on a damaged file.
        raise DatasetError(
            f'cannot read {table}: {error}; it is damaged or no MATLAB file, get it again'
        ) from error
    if not isinstance(content, dict):
        raise DatasetError(
            f'{table} has no structure dbStruct; it is not the description of a data set')
    return content


def _source(
    root: Path, table: Path, content: dict[str, Any], fields: tuple[str, str]
) -> ImageList:
    """
    Return database or queries.

    :param fields: of the names, and of their easting and northing, ``(2, N)``
    """
    missing = [field for field in fields if field not in content]
    if missing:
        raise DatasetError(
            f'the dbStruct of {table} has the fields {", ".join(content)}; needed is '
            f'{missing[0]} too')
    names = [str(name).strip() for name in np.atleast_1d(content[fields[0]])]
    values = content[fields[1]]
    try:
        positions = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        positions = np.empty(0)
    # One image only: MATLAB has no vectors, scipy has.
    positions = positions.reshape(2, 1) if positions.shape == (2,) else positions
    if not names or positions.shape != (2, len(names)) or not np.isfinite(positions).all():
        raise DatasetError(
            f'the dbStruct of {table} has {len(names)} names in {fields[0]} and '
            f'{np.shape(values)} values in {fields[1]}; needed are finite positions of 2 rows and '
            'a column per name, so get the file again')
    found = _locate(root, table, names, queries=fields[0] == 'qImageFns')
    return dataset.placed(root, found, positions.T, f'positions from {table.name}')


def _locate(root: Path, table: Path, names: list[str], *, queries: bool) -> list[Path]:
    """
    Return the files of names that are relative to a folder nobody wrote down.

    Pittsburgh's queries lie in ``queries_real`` under names that database images have as well,
    so a folder of queries that has any of the names is where queries are, and nothing else is.
    """
    first = dataset.folders_of(root)
    bases = [root, *first, *(inner for folder in first for inner in dataset.folders_of(folder))]
    own = [base for base in bases
           if (_QUERY_FOLDER in base.relative_to(root).as_posix().lower()) == queries]
    best = _fullest(own, names) or _fullest([base for base in bases if base not in own], names)
    if not best:
        raise DatasetError(
            f'{table} names the image {names[0]}, which is neither in {root} nor in its folders '
            'two levels down; unpack the images there')
    dataset.check_present(best, table)
    return best


def _fullest(bases: list[Path], names: list[str]) -> list[Path]:
    """Return the files below the folder that has most of them, the first of equals."""
    candidates = (
        [(base / name).with_suffix(suffix) if suffix else base / name for name in names]
        for base in bases for suffix in ('', '.png'))
    best = max(candidates, key=lambda found: sum(map(Path.is_file, found)), default=[])
    return best if any(map(Path.is_file, best)) else []
