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

"""The pictures of a compression: size against accuracy, and the parts of the file."""

from __future__ import annotations

from collections.abc import Sequence
import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
import numpy as np

from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports.compression_rows import PAPER
from vpr_compressed.offline.reports.compression_rows import PARTS
from vpr_compressed.offline.reports.compression_rows import ReportContext
from vpr_compressed.offline.reports.compression_rows import SensitivityRow
from vpr_compressed.offline.reports.compression_rows import StepRow
from vpr_compressed.offline.reports.compression_rows import TensorRow
from vpr_compressed.offline.reports.page import described
from vpr_compressed.offline.reports.page import Plot
from vpr_compressed.system.terminal import human_bytes

NAMES = frozenset({'size_accuracy.png', 'parts.png', 'layers.png', 'sensitivity.png'})
#: Layers, and rows of the sensitivity, that fit into a picture that can be read.
MAX_LAYERS = 90
#: Cells of the heat map get their number where there are at most so many columns.
MAX_NUMBERED = 9
#: Ticks of the axes of sizes, in times smaller, and of losses, in points.
_RATIOS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_LOSSES = (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100)
#: Where a tag may stand around its point, in points of 1/72 inch, best first.
_PLACES = tuple(
    (radius * np.cos(angle), radius * np.sin(angle)) for radius in (13.0, 24.0, 36.0, 50.0)
    for angle in np.radians([90, 45, 135, 20, 160, 270, 315, 225]))


def draw(rows: Sequence[StepRow], context: ReportContext) -> list[Plot]:
    """
    Return all pictures of a report, in the order a reader wants them.

    :param rows: at least one, the parent first
    """
    plots = [size_accuracy_plot(rows, context), parts_plot(rows), layers_plot(rows[-1])]
    if context.sensitivity:
        plots.append(sensitivity_plot(context))
    return plots


def size_accuracy_plot(rows: Sequence[StepRow], context: ReportContext) -> Plot:
    """Draw what every step lost over how small it made the file, and the paper's networks."""
    figure, axes = figures.new_axes(4.9 + 0.17 * ((len(rows) + 1) // 2))
    ratios = np.array([row.ratio for row in rows])
    main, second, words = losses(rows)
    for network, marker in (('VGG16', 's'), ('AlexNet', '^')):
        for bits in (8, 5):
            points = [(row.ratio, row.drop) for row in PAPER
                      if row.network == network and row.bits == bits]
            axes.plot(*zip(*points), marker=marker, markersize=6, linewidth=0.8, linestyle=':',
                      color=figures.WRONG, markerfacecolor=figures.WRONG if bits == 8 else 'white',
                      label=f'paper: {network}, {bits} bit')
    if second is not None:
        axes.plot(ratios, second, color='#7fb0e3', linewidth=1.2, linestyle='--', marker='o',
                  markersize=4, markerfacecolor='white', label=words[1])
    if main is not None:
        axes.plot(ratios, main, color=figures.RIGHT, linewidth=2, marker='o', markersize=6,
                  label=words[0])
    if context.target_ratio is not None:
        axes.axvline(context.target_ratio, color=figures.SOFT, linewidth=1, linestyle=(0, (2, 3)))
    _scale(axes, ratios, [main, second], context)
    axes.set(xlabel='file: times smaller than the original float weights',
             ylabel=f'{words[2]}  [points]')
    _legend(axes, rows)
    title, caption = described(
        'size_accuracy', rows=rows, drop=None if main is None else main[-1])
    figures.set_title(axes, title)  # the tags go where it leaves room
    if main is not None:
        _tag(axes, figure, ratios, [line for line in (main, second) if line is not None])
    return figures.finish('size_accuracy.png', title, caption, axes)


def losses(
    rows: Sequence[StepRow]
) -> tuple[FloatArray | None, FloatArray | None, tuple[str, str, str]]:
    """
    Return what the steps lost against the first row, in points.

    :returns: main and second measure, ``(N,)`` each or None where unknown, and their names with
        that of the axis: mean average precision and recall@1 with labels, changed answers without
    """
    if rows[0].scores:
        average = np.array([row.mean_average_precision for row in rows], np.float64)
        recall = np.array([row.recall for row in rows], np.float64)
        return 100 * (average[0] - average), 100 * (recall[0] - recall), (
            'mean average precision', 'recall@1', 'drop against the parent')
    words = ('answers changed', '', 'changed answers')
    if any(row.agreement for row in rows):
        return np.array([0.0 if row.agreement is None else 100 * (1 - row.agreement.top1)
                         for row in rows]), None, words
    return None, None, words


def parts_plot(rows: Sequence[StepRow]) -> Plot:
    """Draw the bytes of every part of the network before and after."""
    after = rows[-1].part_bytes()
    before = {part: sum(4 * tensor.parameters for tensor in rows[0].tensors if tensor.part == part)
              for part in PARTS}
    _, axes = figures.new_axes(3.0)
    for place, part in enumerate(PARTS):
        ends = [size for size in (before[part], after[part]) if size]
        axes.plot(ends, [place] * len(ends), color='#c9d3dd', linewidth=3)
        if ends:
            axes.annotate(_ends(before[part], after[part]), (max(ends), place), (9, 0),
                          textcoords='offset points', va='center', fontsize=9, color=figures.INK)
    for sizes, colour, name in ((before, figures.WITHHELD, 'parent in float32'),
                                (after, figures.RIGHT, 'file after the last step')):
        points = [(size, place) for place, size in enumerate(sizes.values()) if size]
        axes.plot(*zip(*points), linestyle='none', marker='o', markersize=8, color=colour,
                  label=name)
    known = [size for size in (*before.values(), *after.values()) if size]
    ticks = [10.0 ** power for power in range(2, 12) if 10.0 ** power <= 3 * max(known)]
    axes.set(xscale='log', xlabel='bytes, logarithmic')
    axes.set_xticks(ticks, map(human_bytes, ticks))
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(PARTS)), PARTS)
    axes.set(xlim=(min(known) / 2, max(known) * 40), ylim=(len(PARTS) - 0.5, -0.5))
    figures.legend_below(axes, ncol=2, fontsize=9)
    return figures.finish('parts.png', *described(
        'parts', before=sum(before.values()), after=rows[-1].file_bytes), axes)


def _ends(before: int, after: int) -> str:
    """Return two sizes and how many times the one is the other."""
    if not before:
        return human_bytes(after)
    if not after:
        return f'{human_bytes(before)}, removed'
    return f'{human_bytes(before)} to {human_bytes(after)}: {before / after:.1f}x'


def _scale(
    axes: Axes, ratios: FloatArray, lines: Sequence[FloatArray | None], context: ReportContext
) -> None:
    """Choose limits and ticks: ratios logarithmic, losses linear around zero."""
    drops = np.concatenate([[-0.5, 16.0], *(line for line in lines if line is not None)])
    wide = [1.0, 26.0, *ratios, context.target_ratio or 1.0]
    axes.set_xscale('log')
    axes.set_yscale('symlog', linthresh=1.0, linscale=1.0)
    axes.set_xticks(_RATIOS, [f'{ratio}x' for ratio in _RATIOS])
    axes.set_yticks(_LOSSES, map(str, _LOSSES))
    axes.set_xticks([], minor=True)
    axes.set_yticks([-0.5, 0.5], minor=True)
    axes.set(xlim=(0.85 * min(wide), 1.25 * max(wide)),
             ylim=(1.3 * float(drops.min()), 1.3 * float(drops.max())))
    axes.axhline(0.0, color='#9aa5b1', linewidth=0.8)
    if context.target_ratio is not None:
        axes.annotate(f'target {context.target_ratio:g}x', (context.target_ratio, 0.02),
                      (-3, 0), xycoords=('data', 'axes fraction'), textcoords='offset points',
                      ha='right', va='bottom', rotation=90, fontsize=8.5, color=figures.SOFT)


def _tag(axes: Axes, figure: Figure, ratios: FloatArray, lines: Sequence[FloatArray]) -> None:
    """Write the number of its step beside each point of the first line, where there is room."""
    figure.tight_layout(pad=0.6)  # where the points are depends on it
    paths = [axes.transData.transform(np.stack([ratios, line], axis=1)) * 72 / figure.dpi
             for line in lines]
    steps = np.linspace(0.0, 1.0, 20)[:, None]
    drawn = np.concatenate([*paths, *(
        start + steps * (end - start) for path in paths for start, end in zip(path, path[1:]))])
    tags: list[FloatArray] = []
    for number, point in enumerate(paths[0]):
        places = [point + offset for offset in _PLACES]
        room = [min(_distance(place, drawn) - 8.0, _distance(place, tags) - 12.0)
                for place in places]
        free = [index for index, distance in enumerate(room) if distance >= 0.0]
        place = places[free[0] if free else int(np.argmax(room))]
        tags.append(place)
        axes.annotate(
            str(number), (ratios[number], lines[0][number]), tuple(place - point),
            textcoords='offset points', ha='center', va='center', fontsize=8.5, weight='bold',
            color=figures.RIGHT,
            arrowprops={'arrowstyle': '-', 'color': figures.PALE, 'linewidth': 0.8},
            bbox={'boxstyle': 'circle,pad=0.12', 'facecolor': 'white', 'alpha': 0.85,
                  'linewidth': 0}, zorder=5)


def _distance(place: FloatArray, others: FloatArray | Sequence[FloatArray]) -> float:
    """Return the distance to the nearest of other places, infinite if there is none."""
    if not len(others):
        return float('inf')
    return float(np.linalg.norm(np.asarray(others) - place, axis=1).min())


def _legend(axes: Axes, rows: Sequence[StepRow]) -> None:
    """List the lines, and below them the numbered steps."""
    axes.add_artist(figures.legend_below(
        axes, left=-0.1, ncol=3, fontsize=8.5, columnspacing=1.2))
    steps = [Line2D([], [], linestyle='none', label=f'{number}  {_short(row)}')
             for number, row in enumerate(rows)]
    figures.legend_below(
        axes, 1.0, left=-0.1, handles=steps, ncol=2, fontsize=8.5, handlelength=0,
        handletextpad=0)


def _short(row: StepRow) -> str:
    """Return a step in at most some forty letters."""
    text = f'{row.step}: {row.options}' if row.options else row.step
    return text if len(text) <= 42 else f'{text[:40]}...'


def layers_plot(row: StepRow) -> Plot:
    """Draw zeros and bits of every weight tensor."""
    layers = [tensor for tensor in row.tensors if len(tensor.shape) > 1]
    shown = _largest(layers)
    height = max(2.6, 0.125 * len(shown) + 1.3)
    figure = Figure(figsize=(figures.WIDTH_IN, height))
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(shown))
    left.barh(places, [layer.zeros for layer in shown], color=figures.RIGHT, height=0.75)
    right.barh(places, [layer.bits for layer in shown], color=figures.PALE, height=0.75)
    for place, layer in zip(places, shown):
        text = f'{layer.levels:,}' if layer.levels else 'floats'
        right.annotate(text, (layer.bits, place), (2, 0), textcoords='offset points', va='center',
                       fontsize=6.5, color=figures.SOFT, annotation_clip=False)
    for axes in (left, right):
        figures.style_axes(axes)
        axes.grid(axis='y', visible=False)
        axes.tick_params(labelsize=8)
    left.set_yticks(places, [layer.name.removesuffix('.weight') for layer in shown], fontsize=6.5)
    left.set(xlabel='zeros  [%]', xlim=(0, 100), ylim=(len(shown) - 0.4, -0.6))
    right.set(xlabel='bits per stored value', xlim=(
        0, 1.3 * max([8.0, *(layer.bits for layer in shown)])))
    return figures.finish('layers.png', *described(
        'layers', row=row, shown=len(shown), total=len(layers)), figure, head_in=0.2)


def sensitivity_plot(context: ReportContext) -> Plot:
    """Draw what compressing one layer alone does, as a heat map."""
    matrix, names, levels = sensitivity_matrix(context.sensitivity)
    total = len(names)
    if total > MAX_LAYERS:
        spread = np.nanmax(matrix, axis=1) - np.nanmin(matrix, axis=1)
        chosen = np.sort(np.argsort(-spread, kind='stable')[:MAX_LAYERS])
        matrix, names = matrix[chosen], [names[row] for row in chosen]
    height = max(2.6, 0.135 * len(names) + 1.5)
    figure, axes = figures.new_axes(height)
    low, high = float(np.nanmin(matrix)), float(np.nanmax(matrix))
    axes.set_facecolor('#f3e3d9')
    shown = axes.imshow(matrix, cmap=figures.HEAT, vmin=low, vmax=max(high, low + 1e-9),
                        aspect='auto', interpolation='nearest')
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
                      color='white' if value > low + 0.55 * (high - low) else figures.INK)
    figure.colorbar(shown, ax=axes, label=textwrap.fill(
        context.score_label, max(20, int(10 * height))), fraction=0.04, pad=0.02)
    return figures.finish('sensitivity.png', *described(
        'sensitivity', context=context, shown=len(names), total=total), axes)


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
