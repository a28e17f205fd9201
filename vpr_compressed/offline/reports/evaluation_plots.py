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

"""The pictures of an evaluation report."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure
import numpy as np

from vpr_compressed.offline.reports.figures import ANSWER
from vpr_compressed.offline.reports.figures import finish
from vpr_compressed.offline.reports.figures import INK
from vpr_compressed.offline.reports.figures import new_axes
from vpr_compressed.offline.reports.figures import Plot
from vpr_compressed.offline.reports.figures import RIGHT
from vpr_compressed.offline.reports.figures import set_title
from vpr_compressed.offline.reports.figures import WIDTH_IN
from vpr_compressed.offline.reports.figures import WITHHELD
from vpr_compressed.offline.reports.figures import WRONG
from vpr_compressed.offline.reports.summary import Report
from vpr_compressed.records import ImageArray


@dataclass(frozen=True)
class Pair:
    """
    One query and what was found for it, as small images.

    :param right: whether the found place is right
    :param answer: an image that would have been right; None when ``found`` is, or there is none
    """

    query: ImageArray
    found: ImageArray
    answer: ImageArray | None
    right: bool
    query_text: str
    found_text: str
    answer_text: str = ''


def recall_plot(report: Report) -> Plot:
    """Draw recall@N."""
    figure, axes = new_axes(3.6)
    cutoffs = list(report.recall_curve)
    values = [100 * report.recall_curve[n] for n in cutoffs]
    axes.plot(cutoffs, values, color=RIGHT, marker='o', markersize=4, linewidth=2)
    # The line never falls, so there is always room below it to the right.
    for n, recall in report.recall.items():
        axes.annotate(
            f'{recall:.1%}', (n, 100 * recall), (5, -15), textcoords='offset points',
            fontsize=10, color=INK, weight='bold')
    axes.set(
        xlabel='N, places looked at per query', ylabel='recall@N  [%]',
        xlim=(0.5, max(cutoffs) + 0.5), xticks=[1, 5, 10, 15, 20, 25],
        ylim=(min(50.0, 10 * np.floor(min(values) / 10)), 102))
    title = f'Recall@N: {report.recall[1]:.1%} of the queries have a right place first'
    set_title(axes, title)
    return finish('recall.png', title, (
        f'Share of the {report.truth.answerable} queries with a right answer '
        f'({report.truth.description}) that have one among the N most similar of '
        f'{len(report.measurement.reference_names)} places. A line that starts high needs no '
        'second look; one that climbs late would gain from re-ranking.'), figure)


def precision_recall_plot(report: Report) -> Plot:
    """Draw precision over recall with the point where the recogniser works."""
    figure, axes = new_axes(4.6)
    curve, accepted = report.curve, report.accepted
    recall = 100 * np.append(0.0, curve.recall)
    precision = 100 * np.append(curve.precision[:1], curve.precision)
    axes.plot(
        recall, precision, color=RIGHT, linewidth=2, label='best place alone, all thresholds')
    full = 100 * curve.max_recall_at_full_precision
    axes.axvline(full, color=WITHHELD, linewidth=1, linestyle=':')
    axes.annotate(
        f'{full:.1f} % recall without an error', (full, 3), (-5 if full > 50 else 5, 0),
        textcoords='offset points', color='#52606d', fontsize=9.5, va='bottom',
        ha='right' if full > 50 else 'left')
    if accepted.precision is not None:
        axes.plot(
            100 * accepted.recall, 100 * accepted.precision, marker='D', markersize=9,
            linestyle='none', color=WRONG, markeredgecolor='white',
            label=f'accepted matches: {accepted.precision:.1%} right at '
            f'{accepted.recall:.1%} recall')
    axes.set(
        xlabel='recall: right answers / answerable queries  [%]',
        ylabel='precision: right / accepted  [%]', xlim=(0, 102), ylim=(0, 104))
    axes.legend(
        loc='upper left', bbox_to_anchor=(0.0, -0.15), frameon=False, fontsize=9.5)
    title = f'Precision and recall: area {curve.area:.3f}'
    set_title(axes, title)
    return finish('precision_recall.png', title, (
        'Lowering the threshold accepts more answers (to the right) and more wrong ones (down). '
        + ('With its own threshold, the recogniser accepted nothing.'
           if accepted.precision is None else
           'The diamond is where the recogniser works with its own threshold and with agreement '
           'of several frames; above the line, agreement over time is worth more than any '
           'threshold on one image.')), figure)


def latency_plot(report: Report) -> Plot:
    """Draw how long the queries took."""
    figure, axes = new_axes(3.2)
    queries = report.measurement.queries
    inference = np.array([query.inference_ms for query in queries])
    search = np.array([query.search_ms for query in queries])
    axes.fill_between(
        np.arange(len(queries)), inference, color='#a9c8ea', label='network', step='mid',
        linewidth=0)
    axes.fill_between(
        np.arange(len(queries)), inference, inference + search, color=WRONG,
        label='search and agreement', step='mid', linewidth=0)
    for name in ('p50', 'p95'):
        value = report.latency_ms[name]
        axes.axhline(value, color=INK, linewidth=1, linestyle=':')
        axes.annotate(
            f'{name} {value:.1f} ms', (len(queries) - 1, value), (-2, 3),
            textcoords='offset points', ha='right', fontsize=9, color=INK,
            bbox={'facecolor': 'white', 'alpha': 0.8, 'linewidth': 0, 'pad': 1.5})
    top = 1.6 * report.latency_ms['p95']
    axes.set(xlabel='query: index', ylabel='time  [ms]', ylim=(0, top))
    axes.legend(
        loc='upper left', fontsize=9, ncol=2, framealpha=0.85, edgecolor='none', borderpad=0.2)
    title = f'Time from decoded image to answer: half within {report.latency_ms["p50"]:.1f} ms'
    set_title(axes, title)
    return finish('latency.png', title, (
        f'Wall time of each query on {report.setting["machine"]["processor"]} '
        f'({report.setting["engine"]}). The axis ends at 1.6 times the 95th percentile; spikes '
        'beyond it are mostly other programs on this computer.'), figure)


def pairs_plot(name: str, title: str, caption: str, pairs: list[Pair]) -> Plot:
    """Draw queries beside what was found for them."""
    columns = 3 if any(pair.answer is not None for pair in pairs) else 2
    cell = WIDTH_IN / columns
    shape = pairs[0].query.shape if pairs else (3, 4)
    height = max(1, len(pairs)) * (0.95 * cell * shape[0] / shape[1] + 0.26) + 0.45
    figure = Figure(figsize=(WIDTH_IN, height))
    figure.suptitle(title, x=0.012, ha='left', fontsize=12, weight='bold', color=INK)
    if not pairs:
        figure.text(0.5, 0.4, 'none', ha='center', fontsize=12, color=WITHHELD)
    for number, pair in enumerate(pairs):
        colour = RIGHT if pair.right else WRONG
        _image(figure, (len(pairs), columns, 1 + number * columns), pair.query,
               pair.query_text, INK)
        _image(figure, (len(pairs), columns, 2 + number * columns), pair.found,
               pair.found_text, colour)
        if pair.answer is not None:
            _image(figure, (len(pairs), columns, 3 + number * columns), pair.answer,
                   pair.answer_text, ANSWER)
    # Photographs need fewer pixels than lines.
    return finish(name, title, caption, figure, dpi=120, head_in=0.16)


def _image(
    figure: Figure, place: tuple[int, int, int], image: ImageArray, text: str, colour: str
) -> None:
    """Draw one framed image with a line of text above it."""
    axes = figure.add_subplot(*place)
    axes.imshow(image, interpolation='antialiased')
    axes.set(xticks=[], yticks=[])
    axes.set_title(text, fontsize=8.5, color=colour, loc='left', pad=3)
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2)
