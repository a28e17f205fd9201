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

"""Measure models on two recordings, and write a report folder, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path
import tempfile

from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.uncertainty import RESAMPLES
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.measuring.content_cache import ContentCache
from vpr_compressed.offline.measuring.observation import EvaluatedModel
from vpr_compressed.offline.measuring.observation import Observation
from vpr_compressed.offline.measuring.observation import observe
from vpr_compressed.offline.measuring.observation import read_recordings
from vpr_compressed.offline.measuring.observation import Recordings
from vpr_compressed.offline.measuring.trial import Trial
from vpr_compressed.offline.reports import page
from vpr_compressed.offline.reports.evaluation import Evaluation
from vpr_compressed.offline.reports.evaluation import FORMAT
from vpr_compressed.offline.reports.evaluation import Report
from vpr_compressed.offline.reports.evaluation import summarise
from vpr_compressed.offline.reports.image_pairs import fetch
from vpr_compressed.offline.reports.image_pairs import Gallery
from vpr_compressed.sources import ImageSource
from vpr_compressed.system import terminal
from vpr_compressed.system.processes import MeasurementCancelledError

#: Folder of what was measured, inside that of the report unless the user names another.
CACHE_NAME = '.vpr_cache'
#: Pictures that a report may have; those of an earlier one are removed.
PICTURES = (
    'walk.png', 'precision_recall.png', 'reliability.png', 'first_match.png', 'revisits.png',
    'revisits_[0-9]*.png', 'recall.png', 'similarity.png', 'similarity_[0-9]*.png',
    'latency.png', 'costs.png', 'best_matches.png', 'worst_matches.png', 'wrong_accepts.png')


def check_folder(folder: Path) -> None:
    """
    Refuse a folder that must not be written into; called before the long work starts.

    A missing or empty folder is fine, and so is one with an earlier report, which is replaced.

    :raises VprError: anything else, or the folder cannot be made
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        names = {entry.name for entry in folder.iterdir()
                 if not entry.name.startswith(page.PART) and entry.name != CACHE_NAME}
    except OSError as error:
        raise VprError(
            f'cannot write a report into {folder}: {error.strerror}; choose another folder '
            'with --out') from error
    if names and not _is_report(folder / page.JSON_NAME):
        raise VprError(
            f'{folder} is not empty and holds no earlier report (e.g. {min(names)}); choose '
            'another folder with --out, nothing was changed')


def _is_report(path: Path) -> bool:
    """Return whether a file is the ``report.json`` of an earlier evaluation."""
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and values.get('format') == FORMAT


def evaluate(
    pair: Dataset, models: Sequence[EvaluatedModel], *, out: Path, cache: Path, command: str,
    trial: Trial | None = None, unknown: Sequence[ImageSource] = ()
) -> tuple[str, Path]:
    """
    Measure every model and write one report of all of them.

    :param out: folder of the report, see :func:`check_folder`
    :param cache: folder of what was measured
    :param command: command line, for the report
    :param trial: how the recordings are walked, and what the decision is set to
    :param unknown: recordings of places that are not in the map
    :returns: the numbers as text, and the page
    :raises KeyboardInterrupt: what was measured until then is kept
    :raises VprError: a model or an image cannot be used, or the disk is full
    """
    reference, query, trial = pair.reference, pair.query, trial or Trial()
    # What does not fit is said before the long work starts.
    trial.replay.left_out(len(reference))
    recordings = read_all(reference, query, *unknown)
    seen = observe_all(models, recordings, cache, trial)
    evaluation = Evaluation([
        summarise(one, pair.truth, model, reference, query, command=command, trial=trial)
        for model, one in zip(models, seen)])
    return headline(evaluation), write_report(evaluation, out, reference, query)


def read_all(*sources: ImageSource) -> Recordings:
    """Read recordings once, with a bar."""
    with terminal.progress(sum(map(len, sources)), 'reading') as bar:
        return read_recordings(
            *sources, progress=lambda done, _total: bar.update(done - bar.n))


def observe_all(
    models: Sequence[EvaluatedModel], recordings: Recordings, cache: Path, trial: Trial
) -> list[Observation]:
    """
    Run every model in a process of its own, one after the other, with one bar for all.

    :param cache: folder of what was measured
    :raises KeyboardInterrupt: also if it reached only a child; what was measured is kept
    :raises VprError: the text of a child
    """
    try:
        return _observe_all(models, recordings, ContentCache(cache), trial)
    except KeyboardInterrupt:
        terminal.say(f'what was measured is kept in {cache}; the same command goes on from there')
        raise


def _observe_all(
    models: Sequence[EvaluatedModel], recordings: Recordings, cache: ContentCache, trial: Trial
) -> list[Observation]:
    """Run every model, with one bar for all."""
    seen: list[Observation] = []
    with terminal.progress(len(models) * len(recordings), 'evaluating') as bar:
        for model in models:
            bar.set_description(f'evaluating {model.label}')
            start = bar.n

            def progress(done: int, _total: int, start: int = start) -> None:
                bar.update(start + done - bar.n)

            try:
                seen.append(observe(model, recordings, cache, progress, trial=trial))
            except MeasurementCancelledError as error:
                raise KeyboardInterrupt from error
            if seen[-1].cached:
                # As work done in no time it would make the remaining time too short.
                bar.total -= len(recordings)
                bar.refresh()
    return seen


def write_report(
    evaluation: Evaluation, folder: Path, reference: ImageSource, query: ImageSource
) -> Path:
    """
    Write the report; an earlier one is replaced only when the new one is complete.

    :param reference: read again for the images of the pairs, likewise ``query``
    :returns: path of ``report.html``
    :raises VprError: the folder holds other files, or the disk is full
    """
    # Matplotlib is slow to import; nobody needs it before.
    from vpr_compressed.offline.reports.evaluation_plots import draw

    check_folder(folder)
    gallery = fetch(evaluation, reference, query)
    plots = draw(evaluation, gallery)
    return page.write_report_files(
        folder, page.as_json(evaluation.to_json()), render(evaluation, plots, gallery), plots,
        PICTURES)


def render(evaluation: Evaluation, plots: Sequence[page.Plot], gallery: Gallery) -> str:
    """
    Return the page.

    :param plots: drawn into it as PNG, with their captions as text
    :param gallery: queries that several models are shown with
    """
    return page.render(
        'evaluation.html.j2', reports=evaluation.reports, comparisons=evaluation.comparisons,
        values=evaluation.first.to_json(), plots=plots, gallery=gallery, resamples=RESAMPLES,
        # The last row is too wide for a column, and said below.
        numbers=table_of(evaluation.reports)[:-1], max_rows=page.MAX_ROWS)


def headline(evaluation: Evaluation) -> str:
    """Return the numbers of all models as a table, and which differences are significant."""
    return page.headline(
        table_of(evaluation.reports), evaluation.reports,
        (each.sentence() for each in evaluation.comparisons))


def table_of(reports: Sequence[Report]) -> list[tuple[str, list[str]]]:
    """
    Return the numbers of all models: what it is with its unit, then one text per model.

    Rows that say nothing on these recordings are left out.
    """
    return page.side_by_side(
        'numbers.txt.j2', reports, first=reports[0], several=len(reports) > 1)
