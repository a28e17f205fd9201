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

"""The decision over a walk in a report: its figures as plain data, and a warning in words."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
import math
from typing import Any

import numpy as np

from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.offline.accuracy import decisions
from vpr_compressed.offline.accuracy import metrics
from vpr_compressed.offline.accuracy.decisions import DecisionScores
from vpr_compressed.offline.accuracy.decisions import FirstMatch
from vpr_compressed.offline.accuracy.decisions import FirstMatches
from vpr_compressed.offline.accuracy.decisions import UnknownScores
from vpr_compressed.offline.accuracy.uncertainty import Interval
from vpr_compressed.offline.measuring.recognition_run import QueryResult
from vpr_compressed.offline.measuring.recognition_run import RecognitionRun
from vpr_compressed.offline.measuring.two_recordings import START_LIMIT
from vpr_compressed.records import Status

#: From this recall@1 on, few accepted matches are worth a warning; few are this share at most.
_GOOD_RECALL, _FEW = 0.8, 0.05


@dataclass(frozen=True, kw_only=True)
class DecisionSummary:
    """
    All that a report says of the decision.

    :param config: what it was set to
    :param scores: over the walk
    :param first: cold starts
    :param unknown: walks at places that are not in the map
    :param thresholds: confidence that a match needs, by the name of its curve
    :param promises: confidence that other precisions would need, by curve and precision in digits
    """

    config: DecisionConfig
    scores: DecisionScores
    first: FirstMatches
    unknown: tuple[UnknownScores, ...]
    thresholds: Mapping[str, float]
    promises: Mapping[str, Mapping[str, float]]

    def warning(self, recall_at_1: float, answerable: int) -> str | None:
        """
        Return a warning where places are found and the robot is told of none; None elsewhere.

        :param recall_at_1: of single images
        :param answerable: images whose place is in the map
        """
        scores, queries = self.scores, len(self.scores.outcomes)
        best = max(recall_at_1, scores.filtered_recall or 0.0)
        if best < _GOOD_RECALL or scores.accepted.accepted > _FEW * answerable:
            return None
        number = scores.accepted.accepted or 'none'
        withheld = [(status, count) for status, count in scores.statuses.items()
                    if status is not Status.ACCEPTED]
        reason = f' Most often ({withheld[0][1]} images): {withheld[0][0].words}.' if (
            withheld) else ''
        return (
            f'the right place is first for {best:.1%} of the queries, but {number} of {queries} '
            f'are accepted: a robot is told next to nothing.{reason} Fit the calibration to the '
            'site (vpr_compressed calibrate), lower --min-precision (now '
            f'{self.config.min_precision:g}), or look at the reasons of single queries.')

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        scores = self.scores
        return {
            **asdict(self.config), 'thresholds': dict(self.thresholds),
            'promises': {name: dict(each) for name, each in self.promises.items()},
            'filtered_recall': scores.filtered_recall,
            'accepted': asdict(scores.accepted),
            'intervals': {
                'kind': 'Wilson', 'precision': _ends(scores.precision_interval),
                'recall': _ends(scores.recall_interval)},
            'auc_pr': scores.curve.area, 'statuses': _in_words(scores.statuses),
            'calibration_error': scores.reliability.error,
            'reliability': [asdict(each) for each in scores.reliability.bins],
            'first_match': {
                'median': self.first.median, 'limit': self.first.limit,
                'starts': [asdict(each) for each in self.first.starts]},
            'unknown': [
                {'source': each.source, 'images': each.images, 'accepted': each.accepted,
                 'share': each.share, 'interval': _ends(each.interval),
                 'statuses': _in_words(each.statuses)} for each in self.unknown],
            'pr_curve': curve_json(scores.curve)}


def summarise_decisions(
    run: RecognitionRun, config: DecisionConfig, positives: metrics.Positives,
    junk: metrics.Positives = ()
) -> DecisionSummary:
    """
    Judge the decisions of a run.

    :param positives: right rows of each image as it was shown, length Q
    :param junk: rows that are neither right nor wrong, length Q or empty
    """
    starts = tuple(
        FirstMatch(
            start=each.start, images=each.images, answerable=bool(positives[each.start]),
            right=None if each.images is None or each.match_row is None else (
                each.match_row in positives[each.start + each.images - 1]))
        for each in run.cold_starts)
    return DecisionSummary(
        config=config,
        scores=decisions.score(
            [query.decided_row for query in run.queries],
            [query.confidence for query in run.queries],
            [query.status for query in run.queries], positives, junk),
        first=FirstMatches(starts=starts, limit=START_LIMIT),
        unknown=tuple(
            decisions.unknown_scores(walk.source, [query.status for query in walk.queries])
            for walk in run.unknown),
        thresholds=run.thresholds, promises=run.promises)


def decision_json(query: QueryResult) -> dict[str, Any]:
    """Return what was believed after one image; evidence that is no number is None."""
    return {
        'status': query.status, 'words': query.words, 'reference': query.decided_row,
        'similarity': query.decided_similarity, 'confidence': round(query.confidence, 6),
        'reason': query.reason,
        'evidence': {name: round(value, 6) if math.isfinite(value) else None
                     for name, value in query.evidence.items()}}


def curve_json(curve: metrics.PrecisionRecallCurve) -> dict[str, list[float]]:
    """Return a curve as lists."""
    return {name: np.round(values, 6).tolist() for name, values in (
        ('threshold', curve.thresholds), ('precision', curve.precision),
        ('recall', curve.recall))}


def _ends(interval: Interval | None) -> Sequence[float] | None:
    """Return both ends of an interval."""
    return None if interval is None else [interval.low, interval.high]


def _in_words(statuses: Mapping[Status, int]) -> dict[str, int]:
    """Return counts under the words of their status."""
    return {status.words: count for status, count in statuses.items()}
