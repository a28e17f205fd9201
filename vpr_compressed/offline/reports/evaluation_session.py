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

"""Measure models on two recordings or a data set, and write the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.measuring.content_cache import ContentCache
from vpr_compressed.offline.measuring.models import EvaluatedModel
from vpr_compressed.offline.measuring.observation import Observation
from vpr_compressed.offline.measuring.observation import observe
from vpr_compressed.offline.measuring.observation import read_recordings
from vpr_compressed.offline.measuring.observation import Recordings
from vpr_compressed.offline.reports.evaluation import Evaluation
from vpr_compressed.offline.reports.evaluation import summarise
from vpr_compressed.offline.reports.evaluation_report import table_of
from vpr_compressed.offline.reports.evaluation_report import write_report
from vpr_compressed.system import terminal
from vpr_compressed.system.processes import MeasurementCancelledError


def evaluate(
    pair: Dataset, models: Sequence[EvaluatedModel], *, out: Path, cache: Path, command: str
) -> tuple[str, Path]:
    """
    Measure every model and write one report of all of them.

    :param out: folder of the report, see :func:`.evaluation_report.check_folder`
    :param cache: folder of what was measured
    :param command: command line, for the report
    :returns: the numbers as text, and the page
    :raises KeyboardInterrupt: what was measured until then is kept
    :raises VprError: a model or an image cannot be used, or the disk is full
    """
    reference, query = pair.reference, pair.query
    kept = ContentCache(cache)
    with terminal.progress(len(reference) + len(query), 'reading') as bar:
        recordings = read_recordings(
            reference, query, lambda done, _total: bar.update(done - bar.n))
    try:
        seen = observe_all(models, recordings, kept)
    except KeyboardInterrupt:
        terminal.say(f'what was measured is kept in {cache}; the same command goes on from there')
        raise
    evaluation = Evaluation([
        summarise(one, pair.truth, model, reference, query, command=command)
        for model, one in zip(models, seen)])
    return headline(evaluation), write_report(evaluation, out, reference, query)


def observe_all(
    models: Sequence[EvaluatedModel], recordings: Recordings, cache: ContentCache
) -> list[Observation]:
    """
    Run every model in a process of its own, one after the other, with one bar for all.

    :raises KeyboardInterrupt: also if it reached only a child
    :raises VprError: the text of a child
    """
    seen: list[Observation] = []
    with terminal.progress(len(models) * len(recordings), 'evaluating') as bar:
        for model in models:
            bar.set_description(f'evaluating {model.label}')
            start = bar.n

            def progress(done: int, _total: int, start: int = start) -> None:
                bar.update(start + done - bar.n)

            try:
                seen.append(observe(model, recordings, cache, progress))
            except MeasurementCancelledError as error:
                raise KeyboardInterrupt from error
            if seen[-1].cached:
                # As work done in no time it would make the remaining time too short.
                bar.total -= len(recordings)
                bar.refresh()
    return seen


def headline(evaluation: Evaluation) -> str:
    """Return the numbers of all models as a table, and which differences are significant."""
    labels = [report.model.label for report in evaluation.reports]
    rows = table_of(evaluation.reports)
    if len(labels) > 1:
        rows = [('', labels), *rows]
    name_width = max(len(name) for name, _ in rows)
    widths = [max(len(values[column]) for _, values in rows) for column in range(len(labels))]
    lines = [
        f'{name:<{name_width}}' + ''.join(
            f'  {value:>{width}}' for value, width in zip(values, widths))
        for name, values in rows]
    return '\n'.join([*lines, *(each.sentence() for each in evaluation.comparisons)])
