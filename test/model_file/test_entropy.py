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

"""The coder of symbols: exact, near the entropy, small in memory, strict."""

from __future__ import annotations

import tracemalloc

import numpy as np
from numpy.typing import NDArray
import pytest

from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.entropy import decode
from vpr_compressed.model_file.entropy import encode
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import entropy_bits


def sparse_symbols(
    rng: np.random.Generator, count: int, zeros: float, levels: int
) -> NDArray[np.uint8]:
    """Return symbols like those of a pruned Laplace-distributed int8 grid."""
    values = np.rint(rng.laplace(0.0, levels / 5, count))
    values = np.clip(values + np.sign(values), -levels, levels)
    values[rng.random(count) < zeros] = 0
    return values.astype(np.int8).view(np.uint8)


@pytest.mark.parametrize('count', [0, 1, 7, 8, 9, 63, 64, 65, 1000, 300_001])
@pytest.mark.parametrize(('size', 'common'), [
    (1, 0.0), (2, 0.5), (2, 0.99), (3, 0.9), (16, 0.9), (17, 0.97), (18, 0.5), (256, 0.0),
    (256, 0.95)])
def test_what_was_coded_comes_back(
    count: int, size: int, common: float, rng: np.random.Generator
) -> None:
    """Any number and any alphabet; the commonest symbol is not always the lowest."""
    symbols = rng.integers(0, size, count).astype(np.uint8)
    symbols[rng.random(count) < common] = 5
    found = decode(encode(symbols), count)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, symbols)


@pytest.mark.parametrize(('zeros', 'levels'), [
    (0.8, 7), (0.9, 7), (0.95, 15), (0.5, 15), (0.3, 31), (0.0, 127)])
def test_coded_symbols_are_near_their_entropy(
    zeros: float, levels: int, rng: np.random.Generator
) -> None:
    """Within 2 per cent for all that pruning and quantization give, tables included."""
    symbols = sparse_symbols(rng, 1_000_000, zeros, levels)
    bound = entropy_bits(CodebookTensor(symbols, np.zeros(256, np.float32))) / 8
    assert bound <= len(encode(symbols)) <= 1.02 * bound


def test_decoding_takes_little_more_memory_than_its_result(rng: np.random.Generator) -> None:
    """A float32 copy would take four bytes a symbol; this takes less than one half."""
    symbols = sparse_symbols(rng, 4_000_000, 0.85, 7)
    stream = encode(symbols)
    decode(stream, symbols.size)
    tracemalloc.start()
    try:
        found = decode(stream, symbols.size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.nbytes <= peak < 1.5 * found.nbytes


@pytest.mark.parametrize('zeros', [0.0, 0.7, 0.97])
def test_a_wrong_count_is_refused(zeros: float, rng: np.random.Generator) -> None:
    """Neither one more nor one less, in any form."""
    stream = encode(sparse_symbols(rng, 5000, zeros, 7))
    for count in (0, 4999, 5001, 5008, 1 << 40):
        with pytest.raises(ModelFileError, match='damaged'):
            decode(stream, count)


@pytest.mark.parametrize('zeros', [0.0, 0.7, 0.97])
def test_damaged_streams_never_crash(zeros: float, rng: np.random.Generator) -> None:
    """Each cut is refused; a changed byte is refused or changes symbols, not their number."""
    symbols = sparse_symbols(rng, 3000, zeros, 7)
    stream = encode(symbols)
    for length in range(len(stream)):
        with pytest.raises(ModelFileError):
            decode(stream[:length], symbols.size)
    with pytest.raises(ModelFileError, match='planes'):
        decode(stream + b'\0', symbols.size)
    for place in range(len(stream)):
        changed = bytearray(stream)
        changed[place] ^= 1 << place % 8
        try:
            found = decode(bytes(changed), symbols.size)
        except ModelFileError:
            continue
        assert found.shape == symbols.shape
