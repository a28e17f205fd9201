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

"""One model or several on the same two recordings: what ``report.json`` and the table hold."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vpr_compressed.offline.accuracy.metrics import IntArray
from vpr_compressed.offline.accuracy.uncertainty import compare
from vpr_compressed.offline.accuracy.uncertainty import Comparison
from vpr_compressed.offline.reports.model_report import Report

FORMAT = 'vpr_compressed report'
#: 2: several models, intervals, Oxford mAP, EP, recall over all queries; the keys of 1 mean the
#: same, of the first model.
VERSION = 2
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
    return [*_accuracy(reports), *_costs(reports)]


def _accuracy(reports: Sequence[Report]) -> list[tuple[str, list[str]]]:
    """Return how good the answers are."""
    first, queries = reports[0], len(reports[0].measurement.queries)
    some = first.truth.answerable < queries
    accepted = [each.accepted for each in reports]
    return [
        ('queries with a right answer', [f'{first.truth.answerable} of {queries}'] * len(reports)),
        *(row for n in first.recall for row in (
            _shares(f'recall@{n}', [each.recall[n] for each in reports]),
            _intervals(f'recall@{n}', reports))),
        *(_shares(f'recall@{n} of all queries', [each.recall_of_all[n] for each in reports])
          for n in first.recall_of_all if some),
        *(_shares(f'precision@{n}', [each.precision_at[n] for each in reports])
          for n in first.precision_at),
        _shares('mean average precision', [each.mean_average_precision for each in reports]),
        _intervals('map', reports),
        _shares('the same, Oxford protocol', [each.oxford_map for each in reports]),
        _intervals('map_oxford', reports),
        _shares('area under precision-recall', [each.curve.area for each in reports]),
        _intervals('auc_pr', reports),
        _shares('recall at 100 % precision',
                [each.curve.max_recall_at_full_precision for each in reports]),
        _shares('extended precision EP', [each.curve.extended_precision for each in reports]),
        ('accepted matches', [
            f'{each.accepted}, {each.correct} right' if each.accepted else 'none'
            for each in accepted]),
        _shares('  their precision', [each.precision for each in accepted]),
        _shares('  their recall', [each.recall for each in accepted])]


def _costs(reports: Sequence[Report]) -> list[tuple[str, list[str]]]:
    """Return what the answers cost."""
    first = reports[0].model.file_bytes
    smaller = [] if len(reports) == 1 else [
        ('file, times smaller than the first',
         [f'{first / each.model.file_bytes:.1f}' for each in reports])]
    levels = ', '.join(reports[0].inference_ms)
    return [
        *((f'image to answer {name}, ms', [f'{each.latency_ms[name]:.1f}' for each in reports])
          for name in reports[0].latency_ms),
        (f'network alone {levels}, ms', [_times(each.inference_ms) for each in reports]),
        (f'search and agreement {levels}, ms', [_times(each.search_ms) for each in reports]),
        ('cores busy with other programs meanwhile',
         [each.observation.others_text for each in reports]),
        ('multiply-adds an image, millions',
         [_millions(each.model.multiply_adds) for each in reports]),
        ('model file, MB', [_millions(each.model.file_bytes) for each in reports]), *smaller,
        ('weights, millions', [_millions(each.model.parameters) for each in reports]),
        ('memory of model and engine, MB',
         [_millions(each.observation.model_resident_bytes) for each in reports]),
        ('memory of the process, MB',
         [_millions(each.measurement.resident_bytes) for each in reports]),
        ('load to first answer, s', [f'{each.observation.load_s:.2f}' for each in reports]),
        ('descriptor, bytes', [f'{4 * each.model.dimension}' for each in reports]),
        ('place in the map, bytes',
         [f'{each.measurement.bytes_per_place:.0f}' for each in reports]),
        ('engine', [each.model.engine for each in reports]),
        ('largest weights stored as', [each.model.precision for each in reports]),
        ('measured', [each.origin for each in reports])]


def _shares(name: str, values: Sequence[float | None]) -> tuple[str, list[str]]:
    """Return a row of numbers in [0, 1], a dash for one that is not defined."""
    return name, ['-' if value is None else f'{value:.3f}' for value in values]


def _intervals(name: str, reports: Sequence[Report]) -> tuple[str, list[str]]:
    """Return a row of intervals."""
    return '  95 % interval', [str(each.intervals[name]) for each in reports]


def _times(levels: Mapping[str, float]) -> str:
    """Return percentiles in one text."""
    return ', '.join(f'{value:.1f}' for value in levels.values())


def _millions(count: int) -> str:
    """Return a count in millions, with three digits or all those before the point."""
    value = count / 1e6
    return f'{value:,.0f}' if value >= 1000 else f'{value:.3g}'
