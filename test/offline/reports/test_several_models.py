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

"""Several models on the same queries, made by hand: numbers, hardest queries, page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_compressed.offline.accuracy.ground_truth import from_tolerance
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.measuring.observation import EvaluatedModel
from vpr_compressed.offline.measuring.observation import Observation
from vpr_compressed.offline.measuring.recognition_run import QueryResult
from vpr_compressed.offline.measuring.recognition_run import RecognitionRun
from vpr_compressed.offline.reports import evaluation_plots
from vpr_compressed.offline.reports import image_pairs
from vpr_compressed.offline.reports.evaluation import Evaluation
from vpr_compressed.offline.reports.evaluation import summarise
from vpr_compressed.offline.reports.evaluation_report import render
from vpr_compressed.offline.reports.evaluation_report import table_of
from vpr_compressed.offline.reports.image_pairs import Gallery
from vpr_compressed.records import Status
from vpr_compressed.sources import FolderSource

PLACES = 6
#: Most similar place of each query: two wrong, then three wrong, two of them the same ones.
BEST = {'<one>': [0, 1, 2, 3, 0, 1], 'two': [0, 1, 2, 0, 0, 0], 'three': [0, 1, 2, 3, 4, 2]}


def seen(best: list[int]) -> Observation:
    """Return what was seen of a model whose most similar places are given."""
    rows = np.stack([np.roll(np.arange(PLACES), -first) for first in best])
    similarities = np.tile(np.linspace(0.9, 0.1, PLACES), (len(best), 1))
    queries = tuple(
        QueryResult(
            index=number, name=f'<{number}>.png', stamp_ns=number,
            status=int(Status.ACCEPTED if number > 3 else Status.LOOK_ALIKE), decided_row=first,
            decided_similarity=0.9, confidence=0.98 if number > 3 else 0.5, reason='',
            inference_ms=10.0 + number, search_ms=1.0)
        for number, first in enumerate(best))
    return Observation(
        measurement=RecognitionRun(
            queries=queries, rows=rows, similarities=similarities, places=PLACES,
            reference_names=tuple(f'{i}.png' for i in range(PLACES)), reference_sha256='0' * 64,
            query_sha256='1' * 64, bytes_per_place=24.0, resident_bytes=100_000_000),
        load_s=0.5, model_resident_bytes=30_000_000, measured='2026-01-01T00:00:00Z',
        others_cores=0.5)


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    """Return six images."""
    path = tmp_path / 'images'
    path.mkdir()
    for number in range(PLACES):
        cv2.imwrite(str(path / f'{number}.png'), np.full((30, 40, 3), 40 * number, np.uint8))
    return FolderSource(path)


EvaluationMaker = Callable[..., Evaluation]


@pytest.fixture
def make(source: FolderSource) -> EvaluationMaker:
    """Return a function that evaluates models made by hand."""
    def make_evaluation(
        truth: GroundTruth | None = None, best: dict[str, list[int]] | None = None
    ) -> Evaluation:
        reports = []
        for number, (label, places) in enumerate((best or BEST).items(), start=1):
            model = EvaluatedModel(
                label=label, name=label, path=Path(f'{label}.vpr'), sha256=str(number) * 64,
                file_bytes=3_000_000 // number, descriptor_id='feed', dimension=16,
                precision='int8', parameters=1_000_000, multiply_adds=2_000_000,
                engine='onnxruntime', threads=2)
            reports.append(summarise(
                seen(places), truth or from_tolerance(PLACES, PLACES, 0), model, source, source,
                command='vpr_compressed <evaluate>'))
        return Evaluation(reports)

    return make_evaluation


def test_table_has_a_text_per_model(make: EvaluationMaker) -> None:
    """Four, three and five of six."""
    table = dict(table_of(make().reports))
    assert table['recall@1'] == ['0.667', '0.500', '0.833']
    assert table['file, times smaller than the first'] == ['1.0', '2.0', '3.0']
    assert table['model file, MB'] == ['3', '1.5', '1']
    assert table['image to answer p50, ms'] == ['13.5'] * 3
    assert table['descriptor, bytes'] == ['64'] * 3
    assert table['accepted matches'] == ['2, 0 right', '2, 0 right', '2, 1 right']


def test_queries_without_an_answer_are_told_apart(make: EvaluationMaker) -> None:
    """The second row of recall appears only where it differs."""
    truth = GroundTruth(tuple(
        frozenset({number}) if number else frozenset() for number in range(PLACES)), PLACES, 'x')
    evaluation = make(truth)
    table = dict(table_of(evaluation.reports))
    assert table['recall@1'][0] == '0.600'
    assert table['recall@1 of all queries'][0] == '0.500'
    assert 'recall@1 of all queries' not in dict(table_of(make().reports))


def test_junk_counts_in_no_number(make: EvaluationMaker) -> None:
    """Query 4 found 0, 1, 2 and 3 before its own place; all four are junk now."""
    junk = [frozenset[int]()] * 4 + [frozenset({0, 1, 2, 3}), frozenset({1})]
    truth = GroundTruth(tuple(frozenset({number}) for number in range(PLACES)), PLACES, 'x',
                        tuple(junk))
    evaluation = make(truth)
    report = evaluation.first
    assert report.recall[1] == pytest.approx(5 / 6)
    assert report.best_rows.tolist() == [0, 1, 2, 3, 4, 2]
    assert (report.accepted.accepted, report.accepted.junk) == (0, 2)
    values = report.to_json()
    assert values['junk'] == 5
    assert values['map'] > make().first.mean_average_precision
    entry = report.per_query()[4]
    assert [each['reference'] for each in entry['candidates']] == [4, 5]
    assert (entry['match']['reference'], entry['match']['junk']) == (0, True)
    assert 'place 0, junk' in render(evaluation, [], Gallery())


def test_hardest_are_those_most_get_wrong_and_split_those_some_do(
    make: EvaluationMaker, source: FolderSource
) -> None:
    """Query 5 is wrong for all three, 4 for two, 3 for one."""
    evaluation = make()
    assert evaluation.wrong_counts.tolist() == [0, 0, 0, 1, 2, 3]
    found = image_pairs.fetch(evaluation, source, source)
    wrong, split = found.groups
    assert 'wrong on 2 queries.' in wrong.caption
    assert 'On 2 queries' in split.caption
    # Neighbours show the same place: one of each two is left out.
    assert [each.tiles[0].index for each in wrong.queries] == [5]
    first = wrong.queries[0]
    assert first.hidden == 0
    assert [(tile.kind, tile.index) for tile in first.tiles] == [
        ('query', 5), ('wrong', 0), ('wrong', 1), ('wrong', 2), ('solution', 5)]
    assert [(tile.kind, tile.index) for tile in split.queries[0].tiles] == [
        ('query', 4), ('wrong', 0), ('right', 4)]
    assert [tile.text for tile in split.queries[0].tiles[1:]] == [
        'place 0, wrong: <one> 0.900, two 0.900', 'place 4, right: three 0.900']
    assert set(found.queries) == {4, 5}
    assert {0, 1, 2, 4, 5} <= set(found.places)


def test_of_two_models_one_that_is_wrong_is_not_most(
    make: EvaluationMaker, source: FolderSource
) -> None:
    """Query 5 is wrong for both, 3 and 4 only where they differ."""
    evaluation = make(best={'a': [0, 1, 2, 3, 0, 1], 'b': [0, 1, 2, 0, 4, 2]})
    found = image_pairs.fetch(evaluation, source, source)
    wrong, split = found.groups
    assert 'On 2 queries' in split.caption
    assert [each.tiles[0].index for each in wrong.queries] == [5]
    text = render(evaluation, [], found)
    assert 'Both models are wrong on 1 query.' in text


def test_margin_is_how_sure_a_wrong_answer_is(make: EvaluationMaker) -> None:
    """The similarity it has above the best right place; nothing where it is right."""
    report = make().first
    margins = image_pairs.margin(report)
    assert margins[:4].tolist() == [0, 0, 0, 0]
    assert margins[4] == pytest.approx(
        report.measurement.similarities[4, 0] - report.measurement.similarities[4, 4])


def test_origin_says_what_is_not_from_now(make: EvaluationMaker) -> None:
    """A cached result, and one that goes on from an interrupted run."""
    report = make().first
    assert report.origin == 'now'
    cached = replace(report, observation=replace(report.observation, cached=True))
    assert cached.origin == 'earlier, 2026-01-01T00:00:00Z'
    measured = replace(report.measurement, recalled=5)
    partly = replace(report, observation=replace(report.observation, measurement=measured))
    assert partly.origin == 'now; 5 images described in an earlier run'


@pytest.mark.parametrize('best', [
    BEST,
    {'a': [0, 1, 2, 3, 4, 5], 'b': [0, 1, 2, 3, 4, 5]},
    {'a': [5, 0, 1, 2, 3, 4], 'b': [5, 0, 1, 2, 3, 4]},
    {str(number): [0, 1, 2, 3, 4, number % 6] for number in range(9)},
], ids=['mixed', 'all right', 'all wrong', 'nine models'])
def test_page_and_plots_of_every_case(
    best: dict[str, list[int]], make: EvaluationMaker, source: FolderSource
) -> None:
    """Nothing to show is said; names are text; pictures are not blank."""
    evaluation = make(best=best)
    gallery = image_pairs.fetch(evaluation, source, source)
    plots = evaluation_plots.draw(evaluation, gallery)
    text = render(evaluation, plots, gallery)
    assert len({plot.name for plot in plots}) == len(plots) == 6 + len(best)
    for plot in plots:
        assert plot.pixels.std() > 5
        assert len(plot.caption) > 60
    assert '<one>' not in text
    assert '<evaluate>' not in text
    assert text.count('<img') == text.count('data:image/')
    json.dumps(evaluation.to_json(), allow_nan=False)
