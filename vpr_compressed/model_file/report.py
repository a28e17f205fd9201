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

"""What a model file consists of, and how far it is from its entropy bound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_compressed.model_file.container import read_container
from vpr_compressed.model_file.container import stored_bytes
from vpr_compressed.model_file.model import model_of
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import entropy_bits
from vpr_compressed.model_file.tensors import QuantizedTensor
from vpr_compressed.model_file.tensors import symbol_counts
from vpr_compressed.model_file.tensors import zero_share


@dataclass(frozen=True, kw_only=True)
class TensorReport:
    """
    What one tensor takes in a file.

    :param coding: ``raw`` or ``huffman``
    :param dtype: ``float32``, ``float16``, ``int8 grid`` or ``codebook``
    :param distinct: number of distinct symbols; None for floats
    :param zeros: share of its weights that are 0, in [0, 1]
    :param stored_bytes: with scales or codebook
    :param bound_bytes: symbols at their order-0 entropy, with scales or codebook as stored;
        floats as stored
    """

    name: str
    shape: tuple[int, ...]
    coding: str
    dtype: str
    distinct: int | None
    zeros: float
    stored_bytes: int
    bound_bytes: float


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """
    What a model file consists of.

    :param file_bytes: the whole file
    :param tensor_bytes: its tensors
    :param bound_bytes: sum of the tensors' bounds
    :param symbol_bound_bytes: the order-0 entropy of all symbols, without scales, codebooks
        and whatever is stored as floats
    """

    tensors: tuple[TensorReport, ...]
    file_bytes: int
    tensor_bytes: int
    bound_bytes: float
    symbol_bound_bytes: float


def file_report(path: Path) -> FileReport:
    """
    Return what each tensor of a file takes, and how far that is from its entropy bound.

    :raises ModelFileError: as :func:`read_model`
    """
    header, payload = read_container(path)
    model = model_of(header, payload, path)
    rows = []
    symbol_bound = 0.0
    for entry in header['tensors']:
        tensor = model.tensors[entry['name']]
        stored = stored_bytes(entry)
        bound, distinct, dtype = float(stored), None, entry['dtype']
        if isinstance(tensor, QuantizedTensor | CodebookTensor):
            symbols = entropy_bits(tensor) / 8
            symbol_bound += symbols
            bound = stored - entry['data'][1] + symbols
            distinct = int(np.count_nonzero(symbol_counts(tensor)))
            dtype = 'int8 grid' if isinstance(tensor, QuantizedTensor) else 'codebook'
        rows.append(TensorReport(
            name=entry['name'], shape=tuple(entry['shape']), coding=entry['coding'], dtype=dtype,
            distinct=distinct, zeros=zero_share(tensor), stored_bytes=stored, bound_bytes=bound))
    return FileReport(
        tensors=tuple(rows), file_bytes=path.stat().st_size,
        tensor_bytes=sum(row.stored_bytes for row in rows),
        bound_bytes=sum(row.bound_bytes for row in rows), symbol_bound_bytes=symbol_bound)
