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
Arrays of lists in ``.npy`` files, read without running what is in them.

NumPy writes such an array as a pickle, and a pickle can run any program. This reader follows the
pickle of an array and nothing else: every name that it may look up is answered by a stand-in
below, made of plain Python, so not even NumPy's own reconstruction runs; any other name, such as
``os.system``, is refused before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import pickle
import re
from typing import Any
from typing import NoReturn

import numpy as np

from vpr_compressed.errors import DatasetError

#: Longest list of one entry; a range of a damaged file could be endless.
_LONGEST = 1_000_000
_CONVERSION = (
    "python -c \"import json, numpy; table = numpy.load('{0}', allow_pickle=True, "
    "encoding='latin1'); json.dump({{int(q): [int(r) for r in rows] for q, rows in table}}, "
    "open('ground_truth.json', 'w'))\"")


class _Type:
    """Stands for ``numpy.dtype``: only remembers which one it was."""

    def __init__(self, code: str, *_flags: object) -> None:
        self.code = code if isinstance(code, str) else ''
        self.order = '<'

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


def _reconstruct(*_arguments: object) -> _Array:
    """Stand for ``numpy.core.multiarray._reconstruct``."""
    return _Array()


def _scalar(kind: _Type, data: object) -> int:
    """Stand for ``numpy.core.multiarray.scalar``."""
    return kind.decode(data)[0]


def _encode(text: str, *_encoding: object) -> bytes:
    """Stand for ``_codecs.encode``, by which Python 3 writes bytes for Python 2."""
    return text.encode('latin1')


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ('numpy', 'ndarray'): _Array,
    ('numpy', 'dtype'): _Type,
    ('_codecs', 'encode'): _encode,
    ('__builtin__', 'xrange'): range,
    ('builtins', 'range'): range,
    **{(f'numpy.{core}.multiarray', name): stand_in for core in ('core', '_core')
       for name, stand_in in (('_reconstruct', _reconstruct), ('scalar', _scalar))},
}


class _ArrayUnpickler(pickle.Unpickler):
    """Follows a pickle that looks up nothing but the stand-ins."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Return the stand-in of a name."""
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}') from None


def read_object_array(path: Path) -> tuple[tuple[int, ...], list[Any]]:
    """
    Read an array whose entries are numbers and lists of numbers.

    :returns: its shape, and its entries in C order; each an int or a list, whatever kind of
        sequence was stored
    :raises DatasetError: not readable, damaged, or it holds something else
    """
    try:
        with path.open('rb') as stream:
            version = np.lib.format.read_magic(stream)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else
                np.lib.format.read_array_header_2_0)
            shape, _, kind = read_header(stream)
            if kind != np.dtype(object):
                _refuse(path, f'it holds {kind}, not lists')
            array = _ArrayUnpickler(stream, encoding='latin1').load()
            values = [_plain(value) for value in array.values]
    except OSError as error:
        raise DatasetError(f'cannot read {path}: {error.strerror}') from error
    except DatasetError:
        raise
    except Exception as error:  # noqa: BLE001
        # A damaged pickle can fail in any way that Python can.
        _refuse(path, str(error) or type(error).__name__, error)
    if array.shape != shape or len(values) != int(np.prod(shape)):
        _refuse(path, f'its header says {shape}, it holds {len(values)} values')
    return array.shape, values


def _plain(value: Any) -> Any:
    """Return an entry with sequences as lists."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, (range, tuple)):
        if len(value) > _LONGEST:
            raise ValueError(f'a list of {len(value)} entries inside')
        return list(value)
    return value


def _refuse(path: Path, reason: str, error: Exception | None = None) -> NoReturn:
    """Raise DatasetError with the way out."""
    raise DatasetError(
        f'{path} is no table of lists that can be read without running it: {reason}. Get the file '
        f'again or, if you trust it, convert it in its folder:\n  '
        f'{_CONVERSION.format(path.name)}') from error
