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

"""The report as one HTML page: no network, no script, readable on a phone and on paper."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from vpr_compressed.offline.accuracy.uncertainty import RESAMPLES
from vpr_compressed.offline.reports.comparison import origin
from vpr_compressed.offline.reports.figures import Plot
from vpr_compressed.offline.reports.page import card
from vpr_compressed.offline.reports.page import definitions
from vpr_compressed.offline.reports.page import document
from vpr_compressed.offline.reports.page import environment
from vpr_compressed.offline.reports.page import figure
from vpr_compressed.offline.reports.page import size_text
from vpr_compressed.offline.reports.page import table
from vpr_compressed.offline.reports.summary import Report

#: Rows of the table of queries; the rest is in report.json.
MAX_ROWS = 500


def render(report: Report, plots: Iterable[Plot]) -> str:
    """
    Return the whole page.

    :param plots: drawn into the page as PNG, with their captions as text
    """
    values = report.to_json()
    measured = report.measurement
    title = f'{values["model"]["name"] or "model"}: recall@1 {report.recall[1]:.1%}'
    figures = ''.join(map(figure, plots))
    return document(title, f"""<h1>Place recognition report</h1>
<p class="soft">{len(measured.queries)} queries against {len(measured.reference_names)} places;
right means: {escape(report.truth.description)}.</p>
<div class="cards">{''.join(card(*entry) for entry in _cards(report))}</div>
<h2>Pictures</h2><div class="plots">{figures}</div>
<h2>Numbers</h2><div class="scroll">{table(_numbers(report))}</div>
<p class="soft space">Intervals: percentile bootstrap over queries, {RESAMPLES:,} resamples; frames
of one walk resemble their neighbours, so they are rather too narrow.</p>
{definitions()}
<h2>How it was made</h2><pre>{escape(values["command"])}</pre>
<div class="scroll space">{table(_setting(values))}</div>
<h2>Queries</h2>{_queries(report.per_query())}""")


def _cards(report: Report) -> list[tuple[str, str]]:
    """Return the headline as (value, meaning)."""
    accepted = report.accepted
    precision = 'none' if accepted.precision is None else f'{accepted.precision:.1%}'
    return [
        (f'{report.recall[1]:.1%}', 'recall@1'),
        (f'{report.recall[5]:.1%}', 'recall@5'),
        (precision, f'of {accepted.accepted} accepted matches are right'),
        (f'{report.curve.max_recall_at_full_precision:.1%}', 'recall without one error'),
        (f'{report.latency_ms["p50"]:.1f} ms', 'from image to answer, median'),
        (size_text(report.model_bytes), f'model file ({report.setting["precision"]})'),
        (size_text(report.model_resident_bytes), 'memory of model and engine'),
        (f'{report.measurement.bytes_per_place:.0f} B', 'per place of the map'),
    ]


def _numbers(report: Report) -> list[tuple[str, str]]:
    """Return every measured number with its unit."""
    accepted = report.accepted
    share = '' if accepted.precision is None else f', precision {accepted.precision:.4f}'
    times = [
        (name, ', '.join(f'{level} {value:.2f} ms' for level, value in values.items()))
        for name, values in (
            ('image to answer', report.latency_ms), ('network alone', report.inference_ms),
            ('search and agreement', report.search_ms))]
    return [
        ('queries with a right answer', f'{report.truth.answerable} of '
         f'{len(report.measurement.queries)}'),
        *((f'recall@{n}', f'{value:.4f}{_sure(report, f"recall@{n}")}')
          for n, value in report.recall.items()),
        *((f'recall@{n} of all queries', f'{value:.4f}')
          for n, value in report.recall_of_all.items()
          if report.truth.answerable < len(report.measurement.queries)),
        *((f'precision@{n}', f'{value:.4f}') for n, value in report.precision_at.items()),
        ('mean average precision',
         f'{report.mean_average_precision:.4f}{_sure(report, "map")}'
         + ('' if report.complete else
            f', of the {report.measurement.rows.shape[1]} most similar places: a lower bound')),
        ('the same, Oxford protocol', f'{report.oxford_map:.4f}{_sure(report, "map_oxford")}'),
        ('area under precision-recall', f'{report.curve.area:.4f}{_sure(report, "auc_pr")}'),
        ('recall at 100 % precision', f'{report.curve.max_recall_at_full_precision:.4f}'),
        ('extended precision EP', f'{report.curve.extended_precision:.4f}'),
        ('accepted matches', f'{accepted.accepted}, {accepted.correct} right{share}, '
         f'recall {accepted.recall:.4f}'),
        *times,
        ('cores busy with other programs', f'{report.observation.others_text} meanwhile'),
        ('model load to first answer', f'{report.load_s:.2f} s'),
        ('model file', f'{report.model_bytes:,} bytes, {report.model.parameters:,} weights'),
        ('multiply-adds an image', f'{report.model.multiply_adds:,}'),
        ('memory gained by the model', f'{report.model_resident_bytes:,} bytes'),
        ('memory of the whole process', f'{report.measurement.resident_bytes:,} bytes'),
        ('descriptor', f'{4 * report.model.dimension} bytes as the network gives it'),
        ('descriptor bytes per place', f'{report.measurement.bytes_per_place:.1f}'),
        ('measured', origin(report)),
    ]


def _sure(report: Report, name: str) -> str:
    """Return the interval of a number."""
    return f'  (95 % interval {report.intervals[name]})'


def _setting(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is needed to repeat the evaluation."""
    return [
        ('made', values['created']),
        ('reference', values['reference']['description']),
        ('reference pixels', f'SHA-256 {values["reference"]["pixels_sha256"]}'),
        ('query', values['query']['description']),
        ('query pixels', f'SHA-256 {values["query"]["pixels_sha256"]}'),
        ('model', values['model']['path']),
        ('model file', f'SHA-256 {values["model"]["sha256"]}'),
        ('descriptor', f'{values["dimension"]}-D, id {values["descriptor_id"]}'),
        ('engine', f'{values["engine"]}, {values["threads"] or "default number of"} threads'),
        *environment(values),
    ]


def _queries(entries: list[dict[str, Any]]) -> str:
    """Return the foldable table of all queries."""
    rows = ''.join(map(_query_row, entries[:MAX_ROWS]))
    more = '' if len(entries) <= MAX_ROWS else (
        f'<p class="soft">The first {MAX_ROWS} of {len(entries)}; all are in report.json.</p>')
    return (
        '<details><summary>What was found for each query</summary>' + more +
        '<div class="scroll"><table class="wide"><tr><th class="num">query</th><th>image</th>'
        '<th class="num">most similar place</th><th class="num">similarity</th>'
        f'<th>accepted</th></tr>{rows}</table></div></details>')


def _query_row(entry: dict[str, Any]) -> str:
    """Return one row of the table of queries."""
    best = entry['candidates'][0] if entry['candidates'] else None
    place, similarity = ('none', '') if best is None else (
        str(best['reference']), f'{best["similarity"]:.3f}')
    match = entry['match']
    withheld = '<td class="soft">withheld</td>' if match is None else (
        f'<td class="soft">place {match["reference"]}, junk</td>')
    verdict = withheld if match is None or match.get('junk') else (
        f'<td class="{"right" if match["correct"] else "wrong"}">place {match["reference"]}, '
        f'{"right" if match["correct"] else "wrong"}, confidence {match["confidence"]:.2f}</td>')
    return (
        f'<tr><td class="num">{entry["index"]}</td><td>{escape(entry["name"])}</td>'
        f'<td class="num">{place}</td><td class="num">{similarity}</td>{verdict}</tr>')
