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

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.acceptance import Verdict
from vpr_compressed.offline.reports import page
from vpr_compressed.offline.reports.compression_rows import ReportContext
from vpr_compressed.offline.reports.compression_rows import size_sentence
from vpr_compressed.offline.reports.compression_rows import StepRow
from vpr_compressed.system.machine import machine
from vpr_compressed.system.machine import now
from vpr_compressed.system.machine import sha256_of
from vpr_compressed.system.machine import versions

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
    size = size_sentence(rows, context)
    values = {
        'format': FORMAT, 'version': VERSION, 'title': context.title,
        'command': context.command, 'created': now(), 'versions': versions(),
        'machine': machine(), 'data': context.data, 'settings': dict(context.settings),
        'parent': _file(context.parent), 'model': _file(context.model),
        'target_ratio': context.target_ratio,
        'target_reached': None if context.target_ratio is None else size[0],
        'verdict': verdict and asdict(verdict), 'warnings': context.warnings,
        'rows': [row.to_json() for row in rows],
        'sensitivity': {
            'level': context.level_label, 'score': context.score_label,
            'rows': [asdict(row) for row in context.sensitivity]}}
    text, plots = page.as_json(values), draw(rows, context)
    html = page.render('compression.html.j2', rows=rows, verdict=verdict, context=context,
                       values=values, plots=plots, size=size)
    return page.write_report_files(out, text, html, plots, NAMES)


def _file(path: Path | None) -> dict[str, Any] | None:
    """Return path, size and digest of a model file."""
    if path is None:
        return None
    try:
        return {'path': str(path), 'bytes': path.stat().st_size, 'sha256': sha256_of(path)}
    except OSError as error:
        raise VprError(
            f'the report cannot read the model {path}: {error.strerror}') from error
