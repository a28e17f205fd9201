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

"""What was decided over a walk, as its pictures need it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.accuracy.metrics import PrecisionRecallCurve
from vpr_compressed.offline.measuring.recognition_run import QueryResult
from vpr_compressed.offline.reports.decision_plots import DecisionLine
from vpr_compressed.offline.reports.decision_plots import first_match_plot
from vpr_compressed.offline.reports.decision_plots import precision_recall_plot
from vpr_compressed.offline.reports.decision_plots import reliability_plot
from vpr_compressed.offline.reports.decision_summary import DecisionSummary
from vpr_compressed.offline.reports.page import Plot
from vpr_compressed.offline.reports.walk_plots import revisit_plot
from vpr_compressed.offline.reports.walk_plots import Revisits
from vpr_compressed.offline.reports.walk_plots import Strip
from vpr_compressed.offline.reports.walk_plots import walk_plot
from vpr_compressed.records import Status


@dataclass(frozen=True, kw_only=True)
class DecidedWalk:
    """
    One model on a walk.

    :param queries: the images as they were shown, length Q
    :param image: accepting the most similar place of single images; None where it is not compared
    """

    label: str
    queries: Sequence[QueryResult]
    truth: GroundTruth
    decision: DecisionSummary
    image: PrecisionRecallCurve | None = None

    @property
    def mapped(self) -> NDArray[np.bool_]:
        """Return whether the place of an image is in the map, bool ``(Q,)``."""
        return np.array([bool(rows) for rows in self.truth.positives], np.bool_)

    @property
    def verdicts(self) -> list[str | None]:
        """Return what the accepted match of each image is: right, wrong or junk; None without."""
        return [outcome.verdict for outcome in self.decision.scores.outcomes]

    @property
    def curve(self) -> str:
        """Return the name of the curve that most of the decisions used, '' without any."""
        used = Counter(query.basis for query in self.queries if query.basis)
        return max(used, default='', key=used.__getitem__)

    @property
    def strip(self) -> Strip:
        """Return what became of every image."""
        return Strip(
            label=self.label,
            kinds=[verdict or Status(query.status).name.lower()
                   for verdict, query in zip(self.verdicts, self.queries)],
            confidences=np.array([query.confidence for query in self.queries], np.float64),
            threshold=self.decision.thresholds.get(self.curve))

    @property
    def line(self) -> DecisionLine:
        """Return its precision and recall."""
        scores, promises = self.decision.scores, self.decision.promises.get(self.curve, {})
        return DecisionLine(
            label=self.label, decision=scores.curve, image=self.image, accepted=scores.accepted,
            precision_interval=scores.precision_interval, recall_interval=scores.recall_interval,
            thresholds={float(wanted): threshold for wanted, threshold in promises.items()})


def draw_decisions(walks: Sequence[DecidedWalk]) -> list[Plot]:
    """
    Draw what the robot is told, image by image and in all.

    :param walks: of one model or several, the same images
    """
    first_matches = [(walk.label, walk.decision.first) for walk in walks]
    plots = [
        walk_plot([walk.strip for walk in walks], walks[0].mapped),
        precision_recall_plot([walk.line for walk in walks]),
        reliability_plot([(walk.label, walk.decision.scores.reliability) for walk in walks])]
    if any(found.counted for _, found in first_matches):
        plots.append(first_match_plot(first_matches))
    return plots


def draw_revisits(walks: Sequence[DecidedWalk], exclude_s: float) -> list[Plot]:
    """
    Draw what was recognised of a walk in its own past.

    :param walks: of one model or several; places are images in the order of the walk
    :param exclude_s: seconds before an image that were not searched
    """
    times_s = np.array([query.stamp_ns for query in walks[0].queries], np.int64) / 1e9
    several = len(walks) > 1
    closures = [
        revisit_plot(walk.label if several else '', Revisits(
            times_s=times_s - times_s[0], matches=[query.match_row for query in walk.queries],
            verdicts=walk.verdicts, truth=walk.truth.positives, exclude_s=exclude_s),
            name=f'revisits_{number}.png' if several else 'revisits.png')
        for number, walk in enumerate(walks, start=1)]
    return [*draw_decisions(walks), *closures]
