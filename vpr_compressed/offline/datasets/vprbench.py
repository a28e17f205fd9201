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

NumPy writes an array of lists as a pickle, and a pickle can run any program. The reader here
follows the pickle of an array and nothing else: every name that it may look up is answered by a
stand-in, made of plain Python, so not even NumPy's own reconstruction runs; any other name, such
as ``os.system``, is refused before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import pickle
import re
from typing import Any

import numpy as np

from vpr_compressed.errors import DatasetError
from vpr_compressed.offline.accuracy import ground_truth
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.dataset import Request
from vpr_compressed.sources import FolderSource

_TABLE = 'ground_truth_new.npy'
_JSON = 'ground_truth.json'
#: Longest list of one entry; a range of a damaged file could be endless.
_LONGEST = 1_000_000
_CONVERSION = (
    "python -c \"import json, numpy; table = numpy.load('{0}', allow_pickle=True, "
    "encoding='latin1'); json.dump({{int(q): [int(r) for r in rows] for q, rows in table}}, "
    "open('ground_truth.json', 'w'))\"")


def find(request: Request) -> Path | None:
    """Return where the right answers of a tree are."""
    path = truth_file(request.path)
    folders = all((request.path / name).is_dir() for name in ('ref', 'query'))
    return path if folders and path.is_file() else None


def truth_file(root: Path) -> Path:
    """Return where the right answers are, or would be."""
    return root / _JSON if (root / _JSON).is_file() else root / _TABLE


def open_tree(request: Request, path: Path) -> Dataset:
    """
    Open the two folders, in natural order of the file names.

    :param path: what :func:`find` found
    :raises DatasetError: the table is damaged or belongs to other images
    :raises SourceError: a folder without images
    """
    reference, query = (FolderSource(request.path / name) for name in ('ref', 'query'))
    read = ground_truth.from_file if path.name == _JSON else _truth
    return Dataset(
        name=request.name, layout='vprbench', reference=reference, query=query,
        truth=read(path, len(query), len(reference)))


def _truth(path: Path, queries: int, references: int) -> GroundTruth:
    """Return the right answers of a table of VPR-Bench."""
    shape, values = read_object_array(path)
    if shape != (queries, 2):
        raise DatasetError(
            f'{path} has the shape {shape}, needed is ({queries}, 2): a row for each image of '
            'query/ with its index and the list of its references; it belongs to other images')
    positives = []
    for query, (number, rows) in enumerate(zip(values[::2], values[1::2])):
        if number != query or not isinstance(rows, list) or any(type(r) is not int for r in rows):
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


def read_object_array(path: Path) -> tuple[tuple[int, ...], list[Any]]:
    """
    Read an array whose entries are numbers and lists of numbers.

    :returns: its shape, and its entries in C order; each an int or a list, whatever kind of
        sequence was stored
    :raises DatasetError: not readable, damaged, or it holds something else
    """
    try:
        return _unpickled(path)
    except OSError as error:
        raise DatasetError(f'cannot read {path}: {error.strerror}') from error
    except Exception as error:
        # A damaged pickle can fail in any way that Python can.
        raise DatasetError(
            f'{path} is no table of lists that can be read without running it: '
            f'{str(error) or type(error).__name__}. Get the file again or, if you trust it, '
            f'convert it in its folder:\n  {_CONVERSION.format(path.name)}') from error


def _unpickled(path: Path) -> tuple[tuple[int, ...], list[Any]]:
    """Return shape and entries, or raise whatever is the matter."""
    with path.open('rb') as stream:
        version = np.lib.format.read_magic(stream)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else
            np.lib.format.read_array_header_2_0)
        shape, _, kind = read_header(stream)
        if kind != np.dtype(object):
            raise pickle.UnpicklingError(f'it holds {kind}, not lists')
        array = _ArrayUnpickler(stream, encoding='latin1').load()
    values = [_plain(value) for value in array.values]
    if array.shape != shape or len(values) != int(np.prod(shape)):
        raise pickle.UnpicklingError(f'its header says {shape}, it holds {len(values)} values')
    return shape, values


class _Type:
    """Stands for ``numpy.dtype``: only remembers which one it was."""

    order = '<'

    def __init__(self, code: object, *_flags: object) -> None:
        self.code = str(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = '>' if state[1] == '>' else '<'

    def decode(self, data: object) -> list[int]:
        """Return the integers of some bytes."""
        if isinstance(data, str):
            data = data.encode('latin1')  # bytes of Python 2
        if not isinstance(data, bytes) or re.fullmatch('[iu][1248]', self.code) is None:
            raise pickle.UnpicklingError(f'an array of {self.code!r} inside holds no indices')
        return [int(value) for value in np.frombuffer(data, f'{self.order}{self.code}')]


class _Array:
    """Stands for ``numpy.ndarray``: keeps its shape and its values in C order."""

    shape: tuple[int, ...] = ()
    values: list[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, _, data = state
        self.shape = tuple(int(size) for size in shape)
        self.values = data if isinstance(data, list) else kind.decode(data)


_STAND_INS: dict[str, Callable[..., Any]] = {
    'numpy.ndarray': _Array,
    'numpy.dtype': _Type,
    # By this Python 3 writes bytes for Python 2.
    '_codecs.encode': lambda text, *_: text.encode('latin1'),
    '__builtin__.xrange': range,
    'builtins.range': range,
}
for _core in ('core', '_core'):
    _STAND_INS[f'numpy.{_core}.multiarray._reconstruct'] = lambda *_: _Array()
    _STAND_INS[f'numpy.{_core}.multiarray.scalar'] = lambda kind, data: kind.decode(data)[0]


class _ArrayUnpickler(pickle.Unpickler):
    """Follows a pickle that looks up nothing but the stand-ins."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Return the stand-in of a name."""
        if f'{module}.{name}' not in _STAND_INS:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}')
        return _STAND_INS[f'{module}.{name}']


def _plain(value: Any) -> Any:
    """Return an entry with sequences as lists."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, (range, tuple)):
        if len(value) > _LONGEST:
            raise ValueError(f'a list of {len(value)} entries inside')
        return list(value)
    return value
