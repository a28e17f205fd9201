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

"""Make all plots of a report: choose the best and the worst matches and fetch their images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vpr_compressed.images.pixels import resize
from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.reports import evaluation_plots
from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports.similarity_plot import similarity_plot
from vpr_compressed.offline.reports.summary import Report
from vpr_compressed.records import ImageArray
from vpr_compressed.sources import ImageSource

#: Pairs of each kind, and the width of their images in pixels.
COUNT = 4
WIDTH = 360


@dataclass(frozen=True)
class Choice:
    """A query worth showing; rows are reference indices, ``answer`` is None if not needed."""

    query: int
    found: int
    answer: int | None
    right: bool


def draw(report: Report, reference: ImageSource, query: ImageSource) -> list[figures.Plot]:
    """Return all plots of a report, in the order a reader wants them."""
    best = fetch(report, choose(report, right=True), reference, query)
    worst = fetch(report, choose(report, right=False), reference, query)
    wrong = int((~report.best_right).sum())
    return [
        evaluation_plots.recall_plot(report), evaluation_plots.precision_recall_plot(report),
        similarity_plot(report), evaluation_plots.latency_plot(report),
        evaluation_plots.pairs_plot('best_matches.png', 'Surest right answers', (
            'A query on the left, the place that was found for it beside it, with their cosine '
            'similarity: the surest right answers, each from another stretch of the walk.'),
            best),
        evaluation_plots.pairs_plot('worst_matches.png', 'Surest wrong answers', (
            f'The surest of the {wrong} queries whose most similar place is wrong: query, what '
            'was found, and the most similar place that would have been right, if there is one. '
            'Look for what the two places share.'), worst)]


def choose(report: Report, *, right: bool, count: int = COUNT) -> list[Choice]:
    """
    Return the surest right answers, or the surest wrong ones, each from another stretch.

    :param right: the best matches, else the worst
    """
    scores = np.where(
        (report.best_right == right) & (report.best_rows >= 0), report.best_similarities, -np.inf)
    gap = max(2, len(scores) // (4 * count))
    return [_choice(report, query) for query in spread(scores, count, gap)]


def spread(scores: FloatArray, count: int, gap: int) -> list[int]:
    """
    Return the indices of the largest finite scores that lie at least ``gap`` apart.

    Neighbouring frames look the same; four of them would show one place four times.
    """
    chosen: list[int] = []
    for index in np.argsort(-scores, kind='stable'):
        if len(chosen) == count or not np.isfinite(scores[index]):
            break
        if all(abs(int(index) - other) >= gap for other in chosen):
            chosen.append(int(index))
    return chosen


def fetch(
    report: Report, choices: list[Choice], reference: ImageSource, query: ImageSource
) -> list[evaluation_plots.Pair]:
    """
    Load the images of the choices, small.

    Each source is read once and no further than needed; nothing else is decoded.
    """
    queries = load_images(query, (choice.query for choice in choices))
    places = load_images(reference, (
        row for choice in choices for row in (choice.found, choice.answer) if row is not None))
    measured = report.measurement
    pairs = []
    for choice in choices:
        similarity = report.best_similarities[choice.query]
        verdict = 'right' if choice.right else 'wrong'
        answer = None if choice.answer is None else places[choice.answer]
        pairs.append(evaluation_plots.Pair(
            queries[choice.query], places[choice.found], answer, choice.right,
            _label(choice.query, measured.queries[choice.query].name),
            f'found {choice.found}, {verdict}, {similarity:.3f}',
            '' if choice.answer is None else f'right would be {choice.answer}'))
    return pairs


def _choice(report: Report, query: int) -> Choice:
    """Return one choice with the right place that looked most similar."""
    right = bool(report.best_right[query])
    rows = report.truth.positives[query]
    found = int(report.best_rows[query])
    if right or not rows:
        return Choice(query, found, None, right)
    ranked = [row for row in report.measurement.rows[query].tolist() if row in rows]
    return Choice(query, found, ranked[0] if ranked else min(rows), right)


def load_images(source: ImageSource, wanted: Iterable[int]) -> dict[int, ImageArray]:
    """Return the wanted images of a source, scaled down."""
    missing = set(wanted)
    images: dict[int, ImageArray] = {}
    if missing:
        for frame in source:
            if frame.index in missing:
                images[frame.index] = _small(frame.load())
                missing.remove(frame.index)
            if not missing:
                break
    return images


def _small(image: ImageArray) -> ImageArray:
    """Return an image at most WIDTH pixels wide, same proportions."""
    height, width = image.shape[:2]
    if width <= WIDTH:
        return image
    return resize(image, WIDTH, max(1, round(height * WIDTH / width)))


def _label(query: int, name: str) -> str:
    """Return what to write above a query; a topic's name would say nothing new."""
    if name.endswith(f'[{query}]'):
        return f'query {query}'
    return f'query {query}: {name if len(name) <= 28 else f"...{name[-25:]}"}'
