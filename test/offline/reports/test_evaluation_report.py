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

from dataclasses import replace
import json
from pathlib import Path

import cv2
from made_reports import PLACES
from made_reports import ReportMaker
import numpy as np
import pytest

from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.reports import evaluation_plots
from vpr_compressed.offline.reports import image_pairs
from vpr_compressed.offline.reports.evaluation import Evaluation
from vpr_compressed.offline.reports.evaluation import Report
from vpr_compressed.offline.reports.evaluation_report import check_folder
from vpr_compressed.offline.reports.evaluation_report import render
from vpr_compressed.offline.reports.evaluation_report import write_report
from vpr_compressed.offline.reports.image_pairs import Gallery
from vpr_compressed.sources import FolderSource
from vpr_compressed.system.machine import machine
from vpr_compressed.system.machine import versions


def test_summary_agrees_with_a_count_by_hand(report: Report) -> None:
    """Four of six are right first; of three accepted matches two are right."""
    assert report.recall[1] == pytest.approx(4 / 6)
    assert report.recall[5] == 1.0
    assert (report.accepted.accepted, report.accepted.correct) == (3, 2)
    assert report.accepted.recall == pytest.approx(2 / 6)
    assert report.latency_ms['p50'] == pytest.approx(13.5)
    assert report.inference_ms['p50'] == pytest.approx(12.5)
    assert report.curve.max_recall_at_full_precision == pytest.approx(4 / 6)


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
    *_, worst = image_pairs.choose(Evaluation([report]))
    assert [[(tile.kind, tile.index) for tile in each.tiles] for each in worst.queries] == [
        [('query', 4), ('wrong', 0), ('solution', 4)]]
    assert [tile.text for tile in worst.queries[0].tiles] == [
        'query 4: <4>.png', 'place 0, wrong: 0.860', 'right would be 4']


def test_wrong_places_that_were_accepted_are_shown_first(make_report: ReportMaker) -> None:
    """Not what the image alone found: query 4 was told to be at 2, though its image finds 4."""
    told = make_report([0, 1, 2, 3, 4, 5], [0, None, 2, None, 2, None])
    first, *_ = image_pairs.choose(Evaluation([told]))
    assert first.name == 'wrong_accepts.png'
    assert first.title == 'Wrongly accepted: 1 query'
    assert [[(tile.kind, tile.index, tile.text) for tile in each.tiles]
            for each in first.queries] == [[
                ('query', 4, 'query 4: <4>.png'),
                ('wrong', 2, 'place 2, wrong: 0.98 sure'),
                ('solution', 4, 'right would be 4')]]
    right = make_report([0, 1, 2, 3, 4, 5], [0, None, 2, None, None, None])
    assert [group.name for group in image_pairs.choose(Evaluation([right]))] == [
        'best_matches.png', 'worst_matches.png']


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
    *_, best, worst = gallery.groups
    assert len(best.queries) >= 2
    for each in (*best.queries, *worst.queries):
        for tile in each.tiles:
            image, asked = gallery.image(tile), tile.kind == 'query'
            assert image.shape in {(30, 40, 3), (27, 360, 3)}
            np.testing.assert_allclose(image, 40 * tile.index + 10 * asked, atol=1)


def test_a_query_from_nowhere_is_wrong_and_has_no_solution(make_report: ReportMaker) -> None:
    """The robot was where the map knows nothing; whatever it found is wrong."""
    truth = GroundTruth((*[frozenset({n}) for n in range(5)], frozenset()), PLACES, 'no last one')
    *_, worst = image_pairs.choose(Evaluation(
        [make_report([0, 1, 2, 3, 4, 5], [None] * 6, truth)]))
    assert [[(tile.kind, tile.index) for tile in each.tiles] for each in worst.queries] == [
        [('query', 5), ('wrong', 5)]]


@pytest.mark.parametrize(('best', 'matches', 'truth', 'pictures'), [
    ([0, 1, 2, 3, 4, 5], [None, None, 2, 3, 4, 5], None, 9),
    ([5, 4, 4, 5, 0, 1], [None] * 6, None, 9),
    ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5],
     GroundTruth((frozenset({0}), *[frozenset[int]()] * 5), PLACES, 'mostly unknown places'), 10),
], ids=['all right', 'all wrong and withheld', 'nearly all unanswerable'])
def test_corner_cases_are_drawn_and_written(
    best: list[int], matches: list[int | None], truth: GroundTruth | None, pictures: int,
    make_report: ReportMaker, source: FolderSource, tmp_path: Path
) -> None:
    """No right pair, no wrong pair, nothing accepted: still a whole report."""
    report = make_report(best, matches, truth)
    page = write_report(Evaluation([report]), tmp_path / 'report', source, source)
    assert page.name == 'report.html'
    assert len(list((tmp_path / 'report').glob('*.png'))) == pictures
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
