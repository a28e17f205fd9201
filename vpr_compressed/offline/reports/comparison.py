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

"""Several models on the same two recordings: their reports, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vpr_compressed.offline.accuracy.metrics import IntArray
from vpr_compressed.offline.accuracy.uncertainty import compare
from vpr_compressed.offline.accuracy.uncertainty import Comparison
from vpr_compressed.offline.reports.summary import FORMAT
from vpr_compressed.offline.reports.summary import Report
from vpr_compressed.offline.reports.summary import VERSION

#: What the numbers mean, for a reader of the page; exactly, they are defined where they are
#: computed, in :mod:`.metrics` and :mod:`.uncertainty`.
DEFINITIONS = (
    ('recall@N', 'Share of the queries with a right answer that have one among the N most similar '
     'places. "Of all queries" also counts those that have none, as failed.'),
    ('precision@N', 'Share of right places among the N most similar ones, averaged over the '
     'queries with a right answer. With P right places it cannot exceed P / N.'),
    ('mean average precision', 'Mean over the queries with a right answer of the precision at the '
     'rank of each right place; one that was not ranked counts 0. The Oxford protocol takes the '
     'area by trapezoids, as compute_ap.cpp of Oxford5k does.'),
    ('junk', 'Places that are neither right nor wrong. They are taken out of every ranking first, '
     'as if the map did not hold them.'),
    ('area under precision-recall', 'The most similar place of each query is accepted when its '
     'similarity reaches a threshold; precision over all thresholds, summed over the steps of '
     'recall. It cannot exceed recall@1.'),
    ('recall at 100 % precision', 'Largest share of right answers before the first wrong one.'),
    ('extended precision EP', '(P_R0 + R_P100) / 2: the mean of the precision at the smallest '
     'recall and of the recall at 100 % precision (Ferrarini et al. 2020).'),
    ('accepted matches', 'What the recogniser answers with its own threshold and agreement of '
     'several frames; everything else is "I do not know".'),
    ('image to answer', 'From the decoded image to the answer: pre-processing, network, search, '
     'agreement. p95: 95 of 100 queries were faster.'),
    ('memory', 'Of model and engine: what the process gained by loading both and describing one '
     'image. Of the process: all of it, after the last query.'),
    ('multiply-adds', 'Of convolutions, NetVLAD and projection for one image, zeros counted. They '
     'do not depend on the machine.'),
)
#: Keys that are the same for all models and stand once in the file.
_SHARED = (
    'command', 'created', 'versions', 'machine', 'queries', 'answerable_queries', 'places',
    'ground_truth', 'junk')


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """
    The reports of all models, in the order they were named.

    :param reports: at least one; the same queries, places and ground truth
    :param comparisons: of every further model with the first one
    """

    reports: tuple[Report, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def first(self) -> Report:
        """Return the report of the first model, which the others are compared with."""
        return self.reports[0]

    @cached_property
    def wrong_counts(self) -> IntArray:
        """Return how many models have no right place first, ``(Q,)``; answerable or not."""
        wrong = np.stack([~report.best_right for report in self.reports])
        return np.asarray(wrong.sum(axis=0), np.int64)

    def to_json(self) -> dict[str, Any]:
        """
        Return the content of ``report.json``.

        At the top everything of the first model, as in version 1; ``models`` has the numbers of
        all, and an entry of ``per_query`` has under ``others`` what the other models found.
        """
        entries = [report.to_json() for report in self.reports]
        queries = self.first.per_query()
        for report in self.reports[1:]:
            for entry, other in zip(queries, report.per_query()):
                entry.setdefault('others', []).append(
                    {'label': report.model.label, 'candidates': other['candidates'],
                     'match': other['match']})
        return {
            'format': FORMAT, 'version': VERSION, **entries[0],
            'models': [
                {key: value for key, value in entry.items() if key not in _SHARED}
                for entry in entries],
            'comparisons': [comparison.to_json() for comparison in self.comparisons],
            'per_query': queries}


def evaluation_of(reports: Sequence[Report]) -> Evaluation:
    """Compare every model with the first."""
    first = (reports[0].model.label, reports[0].answerable_right)
    return Evaluation(
        reports=tuple(reports),
        comparisons=tuple(
            compare(first, (report.model.label, report.answerable_right))
            for report in reports[1:]))


def table_of(reports: Sequence[Report]) -> list[tuple[str, list[str]]]:
    """
    Return the numbers of all models: what it is with its unit, then one text per model.

    Rows that say nothing on these recordings are left out.
    """
    rows = [*_accuracy(reports), *_costs(reports)]
    return [(name, [str(value) for value in values]) for name, values in rows]


def _accuracy(reports: Sequence[Report]) -> list[tuple[str, list[str]]]:
    """Return how good the answers are."""
    rows: list[tuple[str, list[str]]] = []
    for n in reports[0].recall:
        rows += [(f'recall@{n}', [f'{each.recall[n]:.3f}' for each in reports]),
                 _interval(reports, f'recall@{n}')]
    if reports[0].truth.answerable < len(reports[0].measurement.queries):
        rows += [(f'recall@{n} of all queries', [f'{each.recall_of_all[n]:.3f}'
                                                 for each in reports]) for n in (1,)]
    rows += [(f'precision@{n}', [f'{each.precision_at[n]:.3f}' for each in reports])
             for n in list(reports[0].precision_at)[1:]]
    accepted = [each.accepted for each in reports]
    return [
        *rows,
        ('mean average precision', [f'{each.mean_average_precision:.3f}' for each in reports]),
        _interval(reports, 'map'),
        ('the same, Oxford protocol', [f'{each.oxford_map:.3f}' for each in reports]),
        ('area under precision-recall', [f'{each.curve.area:.3f}' for each in reports]),
        _interval(reports, 'auc_pr'),
        ('recall at 100 % precision',
         [f'{each.curve.max_recall_at_full_precision:.3f}' for each in reports]),
        ('extended precision EP', [f'{each.curve.extended_precision:.3f}' for each in reports]),
        ('accepted matches', [
            f'{each.accepted}, {each.correct} right' if each.accepted else 'none'
            for each in accepted])]


def _costs(reports: Sequence[Report]) -> list[tuple[str, list[str]]]:
    """Return what the answers cost."""
    first = reports[0].model_bytes
    smaller = [
        ('file, times smaller than the first',
         [f'{first / each.model_bytes:.1f}' for each in reports])] if len(reports) > 1 else []
    return [
        *((f'image to answer {name}, ms', [f'{each.latency_ms[name]:.1f}' for each in reports])
          for name in reports[0].latency_ms),
        ('network alone p50, ms', [f'{each.inference_ms["p50"]:.1f}' for each in reports]),
        ('cores busy with other programs meanwhile',
         [each.observation.others_text for each in reports]),
        ('multiply-adds an image, millions',
         [_digits(each.model.multiply_adds / 1e6) for each in reports]),
        ('model file, MB', [_digits(each.model_bytes / 1e6) for each in reports]), *smaller,
        ('weights, millions', [_digits(each.model.parameters / 1e6) for each in reports]),
        ('memory of model and engine, MB',
         [f'{each.model_resident_bytes / 1e6:.0f}' for each in reports]),
        ('memory of the process, MB',
         [f'{each.measurement.resident_bytes / 1e6:.0f}' for each in reports]),
        ('load to first answer, s', [f'{each.load_s:.2f}' for each in reports]),
        ('descriptor, bytes', [f'{4 * each.model.dimension}' for each in reports]),
        ('place in the map, bytes',
         [f'{each.measurement.bytes_per_place:.0f}' for each in reports]),
        ('engine', [each.model.engine for each in reports]),
        ('largest weights stored as', [each.model.precision for each in reports]),
        ('measured', [origin(each) for each in reports])]


def origin(report: Report) -> str:
    """Return which run the figures of a model are from."""
    seen = report.observation
    if seen.cached:
        return f'earlier, {seen.measured}'
    recalled = seen.measurement.recalled
    if not recalled:
        return 'now'
    total = len(seen.measurement.queries) + len(seen.measurement.reference_names)
    return f'now; {recalled} of {total} images in an earlier run'


def _digits(value: float) -> str:
    """Return a number with three digits, or all those before the point."""
    return f'{value:,.0f}' if value >= 1000 else f'{value:.3g}'


def _interval(reports: Sequence[Report], name: str) -> tuple[str, list[str]]:
    """Return a row of intervals."""
    return '  95 % interval', [str(report.intervals[name]) for report in reports]
