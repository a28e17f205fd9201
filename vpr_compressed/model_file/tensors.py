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

"""How weights and activations are stored: int8 grids, codebooks, ranges; NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class QuantizedTensor:
    """
    Weights on an int8 grid.

    :param values: int8, output channels first
    :param scale: float32 ``(O,)``; weight = scale * value
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]

    def dequantize(self) -> NDArray[np.float32]:
        """Return the float32 weights, same shape as ``values``."""
        scale = self.scale.reshape(-1, *(1,) * (self.values.ndim - 1))
        return self.values.astype(np.float32) * scale


@dataclass(frozen=True)
class CodebookTensor:
    """
    Weights that share the values of one table.

    :param symbols: uint8, shape of the weights
    :param codebook: float32 ``(n,)``, n <= 256; weight = codebook[symbol]
    """

    symbols: NDArray[np.uint8]
    codebook: NDArray[np.float32]

    def dequantize(self) -> NDArray[np.float32]:
        """Return the float32 weights, same shape as ``symbols``."""
        return self.codebook[self.symbols]


@dataclass(frozen=True)
class ActivationRange:
    """
    What the 256 values of a quantised activation stand for.

    :param scale: above 0; real = scale * (q - zero_point), q in [0, 255]
    :param zero_point: in [0, 255]; real 0 is always exact, as padding needs it
    """

    scale: float
    zero_point: int

    @classmethod
    def from_extremes(cls, low: float, high: float) -> ActivationRange:
        """
        Return the range that covers [low, high] and zero.

        :param low: smallest real value; above 0 counts as 0
        :param high: largest real value; below 0 counts as 0
        """
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        # float32, as every engine computes with it; 1 where the layer gives nothing but zeros.
        scale = float(np.float32((high - low) / 255.0)) or 1.0
        return cls(scale, int(np.clip(np.rint(-low / scale), 0, 255)))


Tensor = NDArray[np.float32] | NDArray[np.float16] | QuantizedTensor | CodebookTensor


def quantize(values: NDArray[np.float32]) -> QuantizedTensor:
    """
    Round weights to the int8 grid, symmetric, one scale per output channel.

    :param values: float32, output channels first
    :returns: values in [-127, 127] and their scales, see :func:`round_scale`;
        ``|w - scale * q| <= scale / 2``
    """
    peak = np.abs(values).reshape(len(values), -1).max(axis=1)
    scale = round_scale(np.where(peak > 0, peak, 1.0) / 127.0)
    shaped = scale.reshape(-1, *(1,) * (values.ndim - 1))
    return QuantizedTensor(np.clip(np.rint(values / shaped), -127, 127).astype(np.int8), scale)


def round_scale(scale: NDArray[np.floating]) -> NDArray[np.float32]:
    """
    Round scales to float16 values, which a model file stores in half the bytes.

    :param scale: above 0, any float type
    :returns: float32; as it was where float16 would lose more than 1/2048 of a value
    """
    exact = np.asarray(scale, np.float32)
    half = np.finfo(np.float16)  # below the smallest normal one it has fewer than 11 bits
    if exact.size and exact.min() >= half.tiny and exact.max() <= half.max:
        return exact.astype(np.float16).astype(np.float32)
    return exact


def entropy_bits(tensor: QuantizedTensor | CodebookTensor) -> float:
    """
    Return the bits of a tensor's symbols at their order-0 entropy, scale and codebook left out.

    :returns: count * entropy of the symbols' histogram; 0 if all are equal
    """
    counts = symbol_counts(tensor)
    counts = counts[counts > 0]
    total = int(counts.sum())
    return float((counts * np.log2(total / counts)).sum())


def symbol_counts(tensor: QuantizedTensor | CodebookTensor) -> NDArray[np.int64]:
    """
    Return how often each symbol occurs, ``(256,)``.

    :returns: for an int8 grid, value ``v`` is counted at ``v % 256``
    """
    symbols = tensor.values if isinstance(tensor, QuantizedTensor) else tensor.symbols
    flat = np.ascontiguousarray(symbols).reshape(-1).view(np.uint8)
    counts = np.zeros(256, np.int64)
    for start in range(0, flat.size, 1 << 20):  # bincount makes an int64 copy of what it is given
        counts += np.bincount(flat[start:start + (1 << 20)], minlength=256)
    return counts


def zero_share(tensor: Tensor) -> float:
    """Return the share of weights that are 0, in [0, 1]; 0 for a tensor without any."""
    if isinstance(tensor, CodebookTensor):
        zeros = int(symbol_counts(tensor)[:len(tensor.codebook)][tensor.codebook == 0].sum())
        return zeros / max(tensor.symbols.size, 1)
    values = tensor.values if isinstance(tensor, QuantizedTensor) else tensor
    return 1.0 - np.count_nonzero(values) / values.size if values.size else 0.0
