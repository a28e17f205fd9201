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

"""What the page says of the decision, and the page of loop closures."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
import json
from pathlib import Path
import re

from made_reports import make_query
from made_reports import PLACES
from made_reports import ReportMaker
import pytest

from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.measuring.recognition_run import UnknownWalk
from vpr_compressed.offline.measuring.replay import Replay
from vpr_compressed.offline.measuring.trial import Trial
from vpr_compressed.offline.reports import evaluation_plots
from vpr_compressed.offline.reports.decision_views import DecidedWalk
from vpr_compressed.offline.reports.evaluation import Evaluation
from vpr_compressed.offline.reports.evaluation import Report
from vpr_compressed.offline.reports.evaluation_report import render
from vpr_compressed.offline.reports.image_pairs import Gallery
from vpr_compressed.offline.reports.revisits_report import RevisitReport
from vpr_compressed.offline.reports.revisits_report import summarise_revisits
from vpr_compressed.offline.reports.revisits_report import write_report
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.records import Status
from vpr_compressed.sources import FolderSource


def text_of(html: str) -> str:
    """Return what a reader sees of a page, in one line."""
    return ' '.join(unescape(re.sub('<[^>]*>', ' ', html.split('<h1>')[1])).split())


def test_what_the_robot_is_told_comes_first(report: Report) -> None:
    """With its Wilson intervals, before any number of single images, of cost or of place."""
    text = text_of(render(Evaluation([report]), [], Gallery()))
    first = ['66.7% accepted precision: 2 of 3 accepted matches are right; 95 % interval 20.8 to '
             '93.9 %', '33.3% accepted recall', 'of 6 queries with an answer; 95 % interval 9.7 '
             'to 70.0 %', '66.7% filtered recall@1', '66.7% recall@1 of the image alone',
             'images from a cold start to the first match, median', 'model file', 'min_precision']
    places = [text.index(each) for each in first]
    assert places == sorted(places)
    assert 'Warning' not in text
    assert 'Not walked as it was recorded' not in text
    assert 'not in the map' not in text[:text.index('Numbers')]


def test_reasons_of_withheld_queries_are_listed(report: Report) -> None:
    """In the words of the decision, with the place that was not told."""
    text = text_of(render(Evaluation([report]), [], Gallery()))
    assert 'withheld place 1, confidence 0.40: not sure enough yet: place <1>' in text
    assert 'accepted place 0, wrong, confidence 0.98' in text


def test_places_found_and_not_told_raise_a_warning(make_report: ReportMaker) -> None:
    """It says what to do about it."""
    silent = make_report([0, 1, 2, 3, 4, 5], [None] * 6)
    text = text_of(render(Evaluation([silent]), [], Gallery()))
    warning = text[text.index('Warning:'):text.index('accepted precision')]
    assert '100.0% of the queries, but none of 6 are accepted' in warning
    assert 'vpr_compressed calibrate' in warning
    assert '--min-precision' in warning
    assert '- accepted precision: nothing was accepted' in text


def test_a_walk_that_was_changed_is_named_at_the_top(make_report: ReportMaker) -> None:
    """Once; a number without it would be taken for that of the recording."""
    changed = make_report([0, 1, 2, 3, 4, 5], [None] * 6, trial=Trial(replay=Replay(
        reverse=True, speed=2.0, cut=((1, 2),))))
    text = text_of(render(Evaluation([changed]), [], Gallery()))
    said = ('Not walked as it was recorded: backwards, 2 times as fast, the map without the '
            'reference images 1 to 1.')
    assert text.index(said) < text.index('accepted precision')
    assert text.count('backwards') == 1


def test_false_accepts_have_a_table_with_intervals(make_report: ReportMaker) -> None:
    """None of four, and one of two: an interval for both."""
    walks = [
        UnknownWalk(source='folder <far>', queries=tuple(
            make_query(number, 0, None) for number in range(4))),
        UnknownWalk(source='folder twin', queries=(make_query(0, 0, 0), make_query(1, 0, None)))]
    report = make_report([0, 1, 2, 3, 4, 5], [None] * 6, unknown=walks)
    text = text_of(render(Evaluation([report]), [], Gallery()))
    text = text[text.index('Places that are not in the map'):]
    assert 'folder <far> 4 0 0.00 0.00 to 48.99 4 not sure enough yet' in text
    assert 'folder twin 2 1 50.00 9.45 to 90.55 1 not sure enough yet' in text
    assert 'false accepts, unknown walk 2 1 of 2' in text


@pytest.mark.parametrize('word', [
    'accepted precision', 'accepted recall', 'filtered recall@1', 'confidence', 'withheld',
    'expected calibration error', 'time to first match', 'false accept', 'Wilson interval',
    'recall@N', *(status.words.capitalize() for status in Status if status.value > 1)])
def test_every_new_word_is_defined(word: str, report: Report) -> None:
    """By the page itself, for it is read without a manual."""
    text = text_of(render(Evaluation([report]), [], Gallery()))
    text = text[text.index('What the numbers mean'):text.index('How it was made')]
    assert word in text


def test_pictures_of_the_decision_come_before_those_of_single_images(report: Report) -> None:
    """The walk across the page, then the others beside each other."""
    evaluation = Evaluation([report])
    plots = evaluation_plots.draw(evaluation, Gallery())
    assert [plot.name for plot in plots] == [
        'walk.png', 'precision_recall.png', 'reliability.png', 'first_match.png', 'recall.png',
        'similarity.png', 'latency.png']
    assert [plot.wide for plot in plots] == [True] + 6 * [False]
    html = render(evaluation, plots, Gallery())
    assert html.count('<figure class="across">') == 1
    assert html.index('class="across"') < html.index('<div class="plots">')
    for plot in plots:
        assert plot.caption in ' '.join(unescape(html).split())


def test_the_threshold_in_force_is_found(report: Report) -> None:
    """It is that of the curve that was used most, of walks or of single images."""
    walk = DecidedWalk(label='', queries=report.measurement.queries, truth=report.truth,
                       decision=report.decision, image=report.curve)
    assert walk.strip.threshold == 0.961
    assert walk.strip.kinds == ['unsure', 'unsure', 'right', 'right', 'wrong', 'unsure']
    assert walk.line.thresholds == {0.9: 0.3, 0.99: 0.961}
    alone = [replace(query, basis=basis) for query, basis in zip(
        walk.queries, ('walk', *['single'] * 3, '', ''))]
    assert replace(walk, queries=alone).strip.threshold == 0.99
    nothing = replace(walk, queries=[replace(query, basis='') for query in alone])
    assert nothing.strip.threshold is None
    assert nothing.line.thresholds == {}


def revisits_of(
    report: Report, source: FolderSource, same: dict[int, set[int]], label: str = 'tiny'
) -> RevisitReport:
    """Return six images 0.5 s apart as a walk in its own past; the last second is not searched."""
    run = report.measurement
    run = replace(run, queries=tuple(
        replace(query, stamp_ns=number * 500_000_000)
        for number, query in enumerate(run.queries)))
    truth = GroundTruth(
        tuple(frozenset(same.get(number, ())) for number in range(PLACES)), PLACES, 'by hand',
        may_be_empty=True)
    trial = Trial(revisits=True, recognizer=RecognizerConfig(exclude_recent_s=1.0))
    return summarise_revisits(
        replace(report.observation, measurement=run), truth, replace(report.model, label=label),
        trial, source, command='vpr_compressed evaluate --revisits')


def test_page_of_closures_says_what_was_closed_and_how_late(
    make_report: ReportMaker, source: FolderSource, tmp_path: Path
) -> None:
    """Images 3 to 5 are again at 0 to 2: the second of them is the first closure, one is wrong."""
    report = make_report([0, 1, 2, 0, 1, 2], [None, None, 0, None, 1, 2])
    path = write_report(
        [revisits_of(report, source, {3: {0}, 4: {1}, 5: {2}})], tmp_path / 'out')
    html = path.read_text()
    text = text_of(html)
    for said in (
            '66.7% closure precision: 2 of 3 closures are right; 95 % interval 20.8 to 93.9 %',
            '66.7% closure recall: of 3 images at places seen before', '1 of 1 revisits closed',
            '2 images from the start of a revisit to its first closure',
            'more than 1 s before; 3 show a place seen before',
            'tiny 3 to 5 3 2 0.5', 'closure, revisit'):
        assert said in text
    assert 'Revisits: 2 of 3 closures right, 2 of 3 images at places seen before' in html
    names = {each.name for each in path.parent.glob('*.png')}
    assert names == {'walk.png', 'precision_recall.png', 'reliability.png', 'revisits.png'}
    assert json.loads((path.parent / 'report.json').read_text())['wrong_closures'] == 1


def test_a_walk_that_never_comes_back_has_only_wrong_closures(
    make_report: ReportMaker, source: FolderSource, tmp_path: Path
) -> None:
    """A corridor walked once; recall has no meaning there, and no number."""
    report = make_report([0, 1, 2, 0, 1, 2], [None, None, None, 0, None, None])
    text = text_of(write_report(
        [revisits_of(report, source, {})], tmp_path / 'out').read_text())
    assert '0.0% closure precision: 0 of 1 closures are right' in text
    assert '- closure recall: of 0 images' in text
    assert 'every closure is wrong' in text


def test_models_are_compared_on_the_page_of_closures(
    make_report: ReportMaker, source: FolderSource, tmp_path: Path
) -> None:
    """A row each, a picture each, and a warning for the one that closes nothing."""
    same = {3: {0}, 4: {1}, 5: {2}}
    path = write_report([
        revisits_of(make_report([0, 1, 2, 0, 1, 2], [*[None] * 3, 0, 1, 2]), source, same, 'one'),
        revisits_of(make_report([0, 1, 2, 0, 1, 2], [None] * 6), source, same, 'two'),
    ], tmp_path / 'out')
    text = text_of(path.read_text())
    assert 'Warning, two: no loop was closed' in text
    assert 'Warning, one' not in text
    assert re.search(r'one 3 100\.0% 43\.9 to 100\.0 100\.0% 43\.9 to 100\.0', text)
    assert re.search(r'two 0 - - 0\.0% 0\.0 to 56\.1', text)
    assert {'revisits_1.png', 'revisits_2.png'} <= {
        each.name for each in path.parent.glob('*.png')}
