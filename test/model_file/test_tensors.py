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

"""Int8 grids, codebooks and activation ranges."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import entropy_bits
from vpr_compressed.model_file.tensors import quantize
from vpr_compressed.model_file.tensors import QuantizedTensor
from vpr_compressed.model_file.tensors import round_scale
from vpr_compressed.model_file.tensors import zero_share


def test_int8_weights_are_within_half_a_step(rng: np.random.Generator) -> None:
    """Rounding moves a weight by at most half the scale of its channel."""
    weights = rng.standard_normal((5, 3, 2, 2)).astype(np.float32)
    weights[2] = 0.0
    stored = quantize(weights)
    error = np.abs(stored.dequantize() - weights).reshape(5, -1).max(axis=1)
    assert (error <= stored.scale / 2 * 1.001).all()
    assert stored.values.min() >= -127
    assert not stored.values[2].any()


def test_scales_are_halves_unless_that_loses_more_than_a_rounding() -> None:
    """Tiny and huge scales stay float32."""
    plain = round_scale(np.array([0.001, 3.0]))
    np.testing.assert_array_equal(plain, plain.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(plain, [0.001, 3.0], rtol=2 ** -11)
    for value in (1e-6, 1e6):
        np.testing.assert_array_equal(
            round_scale(np.array([value, 0.3])), np.array([value, 0.3], np.float32))


def test_a_codebook_gives_its_values() -> None:
    """Symbols are looked up, whatever the shape."""
    tensor = CodebookTensor(np.array([[0, 2], [1, 2]], np.uint8),
                            np.array([-1.5, 0.0, 0.25], np.float32))
    np.testing.assert_array_equal(tensor.dequantize(), [[-1.5, 0.25], [0.0, 0.25]])
    assert tensor.dequantize().dtype == np.float32


def test_entropy_is_that_of_the_histogram() -> None:
    """Equal symbols cost nothing, four equally likely ones two bits each; signs count."""
    one = np.ones(1, np.float32)
    assert entropy_bits(QuantizedTensor(np.full((1, 50), -3, np.int8), one)) == 0.0
    four = np.tile(np.array([-5, -1, 0, 7], np.int8), 25)[np.newaxis]
    assert entropy_bits(QuantizedTensor(four, one)) == pytest.approx(200.0)
    skewed = CodebookTensor(np.array([0] * 90 + [1] * 10, np.uint8), np.ones(2, np.float32))
    assert entropy_bits(skewed) == pytest.approx(
        -90 * math.log2(0.9) - 10 * math.log2(0.1))


def test_zeros_are_counted_in_weights_and_not_in_symbols() -> None:
    """A codebook may call zero by any symbol, or have it twice."""
    codebook = np.array([0.0, 1.0, -0.0, 2.0], np.float32)
    assert zero_share(CodebookTensor(np.array([0, 1, 2, 3, 3], np.uint8), codebook)) == 0.4
    assert zero_share(QuantizedTensor(np.array([[0, 1, 0, 0]], np.int8), codebook)) == 0.75
    assert zero_share(np.array([0.0, 1.0], np.float32)) == 0.5


@pytest.mark.parametrize(('low', 'high'), [
    (-2.1, 2.6), (0.0, 6.0), (0.5, 6.0), (-3.0, -1.0), (0.0, 0.0), (-1e-3, 5.0)])
def test_an_activation_range_covers_its_extremes_and_keeps_zero(low: float, high: float) -> None:
    """Half a step at the ends is what rounding the zero point may cost."""
    found = ActivationRange.from_extremes(low, high)
    assert 0 <= found.zero_point <= 255
    assert found.scale > 0
    half = found.scale * 0.501
    assert -found.scale * found.zero_point <= min(low, 0.0) + half
    assert found.scale * (255 - found.zero_point) >= max(high, 0.0) - half
