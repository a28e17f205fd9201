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

"""The numbers of one model or several on the same two recordings, and ``report.json``."""

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
from vpr_compressed.offline.accuracy.decisions import Outcome
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.measuring.observation import EvaluatedModel
from vpr_compressed.offline.measuring.observation import Observation
from vpr_compressed.offline.measuring.recognition_run import latencies_ms
from vpr_compressed.offline.measuring.recognition_run import RecognitionRun
from vpr_compressed.offline.measuring.trial import Trial
from vpr_compressed.offline.reports.decision_summary import curve_json
from vpr_compressed.offline.reports.decision_summary import decision_json
from vpr_compressed.offline.reports.decision_summary import DecisionSummary
from vpr_compressed.offline.reports.decision_summary import summarise_decisions
from vpr_compressed.sources import ImageSource
from vpr_compressed.system.machine import machine
from vpr_compressed.system.machine import now
from vpr_compressed.system.machine import versions

FORMAT = 'vpr_compressed report'
#: 2: several models, intervals, Oxford mAP, EP, recall over all queries; the keys of 1 mean the
#: same, of the first model. 3: the decision and its reasons instead of votes, replays.
VERSION = 3
#: Keys that are the same for all models and stand once in the file.
_SHARED = (
    'command', 'created', 'versions', 'machine', 'queries', 'answerable_queries', 'places',
    'ground_truth', 'junk', 'replay')
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
    :param truth: of the queries as they were shown, over the places that were mapped
    :param trial: how the recordings were walked
    :param recall: N -> recall@N over the answerable queries
    :param recall_of_all: N -> recall@N over all queries
    :param oxford_map: mean average precision by the Oxford protocol
    :param intervals: ``recall@1``, ... -> 95 % bootstrap interval
    :param latency_ms: p50, p95 and p99 from decoded image to answer
    :param recall_curve: N -> recall@N for the plot
    :param curve: accepting the most similar place of single images from some similarity on
    :param decision: what the decision over the walk was worth
    :param setting: sources, command, time, versions, machine: what is needed to repeat it
    """

    measurement: RecognitionRun
    truth: GroundTruth
    model: EvaluatedModel
    observation: Observation
    trial: Trial
    recall: Mapping[int, float]
    recall_of_all: Mapping[int, float]
    precision_at: Mapping[int, float]
    mean_average_precision: float
    oxford_map: float
    intervals: Mapping[str, uncertainty.Interval]
    recall_curve: Mapping[int, float]
    curve: metrics.PrecisionRecallCurve
    decision: DecisionSummary
    latency_ms: Mapping[str, float]
    inference_ms: Mapping[str, float]
    search_ms: Mapping[str, float]
    setting: Mapping[str, Any]

    @property
    def complete(self) -> bool:
        """Return whether every place is ranked for every query."""
        return bool(self.measurement.rows.shape[1] >= self.measurement.places)

    @property
    def accepted(self) -> metrics.AcceptedMatches:
        """Return what was accepted."""
        return self.decision.scores.accepted

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Return what became of each query, length Q; for the strip of the walk."""
        return self.decision.scores.outcomes

    @property
    def warning(self) -> str | None:
        """Return what a user must not overlook, None for nothing."""
        return self.decision.warning(self.recall[1], self.truth.answerable)

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

    def verdict(self, number: int) -> str | None:
        """Return what the accepted match of a query is: right, wrong or junk; None without."""
        return self.outcomes[number].verdict

    @property
    def origin(self) -> str:
        """Return which run the figures are from."""
        seen = self.observation
        if seen.cached:
            return f'earlier, {seen.measured}'
        recalled = seen.measurement.recalled
        return f'now; {recalled} images described in an earlier run' if recalled else 'now'

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, without what happened to single queries."""
        measured, seen, model = self.measurement, self.observation, self.model
        return {
            'label': model.label, 'recall': self.recall, 'precision_at': self.precision_at,
            'recall_of_all_queries': self.recall_of_all,
            'map': self.mean_average_precision, 'map_oxford': self.oxford_map,
            'auc_pr': self.curve.area,
            'max_recall_at_100_precision': self.curve.max_recall_at_full_precision,
            'extended_precision': self.curve.extended_precision,
            'intervals': {
                'kind': f'percentile bootstrap over queries, {uncertainty.RESAMPLES} resamples',
                'level': uncertainty.LEVEL,
                **{name: [each.low, each.high] for name, each in self.intervals.items()}},
            'accepted_matches': asdict(self.accepted), 'decision': self.decision.to_json(),
            'warning': self.warning, 'replay': replay_json(self.trial),
            'queries': len(measured.queries), 'answerable_queries': self.truth.answerable,
            'places': measured.places, 'ranking_depth': measured.rows.shape[1],
            'ranking_complete': self.complete, 'junk': sum(map(len, self.truth.junk)),
            'ground_truth': self.truth.description,
            'latency_ms': self.latency_ms, 'inference_ms': self.inference_ms,
            'search_ms': self.search_ms, 'load_s': seen.load_s,
            'model_bytes': model.file_bytes, 'resident_bytes': measured.resident_bytes,
            'model_resident_bytes': seen.model_resident_bytes,
            'bytes_per_place': measured.bytes_per_place,
            'parameters': model.parameters, 'multiply_adds': model.multiply_adds,
            'descriptor_bytes': 4 * model.dimension,
            'cores_busy_with_other_programs': (
                None if seen.others_cores is None else round(seen.others_cores, 2)),
            'measured': seen.measured, 'from_cache': seen.cached,
            'images_described_earlier': measured.recalled, 'engine': model.engine,
            'threads': model.threads, 'precision': model.precision, 'dimension': model.dimension,
            'descriptor_id': model.descriptor_id,
            'model': {'name': model.name, 'path': str(model.path), 'sha256': model.sha256},
            **self.setting, 'recall_curve': self.recall_curve,
            'pr_curve': curve_json(self.curve)}

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
            verdict = self.verdict(number)
            match: dict[str, Any] | None = None if verdict is None else {
                'reference': query.match_row, 'similarity': query.decided_similarity,
                'confidence': query.confidence, 'correct': verdict == 'right'}
            if match is not None and self.truth.junk:
                match['junk'] = verdict == 'junk'
            entries.append({
                'index': query.index, 'name': query.name, 'stamp_ns': query.stamp_ns,
                'answerable': bool(self.truth.positives[number]), 'candidates': candidates,
                'decision': decision_json(query), 'outcome': self.outcomes[number].value,
                'match': match})
        return entries


@dataclass(frozen=True)
class Evaluation:
    """
    The reports of all models, in the order they were named.

    :param reports: at least one; the same queries, places and ground truth
    """

    reports: Sequence[Report]

    @property
    def first(self) -> Report:
        """Return the report of the first model, which the others are compared with."""
        return self.reports[0]

    @cached_property
    def comparisons(self) -> tuple[uncertainty.Comparison, ...]:
        """Return how every further model compares with the first one."""
        known = metrics.answerable(self.first.truth.positives)
        first, *others = ((each.model.label, each.best_right[known]) for each in self.reports)
        return tuple(uncertainty.compare(first, other) for other in others)

    @cached_property
    def wrong_counts(self) -> metrics.IntArray:
        """Return how many models have no right place first, ``(Q,)``; answerable or not."""
        return np.asarray(np.sum([~each.best_right for each in self.reports], axis=0), np.int64)

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
                     'decision': other['decision'], 'outcome': other['outcome'],
                     'match': other['match']})
        return {
            'format': FORMAT, 'version': VERSION, **entries[0],
            'models': [
                {key: value for key, value in entry.items() if key not in _SHARED}
                for entry in entries],
            'comparisons': [comparison.to_json() for comparison in self.comparisons],
            'per_query': queries}


def summarise(
    seen: Observation, truth: GroundTruth, model: EvaluatedModel, reference: ImageSource,
    query: ImageSource, *, command: str, trial: Trial | None = None
) -> Report:
    """
    Compute all numbers of one model.

    :param truth: of the recordings, in their own order and whole
    :param reference: what was mapped; it and ``query`` are described, not read
    :param command: command line that somebody needs to repeat it
    :param trial: how the recordings were walked; as they were recorded if it is None
    :raises GroundTruthError: if the ground truth has another number of queries
    """
    trial = trial or Trial()
    truth = truth.replayed(
        [each.index for each in seen.measurement.queries],
        trial.replay.left_out(truth.references), trial.replay.describe())
    rows, similarities = metrics.without_junk(
        seen.measurement.rows, seen.measurement.similarities, truth.junk)
    measurement = replace(seen.measurement, rows=rows, similarities=similarities)
    queries, positives = measurement.queries, truth.positives
    known, found = metrics.answerable(positives), rows[:, 0] >= 0
    right = metrics.hits(rows[:, :max(CUTOFFS)], positives)
    # Means over answerable queries are drawn from these; the area under the curve from all.
    intervals = uncertainty.bootstrap_means({
        **{f'recall@{n}': np.asarray(right[known, :n].any(axis=1), np.float64) for n in CUTOFFS},
        'map': metrics.average_precisions(rows, positives),
        'map_oxford': metrics.average_precisions(rows, positives, oxford=True)})
    intervals['auc_pr'] = uncertainty.bootstrap_area(similarities[:, 0], right[:, 0], known)
    return Report(
        measurement=measurement, truth=truth, model=model, observation=seen, trial=trial,
        recall=metrics.recall_at(rows, positives, CUTOFFS),
        recall_of_all=metrics.recall_of_all_at(rows, positives, CUTOFFS),
        precision_at=metrics.precision_at(rows, positives, CUTOFFS),
        mean_average_precision=metrics.mean_average_precision(rows, positives),
        oxford_map=metrics.mean_average_precision(rows, positives, oxford=True),
        intervals=intervals,
        recall_curve=metrics.recall_at(rows, positives, CURVE),
        curve=metrics.precision_recall_curve(
            similarities[found, 0], right[found, 0], truth.answerable),
        decision=summarise_decisions(measurement, trial.decision, positives, truth.junk),
        latency_ms=metrics.percentiles(latencies_ms(queries), LEVELS),
        inference_ms=metrics.percentiles(
            np.array([each.inference_ms for each in queries]), LEVELS),
        search_ms=metrics.percentiles(np.array([each.search_ms for each in queries]), LEVELS),
        setting={
            'reference': source_json(reference, measurement.reference_sha256),
            'query': source_json(query, measurement.query_sha256), 'command': command,
            'created': now(), 'versions': versions(), 'machine': machine()})


def replay_json(trial: Trial) -> dict[str, Any]:
    """Return how the recordings were walked; the description is '' where nothing was changed."""
    return {**asdict(trial.replay), 'odometry': trial.odometry,
            'description': trial.replay.describe()}


def source_json(source: ImageSource, digest: str) -> dict[str, Any]:
    """Return what a source is and a digest of its pixels."""
    return {
        'description': source.describe(), 'path': str(source.path), 'kind': source.kind,
        'images': len(source), 'pixels_sha256': digest}
