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

"""What a model file consists of, against bytes counted by hand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.model_file import entropy
from vpr_compressed.model_file.model import write_model
from vpr_compressed.model_file.report import file_report
from vpr_compressed.model_file.report import FileReport
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import QuantizedTensor

#: 512 symbols of which every other is 0: one bit each.
HALF_ZEROS = np.tile([0, 7], 256).astype(np.int8)


@pytest.fixture
def report(tmp_path: Path) -> FileReport:
    """Return the report of a file with a coded grid, a raw grid, a raw codebook and floats."""
    model = make_tiny_model().with_precision('fp32')
    write_model(tmp_path / 'model.vpr', dataclasses.replace(model, tensors={
        **model.tensors,
        # 16 scales that float16 holds exactly, and 8 that it does not.
        'projection.weight': QuantizedTensor(
            HALF_ZEROS.reshape(16, 32), np.full(16, 0.25, np.float32)),
        'deep.weight': QuantizedTensor(
            np.arange(-36, 36).astype(np.int8).reshape(8, 1, 3, 3),
            np.full(8, 1 / 3, np.float32)),
        'point.weight': CodebookTensor(
            np.arange(64, dtype=np.uint8).reshape(8, 8, 1, 1),
            np.arange(64).astype(np.float32) / 64)}))
    return file_report(tmp_path / 'model.vpr')


@pytest.mark.parametrize(('name', 'coding', 'stored', 'bound'), [
    ('projection.weight', 'huffman', len(entropy.encode(HALF_ZEROS.view(np.uint8))) + 16 * 2,
     512 * 1 / 8 + 16 * 2),
    ('deep.weight', 'raw', 72 + 8 * 4, 72 * math.log2(72) / 8 + 8 * 4),
    ('point.weight', 'raw', 64 + 64 * 2, 64 * 6 / 8 + 64 * 2),
    ('stem.weight', 'raw', 8 * 3 * 25 * 4, 8 * 3 * 25 * 4),
])
def test_a_tensor_counts_with_its_scales_or_its_codebook(
    report: FileReport, name: str, coding: str, stored: int, bound: float
) -> None:
    """Both in what is stored and in the bound; a reader cannot do without them."""
    row = next(row for row in report.tensors if row.name == name)
    assert (row.coding, row.stored_bytes) == (coding, stored)
    assert row.bound_bytes == pytest.approx(bound)


def test_a_file_is_the_sum_of_its_tensors(report: FileReport) -> None:
    """Only the bound of the symbols leaves scales, codebooks and floats out."""
    coded = len(entropy.encode(HALF_ZEROS.view(np.uint8)))
    floats = 4 * (600 + 8 + 8 + 8 + 32 + 4 + 32 + 16)
    assert report.tensor_bytes == coded + 32 + 72 + 32 + 64 + 128 + floats
    symbols = 64 + 72 * math.log2(72) / 8 + 48
    assert report.symbol_bound_bytes == pytest.approx(symbols)
    assert report.bound_bytes == pytest.approx(symbols + 32 + 32 + 128 + floats)
