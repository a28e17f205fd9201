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
Shared weights: every weight of a tensor takes one of a few values (Han et al., ICLR 2016).

With grid ``int8`` a value is an integer in [-127, 127] times the scale of its output channel,
so that integer kernels run it as it is (DESIGN 4.2); with grid ``float`` it is any number, as
in Saha et al., ACPR 2017. In both, the gradient of a shared value is the sum of the gradients
of its members. Zero has a value of its own that never moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from vpr_compressed.errors import TrainingError
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import QuantizedTensor
from vpr_compressed.model_file.tensors import round_scale

#: Largest integer on the grid.
PEAK = 127
_BINS = 65536


class Codebook:
    """
    The shared values of one tensor and which weight has which.

    :param symbols: uint8 or int, shape of the weights: index of the value of each weight
    :param levels: float32 ``(n,)``: values in units of the scale (grid int8: integers / 127),
        or plain values (grid float); ``levels[zero]`` is 0
    :param scale: float32 ``(O,)`` of grid int8: the weight at level 1; None for grid float
    """

    def __init__(self, symbols: Tensor, levels: Tensor, scale: Tensor | None) -> None:
        self.symbols = symbols.to(torch.uint8)
        # In units of the largest value, so that one learning rate fits every tensor.
        self._unit = 1.0
        if scale is None:
            self._unit = float(levels.abs().max()) or 1.0
        self.levels = nn.Parameter(levels / self._unit)
        # In the exponent, so that one learning rate fits scales of every size.
        self.log_scale = None if scale is None else nn.Parameter(scale.log())
        self.zero = int(levels.abs().argmin())

    @property
    def grid(self) -> str:
        """``int8`` or ``float``."""
        return 'float' if self.log_scale is None else 'int8'

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained."""
        return [self.levels] if self.log_scale is None else [self.levels, self.log_scale]

    def to(self, device: torch.device) -> Codebook:
        """Move to a device and return itself."""
        self.symbols = self.symbols.to(device)
        self.levels.data = self.levels.data.to(device)
        if self.log_scale is not None:
            self.log_scale.data = self.log_scale.data.to(device)
        return self

    def weight(self) -> Tensor:
        """Return the weights, float32, to the last bit those that :meth:`stored` gives."""
        values = self._values().index_select(0, self.symbols.flatten().int())
        shaped = values.view(self.symbols.shape)
        return shaped if self.log_scale is None else shaped * self._column(self._step())

    def pull(self, gradient: Tensor) -> None:
        """
        Turn the gradient of the weights into that of the shared values and scales.

        :param gradient: same shape as the weights
        """
        with torch.no_grad():
            scaled = gradient * self._unit
            if self.log_scale is not None:
                scaled = gradient * self._column(self.log_scale.exp())
                values = self._rounded().index_select(0, self.symbols.flatten().int())
                self.log_scale.grad = (scaled * values.view(scaled.shape)).flatten(1).sum(dim=1)
            sums = torch.bincount(
                self.symbols.flatten().int(), weights=scaled.flatten(),
                minlength=len(self.levels)).to(self.levels.dtype)
            sums[self.zero] = 0.0
            self.levels.grad = sums

    def settle(self) -> None:
        """Bring the values back where they belong after an optimiser step."""
        with torch.no_grad():
            self.levels[self.zero] = 0.0
            if self.log_scale is not None:
                self.levels.clamp_(-1.0, 1.0)

    def assign(self, weights: Tensor, keep_zero: Tensor | None = None) -> None:
        """
        Give every weight its nearest shared value.

        :param weights: same shape as the symbols
        :param keep_zero: bool, weights that are pruned and stay zero
        :raises TrainingError: if a weight is NaN or infinite
        """
        if not bool(torch.isfinite(weights).all()):
            raise TrainingError(
                'a weight became NaN or infinite; the last good checkpoint is kept: resume with '
                'smaller learning rates')
        with torch.no_grad():
            if self.log_scale is not None:
                weights = weights / (self._column(self._step()) * PEAK)
                self.symbols = nearest(weights, self._rounded())
            else:
                self.symbols = nearest(weights, self._values())
            if keep_zero is not None:
                self.symbols[keep_zero] = self.zero

    def stored(self) -> QuantizedTensor | CodebookTensor:
        """Return the weights as a model file holds them."""
        symbols = self.symbols.cpu().numpy()
        values = self._values().cpu().numpy()
        if self.log_scale is None:
            return CodebookTensor(symbols, values)
        return QuantizedTensor(values.astype(np.int8)[symbols], self._step().cpu().numpy())

    def state(self) -> dict[str, Any]:
        """Return everything as tensors."""
        return {'symbols': self.symbols, 'levels': self.levels.detach().clone(),
                'unit': torch.tensor(self._unit, dtype=torch.float64),
                'log_scale': None if self.log_scale is None else self.log_scale.detach().clone()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Codebook:
        """Build the codebook that :meth:`state` described."""
        symbols, levels, log_scale = state['symbols'], state['levels'], state['log_scale']
        book = cls(symbols, levels, None if log_scale is None else log_scale.exp())
        book._unit = float(state['unit'])
        with torch.no_grad():  # to scale them, or exp and log again, would move the last digit
            book.levels.copy_(levels)
            if log_scale is not None and book.log_scale is not None:
                book.log_scale.copy_(log_scale)
        return book

    def _rounded(self) -> Tensor:
        """Return the values as used: on the integer grid if there is one."""
        levels = self.levels.detach()
        return levels if self.log_scale is None else (levels * PEAK).round() / PEAK

    def _values(self) -> Tensor:
        """Return the shared values as stored: integers, or floats of grid float."""
        if self.log_scale is None:
            return self.levels.detach() * self._unit
        return (self.levels.detach() * PEAK).round()

    def _step(self) -> Tensor:
        """Return the weight of integer 1 per output channel, as a model file stores it."""
        if self.log_scale is None:
            raise TrainingError('grid float has no scales')
        step = (self.log_scale.detach().exp() / PEAK).cpu().numpy()
        return torch.from_numpy(round_scale(step)).to(self.levels.device)

    def _column(self, values: Tensor) -> Tensor:
        """Return one value per output channel in the shape of the weights."""
        return values.detach().view(-1, *(1,) * (self.symbols.dim() - 1))


def fit_codebook(
    weights: Tensor, bits: int, grid: str, pruned: Tensor | None = None
) -> Codebook:
    """
    Share the weights of one tensor by k-means, with linear starting values.

    Eight bits on the integer grid are the grid itself (255 integers). Otherwise zero takes one
    of the ``2 ** bits`` symbols, and the others are fitted to the weights that are left.

    :param weights: float, output channels first
    :param bits: 3 to 8
    :param grid: ``int8`` or ``float``
    :param pruned: bool, weights that are zero and stay so
    """
    weights = weights.detach().float().cpu()
    alive = torch.ones_like(weights, dtype=torch.bool) if pruned is None else ~pruned.cpu()
    scale = None
    shaped = weights
    if grid == 'int8':
        peak = weights.abs().flatten(1).amax(dim=1)
        scale = torch.where(peak > 0, peak, torch.ones_like(peak))
        shaped = weights / scale.view(-1, *(1,) * (weights.dim() - 1))
    if grid == 'int8' and bits == 8:
        levels = torch.arange(-PEAK, PEAK + 1, dtype=torch.float32) / PEAK
    else:
        levels = _fit_levels(shaped[alive], 2 ** bits - 1, on_grid=grid == 'int8')
    book = Codebook(torch.zeros(weights.shape, dtype=torch.uint8), levels, scale)
    book.assign(weights, None if pruned is None else pruned.cpu())
    return book


def nearest(values: Tensor, levels: Tensor) -> Tensor:
    """
    Return the index of the nearest level of every value; halfway it is the one nearer to zero.

    :param values: any shape
    :param levels: ``(n,)``, n <= 256, in any order
    :returns: uint8, shape of ``values``
    """
    order = levels.argsort()
    borders = levels[order]
    middles = (borders[1:] + borders[:-1]) / 2.0
    # bucketize gives a tie to the lower level; below zero that is the one further away.
    down = torch.nextafter(middles, torch.full_like(middles, -torch.inf))
    middles = torch.where(middles < 0, down, middles)
    places = torch.bucketize(values.contiguous(), middles, out_int32=True)
    return order.to(torch.uint8)[places.flatten()].view(values.shape)


def kmeans_1d(
    points: NDArray[np.float64], weights: NDArray[np.float64], count: int, *,
    iterations: int = 100
) -> NDArray[np.float64]:
    """
    Cluster weighted numbers by Lloyd's algorithm from equally spaced starting values.

    Linear starts keep the rare large weights, which matter most (Han et al., section 3.2).

    :param points: sorted, ``(N,)``
    :param weights: how often each occurs, ``(N,)``
    :returns: at most ``count`` centres, rising
    """
    used = weights > 0
    points, weights = points[used], weights[used]
    if len(points) <= count:
        return points
    centers = np.linspace(points[0], points[-1], count)
    mass = np.concatenate([[0.0], np.cumsum(weights)])
    moment = np.concatenate([[0.0], np.cumsum(weights * points)])
    for _ in range(iterations):
        borders = np.searchsorted(points, (centers[1:] + centers[:-1]) / 2.0)
        edges = np.concatenate([[0], borders, [len(points)]])
        inside = mass[edges[1:]] - mass[edges[:-1]]
        sums = moment[edges[1:]] - moment[edges[:-1]]
        moved = np.where(inside > 0, sums / np.where(inside > 0, inside, 1.0), centers)
        if np.array_equal(moved, centers):
            break
        centers = moved
    return np.asarray(centers[inside > 0])


def _fit_levels(values: Tensor, count: int, *, on_grid: bool) -> Tensor:
    """Return the shared values of the weights that are not zero, and zero itself."""
    if values.numel() == 0 or float(values.abs().max()) == 0.0:
        return torch.zeros(1)
    numbers = values.flatten().numpy()
    if on_grid:
        points = np.arange(-PEAK, PEAK + 1, dtype=np.float64)
        occurrence = np.bincount(
            (np.rint(numbers * PEAK) + PEAK).astype(np.int64), minlength=len(points))
        centers = np.rint(kmeans_1d(points, occurrence.astype(np.float64), count)) / PEAK
    else:
        low, high = float(numbers.min()), float(numbers.max())
        occurrence, edges = np.histogram(numbers, bins=_BINS, range=(low, high))
        middles = (edges[1:] + edges[:-1]) / 2.0
        centers = kmeans_1d(middles, occurrence.astype(np.float64), count)
    levels = np.unique(np.concatenate([centers, [0.0]]))
    return torch.from_numpy(levels.astype(np.float32))
