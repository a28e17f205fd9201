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

"""The numbers of one model on two recordings, ready for a file, a page or a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.offline.accuracy import metrics
from vpr_compressed.offline.accuracy import uncertainty
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.measuring.observation import EvaluatedModel
from vpr_compressed.offline.measuring.observation import Observation
from vpr_compressed.offline.measuring.two_recordings import latencies_ms
from vpr_compressed.offline.measuring.two_recordings import RecognitionRun
from vpr_compressed.sources import ImageSource
from vpr_compressed.system.machine import machine
from vpr_compressed.system.machine import now
from vpr_compressed.system.machine import versions

CUTOFFS = (1, 5, 10)
#: Cut-offs of the recall curve.
CURVE = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25)
#: Percentiles of all times.
LEVELS = (50, 95, 99)
#: Candidates per query that the report file lists.
LISTED = 10


@dataclass(frozen=True, kw_only=True)
class Report:
    """
    One model on two recordings: what was run, what came out, and on what.

    :param measurement: its rankings are without junk
    :param recall: N -> recall@N over the answerable queries
    :param recall_of_all: N -> recall@N over all queries
    :param oxford_map: mean average precision by the Oxford protocol
    :param intervals: ``recall@1``, ... -> 95 % bootstrap interval
    :param latency_ms: p50, p95 and p99 from decoded image to answer
    :param recall_curve: N -> recall@N for the plot
    :param setting: command, versions, machine, sources, model: what is needed to repeat it
    """

    measurement: RecognitionRun
    truth: GroundTruth
    model: EvaluatedModel
    observation: Observation
    recall: Mapping[int, float]
    recall_of_all: Mapping[int, float]
    precision_at: Mapping[int, float]
    mean_average_precision: float
    oxford_map: float
    intervals: Mapping[str, uncertainty.Interval]
    recall_curve: Mapping[int, float]
    curve: metrics.PrecisionRecallCurve
    accepted: metrics.AcceptedMatches
    latency_ms: Mapping[str, float]
    inference_ms: Mapping[str, float]
    search_ms: Mapping[str, float]
    setting: Mapping[str, Any]

    @property
    def complete(self) -> bool:
        """Return whether every place is ranked for every query."""
        return bool(self.measurement.rows.shape[1] >= len(self.measurement.reference_names))

    @property
    def best_rows(self) -> metrics.IntArray:
        """Return the most similar place of each query, ``(Q,)``, -1 for none."""
        return self.measurement.rows[:, 0]

    @property
    def best_similarities(self) -> metrics.FloatArray:
        """Return the similarity to the most similar place, ``(Q,)``."""
        return self.measurement.similarities[:, 0]

    @cached_property
    def best_right(self) -> NDArray[np.bool_]:
        """Return whether the most similar place is right, bool ``(Q,)``."""
        return metrics.hits(self.measurement.rows[:, :1], self.truth.positives)[:, 0]

    @property
    def origin(self) -> str:
        """Return which run the figures are from."""
        seen = self.observation
        if seen.cached:
            return f'earlier, {seen.measured}'
        recalled = seen.measurement.recalled
        if not recalled:
            return 'now'
        total = len(seen.measurement.queries) + len(seen.measurement.reference_names)
        return f'now; {recalled} of {total} images in an earlier run'

    @property
    def answerable_right(self) -> NDArray[np.bool_]:
        """Return :attr:`best_right` of the answerable queries, bool ``(A,)``."""
        return self.best_right[metrics.answerable(self.truth.positives)]

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, without what happened to single queries."""
        measured, seen = self.measurement, self.observation
        return {
            'label': self.model.label,
            'recall': _text_keys(self.recall), 'precision_at': _text_keys(self.precision_at),
            'recall_of_all_queries': _text_keys(self.recall_of_all),
            'map': self.mean_average_precision, 'map_oxford': self.oxford_map,
            'auc_pr': self.curve.area,
            'max_recall_at_100_precision': self.curve.max_recall_at_full_precision,
            'extended_precision': self.curve.extended_precision,
            'intervals': {
                'kind': f'percentile bootstrap over queries, {uncertainty.RESAMPLES} resamples',
                'level': uncertainty.LEVEL,
                **{name: [each.low, each.high] for name, each in self.intervals.items()}},
            'accepted_matches': asdict(self.accepted),
            'queries': len(measured.queries), 'answerable_queries': self.truth.answerable,
            'places': len(measured.reference_names), 'ranking_depth': measured.rows.shape[1],
            'ranking_complete': self.complete, 'junk': sum(map(len, self.truth.junk)),
            'ground_truth': self.truth.description,
            'latency_ms': dict(self.latency_ms), 'inference_ms': dict(self.inference_ms),
            'search_ms': dict(self.search_ms), 'load_s': seen.load_s,
            'model_bytes': self.model.file_bytes, 'resident_bytes': measured.resident_bytes,
            'model_resident_bytes': seen.model_resident_bytes,
            'bytes_per_place': measured.bytes_per_place,
            'parameters': self.model.parameters, 'multiply_adds': self.model.multiply_adds,
            'descriptor_bytes': 4 * self.model.dimension,
            'cores_busy_with_other_programs': (
                None if seen.others_cores is None else round(seen.others_cores, 2)),
            'measured': seen.measured, 'from_cache': seen.cached,
            'images_described_earlier': measured.recalled, **self.setting,
            'recall_curve': _text_keys(self.recall_curve),
            'pr_curve': {
                name: np.round(values, 6).tolist() for name, values in (
                    ('threshold', self.curve.thresholds), ('precision', self.curve.precision),
                    ('recall', self.curve.recall))}}

    def per_query(self) -> list[dict[str, Any]]:
        """Return what happened to each query, as ``report.json`` has it."""
        measured = self.measurement
        entries = []
        for number, query in enumerate(measured.queries):
            candidates = [
                {'reference': int(row), 'similarity': round(float(similarity), 6)}
                for row, similarity in zip(
                    measured.rows[number, :LISTED], measured.similarities[number, :LISTED])
                if row >= 0]
            match: dict[str, Any] | None = None if query.match_row is None else {
                'reference': query.match_row, 'similarity': query.match_similarity,
                'confidence': query.confidence, 'votes': query.votes,
                'correct': query.match_row in self.truth.positives[number]}
            if match is not None and self.truth.junk:
                match['junk'] = query.match_row in self.truth.junk[number]
            entries.append({
                'index': query.index, 'name': query.name, 'stamp_ns': query.stamp_ns,
                'answerable': bool(self.truth.positives[number]), 'candidates': candidates,
                'match': match})
        return entries


def summarise(
    seen: Observation, truth: GroundTruth, model: EvaluatedModel, setting: Mapping[str, Any]
) -> Report:
    """
    Compute all numbers of one model.

    :param setting: see :func:`describe_setting`
    :raises GroundTruthError: if the ground truth has another number of queries
    """
    rows, similarities = metrics.without_junk(
        seen.measurement.rows, seen.measurement.similarities, truth.junk)
    measurement, positives = replace(
        seen.measurement, rows=rows, similarities=similarities), truth.positives
    best = metrics.hits(rows[:, :1], positives)[:, 0]
    found, queries = rows[:, 0] >= 0, measurement.queries
    return Report(
        measurement=measurement, truth=truth, model=model, observation=seen,
        recall=metrics.recall_at(rows, positives, CUTOFFS),
        recall_of_all=metrics.recall_of_all_at(rows, positives, CUTOFFS),
        precision_at=metrics.precision_at(rows, positives, CUTOFFS),
        mean_average_precision=metrics.mean_average_precision(rows, positives),
        oxford_map=metrics.mean_average_precision(rows, positives, oxford=True),
        intervals=intervals(rows, similarities, positives),
        recall_curve=metrics.recall_at(rows, positives, CURVE),
        curve=metrics.precision_recall_curve(
            similarities[found, 0], best[found], truth.answerable),
        accepted=metrics.accepted_matches(
            [query.match_row for query in queries], positives, truth.junk),
        latency_ms=metrics.percentiles(latencies_ms(queries), LEVELS),
        inference_ms=_percentiles([query.inference_ms for query in queries]),
        search_ms=_percentiles([query.search_ms for query in queries]), setting=setting)


def intervals(
    rows: metrics.IntArray, similarities: metrics.FloatArray, positives: metrics.Positives
) -> dict[str, uncertainty.Interval]:
    """
    Return how far each number of accuracy can be trusted.

    Means over answerable queries are drawn from these; the area under the curve from all.

    :param rows: without junk, likewise ``similarities``
    :returns: ``recall@N``, ``map``, ``map_oxford``, ``auc_pr`` -> interval
    """
    known = metrics.answerable(positives)
    right = metrics.hits(rows[:, :max(CUTOFFS)], positives)
    found = uncertainty.bootstrap_means({
        **{f'recall@{n}': np.asarray(right[known, :n].any(axis=1), np.float64) for n in CUTOFFS},
        'map': metrics.average_precisions(rows, positives),
        'map_oxford': metrics.average_precisions(rows, positives, oxford=True)})
    return {**found, 'auc_pr': uncertainty.bootstrap_area(similarities[:, 0], right[:, 0], known)}


def describe_setting(
    model: EvaluatedModel, measurement: RecognitionRun, reference: ImageSource,
    query: ImageSource, *, command: str,
) -> dict[str, Any]:
    """Return everything somebody needs to repeat the evaluation and to trust it."""
    return {
        'engine': model.engine, 'threads': model.threads,
        'precision': model.precision, 'dimension': model.dimension,
        'descriptor_id': model.descriptor_id,
        'model': {'name': model.name, 'path': str(model.path), 'sha256': model.sha256},
        'reference': _source(reference, measurement.reference_sha256),
        'query': _source(query, measurement.query_sha256),
        'command': command, 'created': now(),
        'versions': versions(), 'machine': machine()}


def _source(source: ImageSource, digest: str) -> dict[str, Any]:
    """Return what a source is and a digest of its pixels."""
    return {
        'description': source.describe(), 'path': str(source.path), 'kind': source.kind,
        'images': len(source), 'pixels_sha256': digest}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99."""
    return metrics.percentiles(np.array(values, np.float64), LEVELS)


def _text_keys(values: Mapping[int, float]) -> dict[str, float]:
    """Return the mapping with the keys JSON wants."""
    return {str(key): value for key, value in values.items()}
