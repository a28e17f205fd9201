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

"""The queries worth looking at when several models answer: all wrong, or not of one mind."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpr_compressed.offline.accuracy.metrics import answerable
from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.reports.comparison import Evaluation
from vpr_compressed.offline.reports.image_pairs import load_images
from vpr_compressed.offline.reports.image_pairs import spread
from vpr_compressed.offline.reports.summary import Report
from vpr_compressed.records import ImageArray
from vpr_compressed.sources import ImageSource

#: Queries of each kind.
COUNT = 6
#: Different places shown per query.
PLACES = 3


@dataclass(frozen=True)
class Answer:
    """
    A place that models found for a query.

    :param row: reference index
    :param right: whether it is right
    :param models: label and similarity of every model that found it
    """

    row: int
    right: bool
    models: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class HardQuery:
    """
    A query with the different places that were found for it.

    :param answers: those of most models first, at most :data:`PLACES`
    :param hidden: how many further places were found
    :param solution: a right place, if none of the answers is
    """

    query: int
    name: str
    wrong: int
    answers: tuple[Answer, ...]
    hidden: int
    solution: int | None


@dataclass(frozen=True)
class Hardest:
    """
    Both kinds of queries with the images to show them.

    :param wrong: queries that more than half of the models get wrong
    :param wrong_in_all: how many there are, shown or not
    :param split: queries that some models get right and others wrong
    :param split_in_all: how many there are, shown or not
    """

    wrong: tuple[HardQuery, ...]
    wrong_in_all: int
    split: tuple[HardQuery, ...]
    split_in_all: int
    queries: Mapping[int, ImageArray]
    places: Mapping[int, ImageArray]


def fetch(evaluation: Evaluation, reference: ImageSource, query: ImageSource) -> Hardest:
    """Choose the queries and load their images, small; each source is read once."""
    counts, models = evaluation.wrong_counts, len(evaluation.reports)
    known = answerable(evaluation.first.truth.positives)
    margins = np.mean([margin(report) for report in evaluation.reports], axis=0)
    mostly, divided = known & (2 * counts > models), known & (counts > 0) & (counts < models)
    wrong = _choose(evaluation, np.where(mostly, counts + margins / 4, -np.inf))
    # Where they differ, an even split says most.
    even = np.minimum(counts, models - counts) + np.abs(margins) / 4
    split = _choose(evaluation, np.where(divided, even, -np.inf))
    shown = (*wrong, *split)
    rows = {answer.row for each in shown for answer in each.answers}
    rows |= {each.solution for each in shown if each.solution is not None}
    return Hardest(
        wrong, int(mostly.sum()), split, int(divided.sum()),
        load_images(query, (each.query for each in shown)), load_images(reference, rows))


def margin(report: Report) -> FloatArray:
    """
    Return how much surer a model is of its answer than of the best right place, ``(Q,)``.

    0 where the answer is right, 2 (the largest difference of two cosines) where no right place is
    ranked.
    """
    measured, best = report.measurement, report.best_similarities
    margins = np.zeros(len(measured.queries))
    for query, rows in enumerate(report.truth.positives):
        if rows and not report.best_right[query]:
            right = np.flatnonzero(np.isin(measured.rows[query], list(rows)))
            margins[query] = 2.0 if not len(right) else (
                best[query] - measured.similarities[query, right[0]])
    return margins


def _choose(evaluation: Evaluation, scores: FloatArray) -> tuple[HardQuery, ...]:
    """Return the queries of the highest scores, each from another stretch of the walk."""
    gap = max(2, len(scores) // (4 * COUNT))
    return tuple(_hard_query(evaluation, query) for query in spread(scores, COUNT, gap))


def _hard_query(evaluation: Evaluation, query: int) -> HardQuery:
    """Return one query with what was found for it."""
    reports, positives = evaluation.reports, evaluation.first.truth.positives[query]
    found: dict[int, list[tuple[str, float]]] = {}
    for report in reports:
        row = int(report.best_rows[query])
        if row >= 0:
            found.setdefault(row, []).append(
                (report.model.label, float(report.best_similarities[query])))
    answers = sorted(
        (Answer(row, row in positives, tuple(models)) for row, models in found.items()),
        key=lambda answer: (-len(answer.models), answer.row))
    shown = answers[:PLACES]
    if not any(answer.right for answer in shown):
        # One that somebody found must be seen.
        shown += [answer for answer in answers[PLACES:] if answer.right][:1]
    solution = None if any(answer.right for answer in shown) else _solution(reports, query)
    return HardQuery(
        query, evaluation.first.measurement.queries[query].name,
        int(evaluation.wrong_counts[query]), tuple(shown), len(answers) - len(shown), solution)


def _solution(reports: Sequence[Report], query: int) -> int:
    """Return the right place that the first model ranks highest."""
    rows = reports[0].truth.positives[query]
    ranked = [row for row in reports[0].measurement.rows[query].tolist() if row in rows]
    return ranked[0] if ranked else min(rows)
