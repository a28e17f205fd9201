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

"""The report of a compression as one HTML page, in the style of the other reports."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from html import escape
import json
from typing import Any

from vpr_compressed.offline.accuracy.acceptance import Verdict
from vpr_compressed.offline.reports.compression_rows import ReportContext
from vpr_compressed.offline.reports.compression_rows import size_sentence
from vpr_compressed.offline.reports.compression_rows import StepRow
from vpr_compressed.offline.reports.figures import Plot
from vpr_compressed.offline.reports.page import card
from vpr_compressed.offline.reports.page import document
from vpr_compressed.offline.reports.page import environment
from vpr_compressed.offline.reports.page import figure
from vpr_compressed.offline.reports.page import size_text
from vpr_compressed.offline.reports.page import table

_UNKNOWN = '-'


def render(
    rows: Sequence[StepRow], verdict: Verdict | None, context: ReportContext,
    values: Mapping[str, Any], plots: Iterable[Plot]
) -> str:
    """
    Return the whole page.

    :param rows: at least one, the parent first
    :param values: content of ``report.json``
    :param plots: drawn into the page as PNG, with their captions as text
    """
    figures = ''.join(map(figure, plots))
    cards = ''.join(card(*entry) for entry in _cards(rows))
    labelled = any(row.scores for row in rows)
    accuracy = f'<h2>Accuracy on every set</h2>{_accuracy(rows)}' if labelled else ''
    agreement = (f'<h2>Agreement with the parent</h2>{_agreement(rows)}'
                 if any(row.agreement for row in rows) else '')
    return document(f'{context.title}: {rows[-1].ratio:.1f} times smaller', f"""
<h1>Compression report: {escape(context.title)}</h1>
<p class="soft">{escape(context.data)}</p>
{_verdict(rows, verdict, context)}
<div class="cards">{cards}</div>
<h2>Steps</h2>{_steps(rows)}
<h2>Pictures</h2><div class="plots">{figures}</div>
{accuracy}{agreement}
<h2>Layers after the last step</h2>{_layers(rows[-1])}
<h2>How it was made</h2><pre>{escape(context.command)}</pre>
<div class="scroll space">{table(_setting(values, context))}</div>""")


def _verdict(
    rows: Sequence[StepRow], verdict: Verdict | None, context: ReportContext
) -> str:
    """Return what was decided and why, misses first."""
    reached, size = size_sentence(rows, context)
    missed = [] if verdict is None else list(verdict.reasons)
    kept = [] if verdict is None else list(verdict.kept)
    (kept if reached else missed).append(size)
    if verdict is None:
        head = '<p class="soft"><b>Not judged yet: the recipe is still running.</b></p>'
    elif not verdict.accepted:
        head = '<p class="wrong">Not accepted; no model was written.</p>'
    elif not reached:
        head = '<p class="wrong">Accepted, but larger than it was meant to be.</p>'
    else:
        head = '<p class="right"><b>Accepted.</b></p>'
    items = ''.join(f'<li class="wrong">{escape(text)}</li>' for text in missed)
    items += ''.join(f'<li>{escape(text)}</li>' for text in kept)
    items += ''.join(f'<li>Note: {escape(text)}</li>' for text in context.warnings)
    return f'{head}<ul>{items}</ul>'


def _cards(rows: Sequence[StepRow]) -> list[tuple[str, str]]:
    """Return the headline as (value, meaning)."""
    first, last = rows[0], rows[-1]
    cards = [
        (f'{last.ratio:.1f}x', 'smaller than the original float weights'),
        (size_text(last.file_bytes), 'model file'),
        (f'{last.latency_p50_ms:.1f} ms',
         f'per image, median (parent {first.latency_p50_ms:.1f})'),
        (size_text(last.resident_bytes),
         f'memory of model and engine (parent {size_text(first.resident_bytes)})'),
        (f'{last.zeros:.0f} %', f'zeros, {last.bits:.1f} bits per weight')]
    for value, before, name in (
            (last.recall, first.recall, 'recall@1'),
            (last.mean_average_precision, first.mean_average_precision, 'mAP')):
        if value is not None and before is not None:
            cards.append((f'{100 * (value - before):+.2f}', (
                f'points of {name} against the parent, now {value:.1%}')))
    if last.agreement is not None:
        cards.append((f'{last.agreement.top1:.1%}', 'of the answers are those of the parent'))
    return cards


def _steps(rows: Sequence[StepRow]) -> str:
    """Return the table of all steps."""
    head = ('', 'step', 'what it did', 'parameters', 'million multiply-adds', 'zeros', 'bits',
            'file', 'bytes', 'over entropy', 'smaller', 'recall@1', 'mAP', 'precision@30',
            'same answer', 'cosine', 'ms p50', 'ms p95', 'memory', 'process', 'load', 'took')
    return _wide(head, [_step(number, row) for number, row in enumerate(rows)], text=(1, 2)) + (
        '<p class="soft space">Step 0 is the parent. Zeros and bits are means over all weights; '
        'bits count before entropy coding, "over entropy" is what the file has beyond its values '
        'at their entropy. Accuracy is the mean over the sets. Times are per image on the '
        'computer below, while it may have been busy; memory is what loading and running the '
        'model adds, process that of a whole process without training.</p>')


def _step(number: int, row: StepRow) -> tuple[str, ...]:
    """Return the cells of one step."""
    precision = [item.precision[30] for item in row.scores.values() if 30 in item.precision]
    bound = row.entropy_bound_bytes
    over = 100 * (row.file_bytes / bound - 1) if bound else None
    return (
        str(number), row.step, row.options, f'{row.parameters:,}',
        f'{row.multiply_adds / 1e6:,.0f}', f'{row.zeros:.1f} %', f'{row.bits:.1f}',
        size_text(row.file_bytes), f'{row.file_bytes:,}', _number(over, '{:+.1f} %'),
        f'{row.ratio:.1f}x', _number(row.recall, '{:.4f}'),
        _number(row.mean_average_precision, '{:.4f}'),
        _number(sum(precision) / len(precision) if precision else None, '{:.4f}'),
        _number(None if row.agreement is None else row.agreement.top1, '{:.4f}'),
        _number(row.cosine, '{:.4f}'), f'{row.latency_p50_ms:.1f}', f'{row.latency_p95_ms:.1f}',
        size_text(row.resident_bytes), size_text(row.process_bytes), f'{row.load_s:.2f} s',
        duration(row.seconds))


def _accuracy(rows: Sequence[StepRow]) -> str:
    """Return the table of all scores of all sets."""
    names = list(dict.fromkeys(name for row in rows for name in row.scores))
    first = next(item for row in rows for item in row.scores.values())
    head = ('', 'step', 'set', 'queries', *(f'recall@{n}' for n in first.recall),
            *(f'precision@{n}' for n in first.precision), 'mAP')
    lines = []
    for name in names:
        for number, row in enumerate(rows):
            if name in row.scores:
                item = row.scores[name]
                lines.append((
                    str(number), row.step, name, str(item.answerable),
                    *(f'{item.recall[n]:.4f}' for n in first.recall),
                    *(f'{item.precision[n]:.4f}' for n in first.precision),
                    f'{item.mean_average_precision:.4f}'))
    return _wide(head, lines, text=(1, 2))


def _agreement(rows: Sequence[StepRow]) -> str:
    """Return the table of the agreement without labels."""
    head = ('', 'step', 'mean cosine', '5th percentile', 'lowest', 'images', 'same answer',
            'same neighbours', 'same answer in the reference', 'same neighbours in it')
    lines = []
    for number, row in enumerate(rows):
        found = row.agreement
        if found is None:
            continue
        other = found.against
        lines.append((
            str(number), row.step, _number(found.mean_cosine, '{:.4f}'),
            _number(found.low_cosine, '{:.4f}'), _number(found.lowest_cosine, '{:.4f}'),
            str(found.within.queries), f'{found.within.top1:.4f}',
            f'{found.within.neighbours:.4f}',
            _number(None if other is None else other.top1, '{:.4f}'),
            _number(None if other is None else other.neighbours, '{:.4f}')))
    return _wide(head, lines, text=(1,))


def _layers(row: StepRow) -> str:
    """Return the foldable table of all tensors."""
    head = ('tensor', 'shape', 'zeros', 'distinct values', 'bits', 'bytes', 'at entropy')
    lines = [(tensor.name, ' x '.join(map(str, tensor.shape)), f'{tensor.zeros:.1f} %',
              f'{tensor.levels:,}' if tensor.levels else 'floats', f'{tensor.bits:g}',
              f'{tensor.file_bytes:,}', f'{tensor.bound_bytes:,.0f}') for tensor in row.tensors]
    return (f'<details><summary>All {len(lines)} tensors of the file</summary>'
            f'{_wide(head, lines, text=(0,))}</details>')


def _setting(values: Mapping[str, Any], context: ReportContext) -> list[tuple[str, str]]:
    """Return what is needed to repeat the compression."""
    entries = [('made', str(values['created']))]
    for name, file in (('parent', values['parent']), ('model', values['model'])):
        if file is None:
            entries.append((name, 'none written' if name == 'model' else 'not given'))
        else:
            entries += [(name, f'{file["path"]}, {file["bytes"]:,} bytes'),
                        (f'{name} file', f'SHA-256 {file["sha256"]}')]
    entries += [(name, value if isinstance(value, str) else json.dumps(value))
                for name, value in context.settings.items()]
    return entries + environment(values)


def _wide(
    head: Sequence[str], lines: Sequence[Sequence[str]], *, text: Sequence[int]
) -> str:
    """
    Return a table that scrolls sideways on a phone.

    :param text: columns that hold words; the others are numbers
    """
    styles = ['' if column in text else ' class="num"' for column in range(len(head))]
    body = ''.join(
        '<tr>' + ''.join(f'<td{style}>{escape(cell)}</td>' for style, cell in zip(styles, line))
        + '</tr>' for line in lines)
    top = ''.join(f'<th{style}>{escape(cell)}</th>' for style, cell in zip(styles, head))
    return f'<div class="scroll"><table class="wide"><tr>{top}</tr>{body}</table></div>'


def _number(value: float | None, layout: str) -> str:
    """Return a number, or a dash where there is none."""
    return _UNKNOWN if value is None else layout.format(value)


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 90 else f'{minutes // 60} h {minutes % 60:02d} min'
