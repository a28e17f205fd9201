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

"""Pictures with a row for every layer: what is stored of it, and how much it can give."""

from __future__ import annotations

from collections.abc import Sequence
import textwrap

from matplotlib.figure import Figure
import numpy as np

from vpr_compressed.evaluation.compression_report import ReportContext
from vpr_compressed.evaluation.compression_report import SensitivityRow
from vpr_compressed.evaluation.compression_report import StepRow
from vpr_compressed.evaluation.compression_report import TensorRow
from vpr_compressed.evaluation.metrics import FloatArray
from vpr_compressed.evaluation.plots import finish
from vpr_compressed.evaluation.plots import HEAT
from vpr_compressed.evaluation.plots import INK
from vpr_compressed.evaluation.plots import new_axes
from vpr_compressed.evaluation.plots import Plot
from vpr_compressed.evaluation.plots import RIGHT
from vpr_compressed.evaluation.plots import set_title
from vpr_compressed.evaluation.plots import style_axes
from vpr_compressed.evaluation.plots import WIDTH_IN

LAYERS_NAME, SENSITIVITY_NAME = 'layers.png', 'sensitivity.png'
#: Layers, and rows of the sensitivity, that fit into a picture that can be read.
MAX_LAYERS = 90
#: Cells of the heat map get their number where there are at most so many columns.
MAX_NUMBERED = 9
_GREY = '#52606d'


def layers_plot(row: StepRow) -> Plot:
    """Draw zeros and bits of every weight tensor."""
    layers = [tensor for tensor in row.tensors if len(tensor.shape) > 1]
    shown = _largest(layers)
    height = max(2.6, 0.125 * len(shown) + 1.3)
    figure = Figure(figsize=(WIDTH_IN, height))
    left = figure.add_subplot(1, 2, 1)
    right = figure.add_subplot(1, 2, 2, sharey=left)
    places = np.arange(len(shown))
    left.barh(places, [layer.zeros for layer in shown], color=RIGHT, height=0.75)
    right.barh(places, [layer.bits for layer in shown], color='#a9c8ea', height=0.75)
    for place, layer in zip(places, shown):
        text = f'{layer.levels:,}' if layer.levels else 'floats'
        right.annotate(text, (layer.bits, place), (2, 0), textcoords='offset points', va='center',
                       fontsize=6.5, color=_GREY, annotation_clip=False)
    for axes in (left, right):
        style_axes(axes)
        axes.grid(axis='y', visible=False)
        axes.tick_params(labelsize=8)
    left.set_yticks(places, [layer.name.removesuffix('.weight') for layer in shown], fontsize=6.5)
    left.set(xlabel='zeros  [%]', xlim=(0, 100), ylim=(len(shown) - 0.4, -0.6))
    right.set(xlabel='bits per stored value', xlim=(
        0, 1.3 * max([8.0, *(layer.bits for layer in shown)])))
    right.tick_params(labelleft=False)
    title = f'Layers: {row.zeros:.0f} % zeros, {row.bits:.1f} bits per weight'
    figure.suptitle(title, x=0.012, ha='left', fontsize=12, weight='bold', color=INK)
    left_out = '' if len(shown) == len(layers) else (
        f'The {len(shown)} largest of {len(layers)} are shown. ')
    return finish(LAYERS_NAME, title, (
        f'After the last step ({row.step}), from the first layer at the top to the last. Left: '
        'share of weights that are zero. Right: bits of one stored value before entropy coding; '
        'the number at the bar is how many distinct values there are. Short bars on the right '
        f'and long ones on the left are what makes the file small. {left_out}'), figure,
        head_in=0.2)


def sensitivity_plot(context: ReportContext) -> Plot:
    """Draw what compressing one layer alone does, as a heat map."""
    matrix, names, levels = sensitivity_matrix(context.sensitivity)
    left_out = '' if len(names) <= MAX_LAYERS else (
        f'The {MAX_LAYERS} most different of {len(names)} are shown. ')
    if left_out:
        spread = np.nanmax(matrix, axis=1) - np.nanmin(matrix, axis=1)
        chosen = np.sort(np.argsort(-spread, kind='stable')[:MAX_LAYERS])
        matrix, names = matrix[chosen], [names[row] for row in chosen]
    height = max(2.6, 0.135 * len(names) + 1.5)
    figure, axes = new_axes(height)
    low, high = float(np.nanmin(matrix)), float(np.nanmax(matrix))
    axes.set_facecolor('#f3e3d9')
    shown = axes.imshow(matrix, cmap=HEAT, vmin=low, vmax=max(high, low + 1e-9), aspect='auto',
                        interpolation='nearest')
    axes.grid(visible=False)
    axes.set_xticks(range(len(levels)), [f'{level:g}' for level in levels], fontsize=9,
                    rotation=60 if len(levels) > 12 else 0)
    axes.set_yticks(range(len(names)), [name.removesuffix('.weight') for name in names],
                    fontsize=6.5)
    axes.set_xlabel(context.level_label)
    if len(levels) <= MAX_NUMBERED:
        for row, column in np.argwhere(np.isfinite(matrix)):
            value = matrix[row, column]
            axes.text(column, row, f'{value:.3g}', ha='center', va='center', fontsize=6,
                      color='white' if value > low + 0.55 * (high - low) else INK)
    figure.colorbar(shown, ax=axes, label=textwrap.fill(
        context.score_label, max(20, int(10 * height))), fraction=0.04, pad=0.02)
    title = f'Sensitivity of {len(names)} layers'
    what = f'columns: {context.level_label}; darkness: {context.score_label}'.replace('  ', ' ')
    set_title(axes, title)
    return finish(SENSITIVITY_NAME, title, (
        'Each row is one layer, or a group that has to be changed together, compressed alone; '
        f'{what}. Rows that change early are the ones to be careful with, rows that stay as '
        'they are can give most. '
        f'Coloured cells were not measured. {left_out}'), figure)


def sensitivity_matrix(
    rows: Sequence[SensitivityRow]
) -> tuple[FloatArray, list[str], list[float]]:
    """Return scores ``(names, levels)``, NaN where there is none, in order of appearance."""
    names = list(dict.fromkeys(row.name for row in rows))
    levels = sorted({row.level for row in rows})
    matrix = np.full((len(names), len(levels)), np.nan)
    for row in rows:
        matrix[names.index(row.name), levels.index(row.level)] = row.score
    return matrix, names, levels


def _largest(layers: list[TensorRow]) -> list[TensorRow]:
    """Return the layers with most weights, in their own order."""
    kept = sorted(layers, key=lambda layer: -layer.parameters)[:MAX_LAYERS]
    return [layer for layer in layers if layer in kept]
