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

"""Write a report folder: ``report.json``, ``report.html`` and the plots, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import json
from pathlib import Path
import re
import shutil
import tempfile

from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.uncertainty import RESAMPLES
from vpr_compressed.offline.reports import page
from vpr_compressed.offline.reports.evaluation import Evaluation
from vpr_compressed.offline.reports.evaluation import FORMAT
from vpr_compressed.offline.reports.evaluation import table_of
from vpr_compressed.offline.reports.image_pairs import fetch
from vpr_compressed.offline.reports.image_pairs import Gallery
from vpr_compressed.offline.reports.model_report import Report
from vpr_compressed.sources import ImageSource

JSON_NAME = 'report.json'
HTML_NAME = 'report.html'
#: Prefix of the folder in which a report grows; a killed process may leave one behind.
PART = '.part-'
#: Folder of what was measured, inside that of the report unless the user names another.
CACHE_NAME = '.vpr_cache'
#: Rows of the table of queries; the rest is in report.json.
MAX_ROWS = 500
#: Pictures that a report may have; those of an earlier one are removed.
_PICTURES = re.compile(
    r'(recall|precision_recall|similarity(_\d+)?|latency|costs|(best|worst)_matches)\.png')


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
                 if not entry.name.startswith(PART) and entry.name != CACHE_NAME}
    except OSError as error:
        raise VprError(
            f'cannot write a report into {folder}: {error.strerror}; choose another folder '
            'with --out') from error
    if names and not _is_report(folder / JSON_NAME):
        raise VprError(
            f'{folder} is not empty and holds no earlier report (e.g. {min(names)}); choose '
            'another folder with --out, nothing was changed')


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
    content = {plot.name: plot.png(caption=True) for plot in plots}
    content[HTML_NAME] = render(evaluation, plots, gallery).encode()
    # Last, because it marks the folder as a report.
    text = json.dumps(evaluation.to_json(), indent=1, allow_nan=False)
    content[JSON_NAME] = f'{text}\n'.encode()
    write_files(folder, content)
    for entry in folder.iterdir():
        if _PICTURES.fullmatch(entry.name) and entry.name not in content:
            entry.unlink(missing_ok=True)
    return folder / HTML_NAME


def render(evaluation: Evaluation, plots: Sequence[page.Plot], gallery: Gallery) -> str:
    """
    Return the page.

    :param plots: drawn into it as PNG, with their captions as text
    :param gallery: queries that several models are shown with
    """
    return page.render(
        'evaluation.html.j2', reports=evaluation.reports, comparisons=evaluation.comparisons,
        values=evaluation.to_json(), plots=plots, gallery=gallery, resamples=RESAMPLES,
        # The last row is too wide for a column, and said below.
        numbers=table_of(evaluation.reports)[:-1], found=_found, max_rows=MAX_ROWS,
        differences=[(
            f'{each.second} minus {each.first}', f'{100 * each.difference:+.1f}',
            f'{100 * each.interval.low:+.1f} to {100 * each.interval.high:+.1f}',
            each.only_first, each.only_second, f'{each.p_value:.3g}')
            for each in evaluation.comparisons])


def _found(report: Report, number: int) -> list[tuple[str, str]]:
    """Return what one model found for a query, and what it accepted, each with its CSS class."""
    query, row = report.measurement.queries[number], int(report.best_rows[number])
    verdict = 'right' if report.best_right[number] else 'wrong'
    best = ('soft', 'none') if row < 0 else (
        verdict, f'{row} {verdict}, {report.best_similarities[number]:.3f}')
    if query.match_row is None:
        return [best, ('soft', 'withheld')]
    place = f'accepted place {query.match_row}'
    if report.truth.junk and query.match_row in report.truth.junk[number]:
        return [best, ('soft', f'{place}, junk')]
    verdict = 'right' if query.match_row in report.truth.positives[number] else 'wrong'
    return [best, (verdict, f'{place}, {verdict}, confidence {query.confidence:.2f}')]


def write_files(folder: Path, content: Mapping[str, bytes]) -> None:
    """
    Write files into a folder; earlier ones are replaced only when all new ones are complete.

    :param content: file name -> bytes, in the order in which they appear
    :raises VprError: if the disk is full
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=PART) as part:
            for name, data in content.items():
                (Path(part) / name).write_bytes(data)
            for name in content:
                shutil.move(Path(part) / name, folder / name)
    except OSError as error:
        raise VprError(f'cannot write the report into {folder}: {error.strerror}') from error


def _is_report(path: Path) -> bool:
    """Return whether a file is the ``report.json`` of an earlier evaluation."""
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and values.get('format') == FORMAT
