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

"""Recognise walks in their own past, as a robot that closes loops, and write a report folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpr_compressed.offline.accuracy import metrics
from vpr_compressed.offline.accuracy.decisions import Outcome
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.measuring.observation import EvaluatedModel
from vpr_compressed.offline.measuring.observation import Observation
from vpr_compressed.offline.measuring.recognition_run import latencies_ms
from vpr_compressed.offline.measuring.trial import Trial
from vpr_compressed.offline.reports import page
from vpr_compressed.offline.reports.decision_summary import decision_json
from vpr_compressed.offline.reports.decision_summary import DecisionSummary
from vpr_compressed.offline.reports.decision_summary import summarise_decisions
from vpr_compressed.offline.reports.evaluation import FORMAT
from vpr_compressed.offline.reports.evaluation import LEVELS
from vpr_compressed.offline.reports.evaluation import replay_json
from vpr_compressed.offline.reports.evaluation import source_json
from vpr_compressed.offline.reports.evaluation import VERSION
from vpr_compressed.offline.reports.evaluation_report import check_folder
from vpr_compressed.offline.reports.evaluation_report import observe_all
from vpr_compressed.offline.reports.evaluation_report import PICTURES
from vpr_compressed.offline.reports.evaluation_report import read_all
from vpr_compressed.records import Status
from vpr_compressed.sources import ImageSource
from vpr_compressed.system.machine import machine
from vpr_compressed.system.machine import now
from vpr_compressed.system.machine import versions

_NUMBERS = 'revisit_numbers.txt.j2'


@dataclass(frozen=True, kw_only=True)
class Revisit:
    """
    A stretch of the walk through places seen before: images in a row that have a right answer.

    :param start: its first image, by its number in the walk as it was shown
    :param images: how many there are
    :param delay_images: images until the first right closure, that one counted; None for none
    :param delay_s: seconds from the first image to it; None for none
    """

    start: int
    images: int
    delay_images: int | None
    delay_s: float | None


@dataclass(frozen=True, kw_only=True)
class RevisitReport:
    """
    One model on one recording, in its own past.

    :param truth: of the images as they were shown; rows count them too
    :param right_first: share of the revisiting images whose most similar place is right; None
        where nothing was visited again
    :param decision: closures are its accepted matches
    :param setting: what is needed to repeat it
    """

    model: EvaluatedModel
    observation: Observation
    trial: Trial
    truth: GroundTruth
    right_first: float | None
    decision: DecisionSummary
    revisits: tuple[Revisit, ...]
    latency_ms: dict[str, float]
    setting: dict[str, Any]

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Return what became of each image, for the strip of the walk."""
        return self.decision.scores.outcomes

    @property
    def found(self) -> tuple[Revisit, ...]:
        """Return the revisits with a right closure."""
        return tuple(each for each in self.revisits if each.delay_images is not None)

    @property
    def warning(self) -> str | None:
        """Return what a user must not overlook, None for nothing."""
        scores = self.decision.scores
        if scores.statuses.keys() == {Status.EMPTY_MAP}:
            return (
                'nothing was searched: the recording is not longer than the '
                f'{self.trial.recognizer.exclude_recent_s:g} s before an image that are left out '
                '(--exclude-recent-s), at the rate of a folder without stamps (--rate-hz)')
        if not scores.accepted.accepted and self.truth.answerable:
            return (
                f'no loop was closed, though {self.truth.answerable} images show a place that '
                'was seen before. Fit the calibration to the site (vpr_compressed calibrate), '
                f'lower --min-precision (now {self.decision.config.min_precision:g}), or look at '
                'the reasons of single images.')
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, without what happened to single images."""
        seen, model = self.observation, self.model
        accepted = self.decision.scores.accepted
        return {
            'label': model.label, 'images': len(seen.measurement.queries),
            'revisiting_images': self.truth.answerable, 'ground_truth': self.truth.description,
            'exclude_recent_s': self.trial.recognizer.exclude_recent_s,
            'closures': accepted.accepted, 'wrong_closures': accepted.accepted - accepted.correct,
            'recall_at_1': self.right_first, 'decision': self.decision.to_json(),
            'revisits': [asdict(each) for each in self.revisits], 'warning': self.warning,
            'latency_ms': self.latency_ms, 'measured': seen.measured, 'from_cache': seen.cached,
            'engine': model.engine, 'threads': model.threads,
            'model': {'name': model.name, 'path': str(model.path), 'sha256': model.sha256}}

    def per_image(self) -> list[dict[str, Any]]:
        """Return what happened to each image, as ``report.json`` has it."""
        return [
            {'index': query.index, 'name': query.name, 'stamp_ns': query.stamp_ns,
             'answerable': bool(rows), 'decision': decision_json(query), 'outcome': outcome.value}
            for query, rows, outcome in zip(
                self.observation.measurement.queries, self.truth.positives, self.outcomes)]


def evaluate_revisits(
    recording: ImageSource, truth: GroundTruth, models: Sequence[EvaluatedModel], *, out: Path,
    cache: Path, command: str, trial: Trial
) -> tuple[str, Path]:
    """
    Measure every model and write one report of all of them.

    :param truth: which images of the recording show the same place
    :param out: folder of the report, see :func:`.evaluation_report.check_folder`
    :param cache: folder of what was measured
    :param command: command line, for the report
    :returns: the numbers as text, and the page
    :raises KeyboardInterrupt: what was measured until then is kept
    :raises VprError: a model or an image cannot be used, or the disk is full
    """
    seen = observe_all(models, read_all(recording), cache, trial)
    reports = [
        summarise_revisits(one, truth, model, trial, recording, command=command)
        for model, one in zip(models, seen)]
    return headline(reports), write_report(reports, out)


def write_report(reports: Sequence[RevisitReport], out: Path) -> Path:
    """
    Write the report; an earlier one is replaced only when the new one is complete.

    :param reports: of at least one model, on one recording
    :returns: path of ``report.html``
    :raises VprError: the folder holds other files, or the disk is full
    """
    check_folder(out)
    values = to_json(reports)
    plots = draw(reports)
    html = page.render(
        'revisits.html.j2', reports=reports, values=values, plots=plots,
        numbers=page.side_by_side(_NUMBERS, reports), max_rows=page.MAX_ROWS)
    return page.write_report_files(out, page.as_json(values), html, plots, PICTURES)


def to_json(reports: Sequence[RevisitReport]) -> dict[str, Any]:
    """
    Return the content of ``report.json``.

    At the top everything of the first model; ``models`` has the numbers of all, and an entry of
    ``per_image`` has under ``others`` what the other models decided.
    """
    images = reports[0].per_image()
    for report in reports[1:]:
        for entry, other in zip(images, report.per_image()):
            entry.setdefault('others', []).append({
                'label': report.model.label, 'decision': other['decision'],
                'outcome': other['outcome']})
    return {
        'format': FORMAT, 'version': VERSION, 'kind': 'revisits', **reports[0].setting,
        **reports[0].to_json(), 'models': [report.to_json() for report in reports],
        'per_image': images}


def draw(reports: Sequence[RevisitReport]) -> list[page.Plot]:
    """Return all plots, in the order a reader wants them."""
    # Matplotlib is slow to import; nobody needs it before.
    from vpr_compressed.offline.reports.decision_views import DecidedWalk
    from vpr_compressed.offline.reports.decision_views import draw_revisits

    return draw_revisits([
        DecidedWalk(
            label=report.model.label, queries=report.observation.measurement.queries,
            truth=report.truth, decision=report.decision)
        for report in reports], reports[0].trial.recognizer.exclude_recent_s)


def summarise_revisits(
    seen: Observation, same: GroundTruth, model: EvaluatedModel, trial: Trial,
    recording: ImageSource, *, command: str
) -> RevisitReport:
    """
    Compute all numbers of one model.

    :param same: which images of the recording show the same place
    :param recording: is described, not read
    """
    run = seen.measurement
    stamps_ns = [query.stamp_ns for query in run.queries]
    truth = same.of_past([query.index for query in run.queries], stamps_ns,
                         round(trial.recognizer.exclude_recent_s * 1e9))
    decision = summarise_decisions(run, trial.decision, truth.positives)
    return RevisitReport(
        model=model, observation=seen, trial=trial, truth=truth, decision=decision,
        right_first=metrics.recall_at(run.rows, truth.positives, [1])[1] if (
            truth.answerable) else None,
        revisits=tuple(find_revisits(truth.positives, decision.scores.outcomes, stamps_ns)),
        latency_ms=metrics.percentiles(latencies_ms(run.queries), LEVELS),
        setting={
            'recording': source_json(recording, run.query_sha256), 'command': command,
            'created': now(), 'versions': versions(), 'machine': machine(),
            'replay': replay_json(trial)})


def find_revisits(
    positives: metrics.Positives, outcomes: Sequence[Outcome], stamps_ns: Sequence[int]
) -> list[Revisit]:
    """Return the stretches of images that have a right answer, with their first closure."""
    known = np.array([bool(rows) for rows in positives], np.bool_)
    edges = np.flatnonzero(np.diff(known, prepend=False, append=False)).tolist()
    found = []
    for start, end in zip(edges[::2], edges[1::2]):
        first = next((number for number in range(start, end)
                      if outcomes[number] is Outcome.RIGHT), None)
        found.append(Revisit(
            start=start, images=end - start,
            delay_images=None if first is None else first - start + 1,
            delay_s=None if first is None else (stamps_ns[first] - stamps_ns[start]) / 1e9))
    return found


def headline(reports: Sequence[RevisitReport]) -> str:
    """Return the numbers of all models as a table, and what must not be overlooked."""
    return page.headline(page.side_by_side(_NUMBERS, reports), reports)
