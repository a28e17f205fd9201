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

"""
The report of a compression: a measured row for every step, a verdict, a page and pictures.

The first row is the parent itself; every loss is counted against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
import json
from pathlib import Path
from typing import Any

from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.acceptance import Verdict
from vpr_compressed.offline.reports import page
from vpr_compressed.offline.reports.compression_rows import mean
from vpr_compressed.offline.reports.compression_rows import ReportContext
from vpr_compressed.offline.reports.compression_rows import size_sentence
from vpr_compressed.offline.reports.compression_rows import StepRow
from vpr_compressed.offline.reports.evaluation_report import HTML_NAME
from vpr_compressed.offline.reports.evaluation_report import JSON_NAME
from vpr_compressed.offline.reports.evaluation_report import write_files
from vpr_compressed.offline.reports.page import number
from vpr_compressed.offline.reports.page import Plot
from vpr_compressed.system.machine import machine
from vpr_compressed.system.machine import now
from vpr_compressed.system.machine import sha256_of
from vpr_compressed.system.machine import versions
from vpr_compressed.system.terminal import human_bytes

FORMAT = 'vpr_compressed compression report'
VERSION = 1


def write_report(
    out: Path, rows: Sequence[StepRow], verdict: Verdict | None, context: ReportContext
) -> Path:
    """
    Write ``report.json``, ``report.html`` and the pictures; other files in the folder stay.

    :param out: folder, made if missing; an earlier report in it is replaced
    :param rows: the parent first, then one per step
    :param verdict: None while the recipe still runs
    :returns: path of ``report.html``
    :raises VprError: no rows, a number that is not finite, or the folder cannot be written
    """
    # Imported here: matplotlib is only needed in the end.
    from vpr_compressed.offline.reports.compression_plots import draw
    from vpr_compressed.offline.reports.compression_plots import NAMES

    if not rows:
        raise VprError('a compression report needs the measured parent at least, got no rows')
    values = _content(rows, verdict, context)
    try:
        text = json.dumps(values, indent=1, allow_nan=False)
    except ValueError as error:
        raise VprError(
            'the report holds a number that is NaN or infinite; measure the step again') from error
    plots = draw(rows, context)
    content = {plot.name: plot.png(caption=True) for plot in plots}
    content[HTML_NAME] = render(rows, verdict, context, values, plots).encode()
    content[JSON_NAME] = f'{text}\n'.encode()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in NAMES - content.keys():
            (out / name).unlink(missing_ok=True)  # a picture of an earlier report
    except OSError as error:
        raise VprError(f'cannot write the report into {out}: {error.strerror}') from error
    write_files(out, content)
    return out / HTML_NAME


def render(
    rows: Sequence[StepRow], verdict: Verdict | None, context: ReportContext,
    values: Mapping[str, Any], plots: Sequence[Plot]
) -> str:
    """
    Return the page: what was decided and why, misses first, then the numbers.

    :param values: content of ``report.json``
    :param plots: drawn into the page as PNG, with their captions as text
    """
    reached, size = size_sentence(rows, context)
    missed, kept = ([], []) if verdict is None else (list(verdict.reasons), list(verdict.kept))
    (kept if reached else missed).append(size)
    scored = next((item for row in rows for item in row.scores.values()), None)
    return page.render(
        'compression.html.j2', rows=rows, verdict=verdict, context=context, values=values,
        plots=plots, reached=reached, missed=missed, kept=kept,
        steps=[_step(place, row) for place, row in enumerate(rows)],
        scores=list(_scores(rows)),
        score_names=[] if scored is None else [
            *(f'recall@{n}' for n in scored.recall), *(f'precision@{n}' for n in scored.precision),
            'mAP'],
        agreements=list(_agreements(rows)),
        layers=[(
            each.name, ' x '.join(map(str, each.shape)), f'{each.zeros:.1f} %',
            f'{each.levels:,}' if each.levels else 'floats', f'{each.bits:g}',
            f'{each.file_bytes:,}', f'{each.bound_bytes:,.0f}') for each in rows[-1].tensors],
        settings=[(name, value if isinstance(value, str) else json.dumps(value))
                  for name, value in context.settings.items()])


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 90 else f'{minutes // 60} h {minutes % 60:02d} min'


def _step(place: int, row: StepRow) -> tuple[str, ...]:
    """Return the cells of one step."""
    precision = [item.precision[30] for item in row.scores.values() if 30 in item.precision]
    bound, found = row.entropy_bound_bytes, row.agreement
    shares = (row.recall, row.mean_average_precision, mean(precision),
              None if found is None else found.top1, row.cosine)
    return (
        str(place), row.step, row.options, f'{row.parameters:,}',
        f'{row.multiply_adds / 1e6:,.0f}', f'{row.zeros:.1f} %', f'{row.bits:.1f}',
        human_bytes(row.file_bytes), f'{row.file_bytes:,}',
        number(100 * (row.file_bytes / bound - 1) if bound else None, '{:+.1f} %'),
        f'{row.ratio:.1f}x', *(number(share, '{:.4f}') for share in shares),
        f'{row.latency_p50_ms:.1f}', f'{row.latency_p95_ms:.1f}', human_bytes(row.resident_bytes),
        human_bytes(row.process_bytes), f'{row.load_s:.2f} s', duration(row.seconds))


def _scores(rows: Sequence[StepRow]) -> Iterator[tuple[str, ...]]:
    """Yield the cells of every score, set by set."""
    for name in dict.fromkeys(name for row in rows for name in row.scores):
        for place, row in enumerate(rows):
            if name in row.scores:
                item = row.scores[name]
                shares = (*item.recall.values(), *item.precision.values(),
                          item.mean_average_precision)
                yield (str(place), row.step, name, str(item.answerable),
                       *(f'{share:.4f}' for share in shares))


def _agreements(rows: Sequence[StepRow]) -> Iterator[tuple[str, ...]]:
    """Yield the cells of the agreement without labels."""
    for place, row in enumerate(rows):
        if row.agreement is not None:
            found, other = row.agreement, row.agreement.against
            cosines = (found.mean_cosine, found.low_cosine, found.lowest_cosine)
            shares = (found.within.top1, found.within.neighbours,
                      *((None, None) if other is None else (other.top1, other.neighbours)))
            yield (str(place), row.step, *(number(cosine, '{:.4f}') for cosine in cosines),
                   str(found.within.queries), *(number(share, '{:.4f}') for share in shares))


def _content(
    rows: Sequence[StepRow], verdict: Verdict | None, context: ReportContext
) -> dict[str, Any]:
    """Return the content of ``report.json``."""
    return {
        'format': FORMAT, 'version': VERSION, 'title': context.title,
        'command': context.command, 'created': now(),
        'versions': versions(), 'machine': machine(), 'data': context.data,
        'settings': dict(context.settings), 'parent': _file(context.parent),
        'model': _file(context.model), 'target_ratio': context.target_ratio,
        'target_reached': None if context.target_ratio is None else size_sentence(
            rows, context)[0],
        'verdict': None if verdict is None else asdict(verdict),
        'warnings': list(context.warnings), 'rows': [row.to_json() for row in rows],
        'sensitivity': {
            'level': context.level_label, 'score': context.score_label,
            'rows': [asdict(row) for row in context.sensitivity]}}


def _file(path: Path | None) -> dict[str, Any] | None:
    """Return path, size and digest of a model file."""
    if path is None:
        return None
    try:
        return {'path': str(path), 'bytes': path.stat().st_size, 'sha256': sha256_of(path)}
    except OSError as error:
        raise VprError(
            f'the report cannot read the model {path}: {error.strerror}') from error
