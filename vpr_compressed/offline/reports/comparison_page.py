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

"""The report on several models as one HTML page, in the style of :mod:`.page`."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from collections.abc import Sequence
from html import escape

import cv2

from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.uncertainty import Comparison
from vpr_compressed.offline.accuracy.uncertainty import RESAMPLES
from vpr_compressed.offline.reports.comparison import Evaluation
from vpr_compressed.offline.reports.comparison import origin
from vpr_compressed.offline.reports.comparison import table_of
from vpr_compressed.offline.reports.evaluation_page import MAX_ROWS
from vpr_compressed.offline.reports.figures import Plot
from vpr_compressed.offline.reports.hardest import Answer
from vpr_compressed.offline.reports.hardest import Hardest
from vpr_compressed.offline.reports.hardest import HardQuery
from vpr_compressed.offline.reports.page import card
from vpr_compressed.offline.reports.page import definitions
from vpr_compressed.offline.reports.page import document
from vpr_compressed.offline.reports.page import environment
from vpr_compressed.offline.reports.page import figure
from vpr_compressed.offline.reports.page import table
from vpr_compressed.offline.reports.summary import Report
from vpr_compressed.records import ImageArray

_QUALITY = 82


def render(evaluation: Evaluation, plots: Iterable[Plot], hardest: Hardest) -> str:
    """
    Return the whole page.

    :param plots: drawn into the page as PNG, with their captions as text
    :param hardest: queries to show with their images
    """
    first, values = evaluation.first, evaluation.to_json()
    names = ', '.join(report.model.label for report in evaluation.reports)
    cards = ''.join(
        card(f'{report.recall[1]:.1%}', f'recall@1 of {report.model.label}, '
             f'{report.model_bytes / 1e6:.2f} MB, {report.latency_ms["p50"]:.1f} ms')
        for report in evaluation.reports)
    verdicts = ''.join(
        f'<p>{escape(comparison.sentence())}</p>' for comparison in evaluation.comparisons)
    return document(f'Place recognition: {names}', f"""<h1>Place recognition: \
{len(evaluation.reports)} models side by side</h1>
<p class="soft">{len(first.measurement.queries)} queries against \
{len(first.measurement.reference_names)} places; right means: \
{escape(first.truth.description)}.</p>
<div class="cards">{cards}</div>
<h2>Which is better?</h2>{verdicts}{_comparisons(evaluation.comparisons)}
<h2>Side by side</h2>{_side_by_side(evaluation.reports)}
<h2>Pictures</h2><div class="plots">{''.join(map(figure, plots))}</div>
{_hardest(hardest, len(evaluation.reports))}
<h2>How it was made</h2><pre>{escape(values["command"])}</pre>
<div class="scroll space">{table(_setting(evaluation))}</div>
<h2>Queries</h2>{_queries(evaluation)}""")


def _comparisons(comparisons: Sequence[Comparison]) -> str:
    """Return the paired comparisons as a table."""
    rows = ''.join(
        f'<tr><td>{escape(each.second)} minus {escape(each.first)}</td>'
        f'<td class="num">{100 * each.difference:+.1f}</td>'
        f'<td class="num">{100 * each.interval.low:+.1f} to {100 * each.interval.high:+.1f}</td>'
        f'<td class="num">{each.only_first}</td><td class="num">{each.only_second}</td>'
        f'<td class="num">{each.p_value:.3g}</td></tr>' for each in comparisons)
    return (
        '<div class="scroll"><table class="wide heads"><tr><th>models</th>'
        '<th class="num">points of recall@1</th><th class="num">95 % interval</th>'
        f'<th class="num">only {escape(comparisons[0].first)} right</th>'
        '<th class="num">only the other right</th>'
        f'<th class="num">p</th></tr>{rows}</table></div><p class="soft space">On the same '
        'queries, by the most similar place of each. p: exact McNemar test, the probability of so '
        'uneven a split of the queries on which the two differ if neither were better, not '
        'corrected for the number of models. Intervals: '
        f'percentile bootstrap over queries, {RESAMPLES:,} resamples. Frames of one walk resemble '
        'their neighbours, so both make differences look surer than they are on another day.</p>')


def _side_by_side(reports: Sequence[Report]) -> str:
    """Return the table of all numbers."""
    head = ''.join(f'<th class="num">{escape(report.model.label)}</th>' for report in reports)
    rows = ''.join(
        f'<tr><th>{escape(name)}</th>'
        + ''.join(f'<td class="num">{escape(value)}</td>' for value in values) + '</tr>'
        for name, values in table_of(reports)[:-1])  # the last row is too wide, and said below
    note = '' if all(report.complete for report in reports) else (
        '<p class="soft space">Only the '
        f'{reports[0].measurement.rows.shape[1]} most similar places of each query were ranked: '
        'the mean average precision is a lower bound.</p>')
    return (f'<div class="scroll"><table class="wide pinned"><tr><th></th>{head}</tr>{rows}'
            f'</table></div>{note}{definitions()}')


def _hardest(hardest: Hardest, models: int) -> str:
    """Return the hardest queries with their images."""
    most = 'both models' if models == 2 else f'more than half of the {models} models'
    wrong = (f'{most.capitalize()} are wrong on {_count(hardest.wrong_in_all)}. Shown are those '
             'most models get wrong, by the largest margins first.' if hardest.wrong else
             f'There is no query on which {most} are wrong.')
    split = (f'On {_count(hardest.split_in_all)} some models are right and others wrong.'
             if hardest.split else 'The models are right and wrong on the same queries.')
    look = (' The query comes first, then each different place that was found (blue frame: right, '
            'orange: wrong), then, if nobody found one, a right place (green).')
    return (
        f'<h2>Hardest queries</h2><p class="soft">{wrong}{look if hardest.wrong else ""}</p>'
        + ''.join(_strip(each, hardest) for each in hardest.wrong)
        + f'<h2>Where the models differ</h2><p class="soft">{split}</p>'
        + ''.join(_strip(each, hardest) for each in hardest.split))


def _count(queries: int) -> str:
    """Return a number of queries in words."""
    return f'{queries} {"query" if queries == 1 else "queries"}'


def _strip(each: HardQuery, hardest: Hardest) -> str:
    """Return one query beside the places found for it."""
    tiles = [_tile(hardest.queries[each.query], f'query {each.query}: {each.name}', 'asked')]
    tiles += [
        _tile(hardest.places[answer.row], _answer_text(answer),
              'right' if answer.right else 'wrong') for answer in each.answers]
    if each.solution is not None:
        tiles.append(_tile(
            hardest.places[each.solution], f'right would be {each.solution}', 'solution'))
    more = f'<p class="soft">and {each.hidden} more</p>' if each.hidden else ''
    return f'<div class="strip">{"".join(tiles)}</div>{more}'


def _answer_text(answer: Answer) -> str:
    """Return who found a place, and how similar it looked."""
    found = ', '.join(f'{label} {similarity:.3f}' for label, similarity in answer.models)
    return f'place {answer.row}, {"right" if answer.right else "wrong"}: {found}'


def _tile(image: ImageArray, text: str, kind: str) -> str:
    """Return one framed image with its text."""
    good, data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not good:
        raise VprError(f'cannot encode the image of {text}')
    source = f'data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'
    return (f'<figure class="tile {kind}"><img alt="{escape(text)}" src="{source}">'
            f'<figcaption>{escape(text)}</figcaption></figure>')


def _setting(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return what is needed to repeat the evaluation."""
    values = evaluation.first.to_json()
    rows = [('made', values['created']), ('reference', values['reference']['description']),
            ('query', values['query']['description'])]
    for report in evaluation.reports:
        model, setting = report.model, report.setting
        rows += [
            (model.label, f'{model.path}, SHA-256 {model.sha256}, descriptor {model.dimension}-D '
             f'id {model.descriptor_id}, {model.engine}, {model.threads or "default number of"} '
             f'threads; measured {origin(report)}'),
            (f'pixels for {model.label}',
             f'reference SHA-256 {setting["reference"]["pixels_sha256"]}, query '
             f'{setting["query"]["pixels_sha256"]}')]
    return [*rows, *environment(values)]


def _queries(evaluation: Evaluation) -> str:
    """Return the foldable table of all queries."""
    reports = evaluation.reports
    head = ''.join(f'<th>{escape(report.model.label)}</th>' for report in reports)
    queries = evaluation.first.measurement.queries
    rows = ''.join(
        f'<tr><td class="num">{query.index}</td><td>{escape(query.name)}</td>'
        + ''.join(_found(report, number) for report in reports) + '</tr>'
        for number, query in enumerate(queries[:MAX_ROWS]))
    more = '' if len(queries) <= MAX_ROWS else (
        f'<p class="soft">The first {MAX_ROWS} of {len(queries)}; all are in report.json.</p>')
    return (
        f'<details><summary>The most similar place of each query</summary>{more}'
        '<div class="scroll"><table class="wide"><tr><th class="num">query</th><th>image</th>'
        f'{head}</tr>{rows}</table></div></details>')


def _found(report: Report, query: int) -> str:
    """Return what one model found for a query."""
    row, right = int(report.best_rows[query]), bool(report.best_right[query])
    if row < 0:
        return '<td class="soft">none</td>'
    accepted = report.measurement.queries[query].match_row
    match = '' if accepted is None else f', accepts {accepted}'
    return (f'<td class="{"right" if right else "wrong"}">{row} {"right" if right else "wrong"}, '
            f'{report.best_similarities[query]:.3f}{match}</td>')
