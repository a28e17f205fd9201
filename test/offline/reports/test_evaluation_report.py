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

"""The report of an evaluation made by hand: numbers, pictures, page and folder."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
import json
from pathlib import Path
import re

import cv2
import numpy as np
import pytest

from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.ground_truth import from_tolerance
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.measuring.observation import EvaluatedModel
from vpr_compressed.offline.measuring.observation import Observation
from vpr_compressed.offline.measuring.recognition_run import ColdStart
from vpr_compressed.offline.measuring.recognition_run import QueryResult
from vpr_compressed.offline.measuring.recognition_run import RecognitionRun
from vpr_compressed.offline.measuring.recognition_run import UnknownWalk
from vpr_compressed.offline.measuring.replay import Replay
from vpr_compressed.offline.measuring.trial import Trial
from vpr_compressed.offline.reports import evaluation_plots
from vpr_compressed.offline.reports import image_pairs
from vpr_compressed.offline.reports.decision_views import DecidedWalk
from vpr_compressed.offline.reports.evaluation import Evaluation
from vpr_compressed.offline.reports.evaluation import Report
from vpr_compressed.offline.reports.evaluation import summarise
from vpr_compressed.offline.reports.evaluation_report import check_folder
from vpr_compressed.offline.reports.evaluation_report import render
from vpr_compressed.offline.reports.evaluation_report import write_report
from vpr_compressed.offline.reports.image_pairs import Gallery
from vpr_compressed.records import Status
from vpr_compressed.sources import FolderSource
from vpr_compressed.system.machine import machine
from vpr_compressed.system.machine import versions

PLACES = 6


def make_query(number: int, best: int, match_row: int | None) -> QueryResult:
    """Return the record of one query; what is withheld was believed, too."""
    status = Status.UNSURE if match_row is None else Status.ACCEPTED
    return QueryResult(
        index=number, name=f'<{number}>.png', stamp_ns=number, status=int(status),
        decided_row=best if match_row is None else match_row, decided_similarity=0.9,
        confidence=0.4 if match_row is None else 0.98,
        reason=f'{status.words}: place <{best}>', evidence={'belief': 1.5},
        inference_ms=10.0 + number, search_ms=1.0)


def make_measurement(best: list[int], matches: list[int | None]) -> RecognitionRun:
    """Return a measurement in which each query has a given best place."""
    rows = np.stack([np.roll(np.arange(PLACES), -first) for first in best])
    similarities = np.tile(np.linspace(0.9, 0.1, PLACES), (len(best), 1))
    similarities -= np.arange(len(best))[:, np.newaxis] / 100
    return RecognitionRun(
        queries=tuple(
            make_query(number, *each) for number, each in enumerate(zip(best, matches))),
        rows=rows, similarities=similarities, places=PLACES,
        reference_names=tuple(f'{i}.png' for i in range(PLACES)), reference_sha256='0' * 64,
        query_sha256='1' * 64, bytes_per_place=24.0, resident_bytes=100_000_000,
        thresholds={'walk': 0.961, 'single': 0.99},
        promises={'walk': {'0.9': 0.3, '0.99': 0.961}, 'single': {'0.99': 0.99}},
        cold_starts=tuple(
            ColdStart(start=start, images=2 if row is not None else None, match_row=row)
            for start, row in enumerate(matches[:3])))


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    """Return six images, wide and small in turns."""
    path = tmp_path / 'images'
    path.mkdir()
    for number in range(PLACES):
        size = (60, 800, 3) if number % 2 else (30, 40, 3)
        cv2.imwrite(str(path / f'{number}.png'), np.full(size, 40 * number, np.uint8))
    return FolderSource(path)


ReportMaker = Callable[..., Report]


@pytest.fixture
def make_report(tmp_path: Path, source: FolderSource) -> ReportMaker:
    """Return a function that makes a report of six queries."""
    def make(
        best: list[int], matches: list[int | None], truth: GroundTruth | None = None, *,
        unknown: Sequence[UnknownWalk] = (), trial: Trial | None = None
    ) -> Report:
        model = tmp_path / 'model.vpr'
        model.write_bytes(b'model')
        described = EvaluatedModel(
            label='<tiny>', name='<tiny>', path=model, sha256='f' * 64, file_bytes=5,
            descriptor_id='feed', dimension=16, precision='int8', parameters=100,
            multiply_adds=2_000, engine='onnxruntime', threads=2)
        seen = Observation(
            measurement=replace(make_measurement(best, matches), unknown=tuple(unknown)),
            load_s=0.5,
            model_resident_bytes=30_000_000, measured='2026-01-01T00:00:00Z',
            others_cores=0.5)
        return summarise(
            seen, truth or from_tolerance(PLACES, PLACES, 0), described, source, source,
            command='vpr_compressed <evaluate>', trial=trial)

    return make


@pytest.fixture
def report(make_report: ReportMaker) -> Report:
    """Return a report with four right and two wrong best places, one wrong match."""
    return make_report([0, 1, 2, 3, 0, 1], [None, None, 2, 3, 0, None])


def test_summary_agrees_with_a_count_by_hand(report: Report) -> None:
    """Four of six are right first; of three accepted matches two are right."""
    assert report.recall[1] == pytest.approx(4 / 6)
    assert report.recall[5] == 1.0
    assert (report.accepted.accepted, report.accepted.correct) == (3, 2)
    assert report.accepted.recall == pytest.approx(2 / 6)
    assert report.latency_ms['p50'] == pytest.approx(13.5)
    assert report.inference_ms['p50'] == pytest.approx(12.5)
    assert report.curve.max_recall_at_full_precision == pytest.approx(4 / 6)


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
    """The accepted ones are 0.98 sure: that fits the curve of walks, not that of one image."""
    walk = DecidedWalk(label='', queries=report.measurement.queries, truth=report.truth,
                       decision=report.decision, image=report.curve)
    assert walk.strip.threshold == 0.961
    assert walk.strip.kinds == ['unsure', 'unsure', 'right', 'right', 'wrong', 'unsure']
    assert walk.line.thresholds == {0.9: 0.3, 0.99: 0.961}
    single = replace(report.decision, thresholds={'walk': 0.3, 'single': 0.98})
    assert replace(walk, decision=single).strip.threshold == 0.98


def test_file_content_is_plain_json_without_nan(report: Report) -> None:
    """Other programs refuse NaN."""
    values = json.loads(json.dumps(Evaluation([report]).to_json(), allow_nan=False))
    assert values['format'] == 'vpr_compressed report'
    assert values['per_query'][4]['match'] == {
        'reference': 0, 'similarity': 0.9, 'confidence': 0.98, 'correct': False}
    assert values['per_query'][0]['match'] is None
    assert values['per_query'][0]['candidates'][0] == {'reference': 0, 'similarity': 0.9}


def test_similarity_matrix_has_each_value_in_its_place(report: Report) -> None:
    """Undo the ranking."""
    matrix = evaluation_plots.similarity_matrix(report)
    assert matrix.shape == (PLACES, PLACES)
    assert matrix[4, 0] == pytest.approx(report.best_similarities[4])
    assert np.isfinite(matrix).all()


def test_similarity_of_a_single_query_can_be_drawn(make_report: ReportMaker) -> None:
    """A data set may have one query only; there is no outline around one row."""
    single = make_report([0], [None], GroundTruth((frozenset({0}),), PLACES, 'one'))
    assert evaluation_plots.similarity_plot(single).pixels.std() > 5


def test_large_matrices_are_drawn_in_blocks(report: Report) -> None:
    """The largest of each block, the last one smaller; right answers stay where they are."""
    whole = evaluation_plots.similarity_matrix(report)
    blocks = evaluation_plots.similarity_matrix(report, limit=4)
    assert blocks.shape == (3, 3)
    for row in range(3):
        for column in range(3):
            block = whole[2 * row:2 * row + 2, 2 * column:2 * column + 2]
            assert blocks[row, column] == block.max()
    np.testing.assert_array_equal(
        evaluation_plots.truth_matrix(report, limit=4), np.eye(3, dtype=bool))
    np.testing.assert_array_equal(evaluation_plots.truth_matrix(report), report.truth.matrix())


def test_places_that_were_not_ranked_are_left_blank(report: Report) -> None:
    """Rankings of large maps end early, and the page says what that means."""
    short = replace(report, measurement=replace(
        report.measurement, rows=report.measurement.rows[:, :2],
        similarities=report.measurement.similarities[:, :2]))
    assert np.isnan(evaluation_plots.similarity_matrix(short)).sum() == 4 * PLACES
    text = render(Evaluation([short]), [], Gallery())
    assert 'Only the 2 most similar places' in text
    assert 'Only the' not in render(Evaluation([report]), [], Gallery())


def test_surest_entries_are_spread_out() -> None:
    """Neighbouring frames show the same place."""
    scores = np.array([0.9, 0.95, 0.94, 0.1, -np.inf, 0.8])
    assert image_pairs.spread(scores, 3, 2) == [1, 5, 3]
    assert image_pairs.spread(scores, 9, 1) == [1, 2, 0, 5, 3]
    assert image_pairs.spread(np.full(3, -np.inf), 3, 1) == []


def test_wrong_answers_are_shown_with_what_would_have_been_right(report: Report) -> None:
    """Query 4 found place 0; query 5 found place 1."""
    _, worst = image_pairs.choose(Evaluation([report]))
    assert [[(tile.kind, tile.index) for tile in each.tiles] for each in worst.queries] == [
        [('query', 4), ('wrong', 0), ('solution', 4)]]
    assert [tile.text for tile in worst.queries[0].tiles] == [
        'query 4: <4>.png', 'place 0, wrong: 0.860', 'right would be 4']


def test_long_names_keep_their_end() -> None:
    """The frames of a walk differ in their last digits."""
    assert evaluation_plots.short('query 4: <4>.png') == 'query 4: <4>.png'
    assert evaluation_plots.short('right would be 4') == 'right would be 4'
    long = evaluation_plots.short('query 1234: 2026-01-01/monday_morning_000001234.png')
    assert long == 'query 1234: ...day_morning_000001234.png'
    assert len(long) == len('query 1234: ') + 28


def test_images_of_pairs_are_small_and_keep_their_shape(
    report: Report, source: FolderSource, tmp_path: Path
) -> None:
    """Wide ones shrink, small ones stay; each is that of its index in its own recording."""
    (tmp_path / 'asked').mkdir()
    for number in range(PLACES):
        cv2.imwrite(str(tmp_path / 'asked' / f'{number}.png'),
                    np.full((30, 40, 3), 10 + 40 * number, np.uint8))
    gallery = image_pairs.fetch(Evaluation([report]), source, FolderSource(tmp_path / 'asked'))
    best, worst = gallery.groups
    assert len(best.queries) >= 2
    for each in (*best.queries, *worst.queries):
        for tile in each.tiles:
            image, asked = gallery.image(tile), tile.kind == 'query'
            assert image.shape in {(30, 40, 3), (27, 360, 3)}
            np.testing.assert_allclose(image, 40 * tile.index + 10 * asked, atol=1)


def test_a_query_from_nowhere_is_wrong_and_has_no_solution(make_report: ReportMaker) -> None:
    """The robot was where the map knows nothing; whatever it found is wrong."""
    truth = GroundTruth((*[frozenset({n}) for n in range(5)], frozenset()), PLACES, 'no last one')
    _, worst = image_pairs.choose(Evaluation(
        [make_report([0, 1, 2, 3, 4, 5], [None] * 6, truth)]))
    assert [[(tile.kind, tile.index) for tile in each.tiles] for each in worst.queries] == [
        [('query', 5), ('wrong', 5)]]


@pytest.mark.parametrize(('best', 'matches', 'truth'), [
    ([0, 1, 2, 3, 4, 5], [None, None, 2, 3, 4, 5], None),
    ([5, 4, 4, 5, 0, 1], [None] * 6, None),
    ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5],
     GroundTruth((frozenset({0}), *[frozenset[int]()] * 5), PLACES, 'mostly unknown places')),
], ids=['all right', 'all wrong and withheld', 'nearly all unanswerable'])
def test_corner_cases_are_drawn_and_written(
    best: list[int], matches: list[int | None], truth: GroundTruth | None,
    make_report: ReportMaker, source: FolderSource, tmp_path: Path
) -> None:
    """No right pair, no wrong pair, nothing accepted: still a whole report."""
    report = make_report(best, matches, truth)
    page = write_report(Evaluation([report]), tmp_path / 'report', source, source)
    assert page.name == 'report.html'
    assert len(list((tmp_path / 'report').glob('*.png'))) == 9
    assert json.loads((tmp_path / 'report' / 'report.json').read_text())['queries'] == 6


def test_names_cannot_break_the_page(report: Report) -> None:
    """File names, the command and the model's name are text, not HTML."""
    page = render(Evaluation([report]), [], Gallery())
    assert '&lt;4&gt;.png' in page
    assert 'vpr_compressed &lt;evaluate&gt;' in page
    assert '<4>' not in page
    assert '<evaluate>' not in page
    assert '<tiny>' not in page


def test_caption_is_drawn_only_where_it_is_wanted(report: Report) -> None:
    """The page has it as text, the file has it in the picture."""
    plot = evaluation_plots.recall_plot([report])
    heights = [
        cv2.imdecode(np.frombuffer(plot.png(caption=caption), np.uint8), 1).shape[0]
        for caption in (True, False)]
    assert heights[0] - heights[1] == plot.caption_rows > 0
    band = plot.pixels[-plot.caption_rows:]
    assert band.min() < 200, 'the caption is missing'
    # The row of pixels above it is white: nothing was cut.
    assert plot.pixels[-plot.caption_rows - 1].min() > 200


def test_earlier_report_is_replaced_and_anything_else_refused(
    report: Report, source: FolderSource, tmp_path: Path
) -> None:
    """Only a folder that is ours, empty or new is written into."""
    folder = tmp_path / 'new' / 'report'
    write_report(Evaluation([report]), folder, source, source)
    (folder / 'report.html').write_text('old')
    write_report(Evaluation([report]), folder, source, source)
    assert (folder / 'report.html').read_text() != 'old'
    for name, text in (('photo.jpg', 'x'), ('report.json', '{}'), ('report.json', 'no json')):
        other = tmp_path / f'{name}{len(text)}'
        other.mkdir()
        (other / name).write_text(text)
        with pytest.raises(VprError, match=f'not empty.*{name}'):
            check_folder(other)


def test_remains_of_a_killed_run_do_not_block_the_next(tmp_path: Path) -> None:
    """A process that was killed while writing leaves its hidden folder."""
    (tmp_path / '.part-abc').mkdir()
    check_folder(tmp_path)


def test_failure_while_writing_keeps_the_earlier_report(
    report: Report, source: FolderSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk is full; no half report, no leftovers."""
    folder = tmp_path / 'report'
    write_report(Evaluation([report]), folder, source, source)
    before = {entry.name: entry.read_bytes() for entry in folder.iterdir()}
    write_bytes = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == 'similarity.png':
            raise OSError(28, 'No space left on device')
        return write_bytes(self, data)

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(VprError, match='No space left'):
        write_report(Evaluation([report]), folder, source, source)
    monkeypatch.undo()
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == before


def test_versions_and_machine_are_known() -> None:
    """What makes two numbers comparable."""
    assert {'python', 'numpy', 'faiss-cpu'} <= set(versions())
    assert machine()['cores'] >= 1
    assert machine()['memory_bytes'] > 1e8
