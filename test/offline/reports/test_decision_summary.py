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

"""The decision in the report: figures by hand, replayed truth, revisits and warnings."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_compressed.offline.accuracy.decisions import Outcome
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
from vpr_compressed.offline.reports import image_pairs
from vpr_compressed.offline.reports.evaluation import Evaluation
from vpr_compressed.offline.reports.evaluation import Report
from vpr_compressed.offline.reports.evaluation import summarise
from vpr_compressed.offline.reports.evaluation_report import headline
from vpr_compressed.offline.reports.revisits_report import find_revisits
from vpr_compressed.offline.reports.revisits_report import headline as revisits_headline
from vpr_compressed.offline.reports.revisits_report import Revisit
from vpr_compressed.offline.reports.revisits_report import RevisitReport
from vpr_compressed.offline.reports.revisits_report import summarise_revisits
from vpr_compressed.offline.reports.revisits_report import to_json
from vpr_compressed.recognizer import RecognizerConfig
from vpr_compressed.records import Status
from vpr_compressed.sources import FolderSource

PLACES = 4
MODEL = EvaluatedModel(
    label='tiny', name='tiny', path=Path('tiny.vpr'), sha256='f' * 64, file_bytes=5,
    descriptor_id='feed', dimension=16, precision='int8', parameters=100, multiply_adds=2_000,
    engine='onnxruntime', threads=2)


def query(index: int, believed: int | None, status: Status) -> QueryResult:
    """Return the record of one image."""
    return QueryResult(
        index=index, name=f'{index}.png', stamp_ns=0, status=int(status), decided_row=believed,
        decided_similarity=None if believed is None else 0.9, confidence=0.25,
        reason=status.words, evidence={'odd': float('nan')}, inference_ms=1.0, search_ms=1.0)


def seen(queries: list[QueryResult], **more: object) -> Observation:
    """Return an observation in which what is believed is what looks most alike."""
    best = [0 if each.decided_row is None else each.decided_row for each in queries]
    numbered = tuple(
        replace(each, stamp_ns=number * 10**9) for number, each in enumerate(queries))
    places = max(PLACES, len(queries))
    return Observation(
        measurement=RecognitionRun(
            queries=numbered, rows=np.array(best)[:, np.newaxis],
            similarities=np.full((len(best), 1), 0.9), places=places,
            reference_names=tuple(f'{n}.png' for n in range(places)),
            reference_sha256='0' * 64, query_sha256='1' * 64, bytes_per_place=24.0,
            resident_bytes=100, **more),  # type: ignore[arg-type]
        load_s=0.5, model_resident_bytes=30, measured='2026-01-01T00:00:00Z', others_cores=0.5)


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    """Return four images, each of another grey."""
    for number in range(PLACES):
        cv2.imwrite(str(tmp_path / f'{number}.png'), np.full((30, 40, 3), 40 * number, np.uint8))
    return FolderSource(tmp_path)


def report(found: Observation, source: FolderSource, trial: Trial | None = None) -> Report:
    """Summarise; image i shows place i."""
    return summarise(found, from_tolerance(PLACES, PLACES, 0), MODEL, source, source,
                     command='evaluate', trial=trial)


def test_cold_starts_are_judged_by_the_image_that_was_accepted(source: FolderSource) -> None:
    """The third image from image 1 on is image 3."""
    found = report(seen(
        [query(number, number, Status.UNSURE) for number in range(PLACES)], cold_starts=(
            ColdStart(start=1, images=3, match_row=3), ColdStart(start=0, images=2, match_row=3),
            ColdStart(start=2, images=None, match_row=None))), source)
    first = found.decision.first
    assert [each.right for each in first.starts] == [True, False, None]
    assert first.median == 3.0
    assert first.limit == 100


def test_what_was_withheld_rightly_is_told_apart(source: FolderSource) -> None:
    """Place 3 is not in the map."""
    found = report(seen([
        query(0, 0, Status.ACCEPTED), query(1, 1, Status.UNSURE), query(2, 1, Status.ACCEPTED),
        query(3, 2, Status.UNKNOWN)]), source, Trial(replay=Replay(cut=((3, 4),))))
    assert found.outcomes == (
        Outcome.RIGHT, Outcome.WITHHELD, Outcome.WRONG, Outcome.UNKNOWN)
    assert [found.verdict(number) for number in range(4)] == ['right', None, 'wrong', None]
    assert found.decision.scores.filtered_recall == pytest.approx(2 / 3)
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values['decision']['statuses'] == {
        'place accepted': 2, 'not sure enough yet': 1, 'nothing known looks like this': 1}
    entry = found.per_query()[3]
    assert entry['outcome'] == 'unknown, rightly withheld'
    assert entry['decision']['evidence'] == {'odd': None}, 'NaN is no JSON'


def test_unknown_walks_are_counted_apart(source: FolderSource) -> None:
    """One of two."""
    found = report(seen(
        [query(number, number, Status.ACCEPTED) for number in range(PLACES)], unknown=(
            UnknownWalk(source='a tower', queries=(
                query(0, 2, Status.ACCEPTED), query(1, 1, Status.UNSURE))),)), source)
    unknown, = found.to_json()['decision']['unknown']
    assert (unknown['source'], unknown['images'], unknown['accepted']) == ('a tower', 2, 1)
    assert found.accepted.accepted == PLACES


@pytest.mark.parametrize(('accepted', 'right', 'warned'), [
    (0, 10, True), (1, 20, True), (2, 20, False), (0, 15, False)])
def test_a_warning_where_places_are_found_and_not_told(
    accepted: int, right: int, warned: bool, source: FolderSource
) -> None:
    """From 80 % found on, at most 5 % of them told; with the most frequent reason."""
    total = max(right, 20) if accepted or right == 15 else 10
    queries = [query(0, 0, Status.ACCEPTED)] * accepted + [
        query(0, 0, Status.LOOK_ALIKE)] * (right - accepted) + [
        query(0, 1, Status.UNSURE)] * (total - right)
    found = report(seen(queries), source)
    text = headline(Evaluation([found]))
    assert (found.warning is not None) == ('WARNING, tiny: ' in text) == warned
    if found.warning:
        for words in (f'({right - accepted} images): two places look alike', '--min-precision',
                      'now 0.99', 'vpr_compressed calibrate'):
            assert words in found.warning
    assert found.to_json()['warning'] == found.warning


def test_pictures_of_a_replay_are_those_of_its_recording(source: FolderSource) -> None:
    """Backwards and held: the first image shown is the last of the recording."""
    order = [3, 3, 2, 1]
    found = report(seen([query(index, index, Status.UNSURE) for index in order]), source,
                   Trial(replay=Replay(reverse=True, speed=0.5)))
    assert found.best_right.all()
    gallery = image_pairs.fetch(Evaluation([found]), source, source)
    tiles = [each.tiles for each in gallery.groups[0].queries]
    assert tiles
    for asked, place in tiles:
        assert asked.index == place.index
        assert asked.text == f'query {asked.index}: {asked.index}.png'
        np.testing.assert_allclose(gallery.image(asked), 40 * asked.index, atol=1)


def test_revisits_are_stretches_with_their_first_right_closure() -> None:
    """One is closed at its third image, one wrongly, one at once and at the very end."""
    known, none = {0}, set[int]()
    positives = [none, known, known, known, none, known, none, known]
    outcomes = [Outcome.UNKNOWN, Outcome.WITHHELD, Outcome.WRONG, Outcome.RIGHT, Outcome.WRONG,
                Outcome.WRONG, Outcome.UNKNOWN, Outcome.RIGHT]
    stamps = [number * 500_000_000 for number in range(8)]
    assert find_revisits(positives, outcomes, stamps) == [
        Revisit(start=1, images=3, delay_images=3, delay_s=1.0),
        Revisit(start=5, images=1, delay_images=None, delay_s=None),
        Revisit(start=7, images=1, delay_images=1, delay_s=0.0)]
    assert find_revisits([none] * 2, [Outcome.UNKNOWN] * 2, stamps[:2]) == []


def in_its_own_past(
    queries: list[QueryResult], same: GroundTruth, source: FolderSource
) -> RevisitReport:
    """Summarise a walk whose last second is not searched."""
    return summarise_revisits(
        seen(queries), same, MODEL, Trial(
            revisits=True, recognizer=RecognizerConfig(exclude_recent_s=1.0)), source,
        command='evaluate')


def test_closures_are_judged_by_the_past(source: FolderSource) -> None:
    """Places A B C A: only the last image shows what was seen before."""
    same = GroundTruth((frozenset({3}), *[frozenset[int]()] * 3), 4, 'listed', may_be_empty=True)
    queries = [
        query(0, None, Status.EMPTY_MAP), query(1, None, Status.EMPTY_MAP),
        query(2, 0, Status.ACCEPTED), query(3, 0, Status.ACCEPTED)]
    found = in_its_own_past(queries, same, source)
    assert found.outcomes == (
        Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.WRONG, Outcome.RIGHT)
    assert found.revisits == (Revisit(start=3, images=1, delay_images=1, delay_s=0.0),)
    assert found.right_first == 1.0
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (values['closures'], values['wrong_closures'], values['revisiting_images']) == (2, 1, 1)
    assert found.warning is None


def test_loops_that_are_not_closed_raise_a_warning(source: FolderSource) -> None:
    """But not where there is no loop."""
    same = GroundTruth((frozenset({3}), *[frozenset[int]()] * 3), 4, 'listed')
    none = GroundTruth((frozenset[int](),) * 4, 4, 'listed', may_be_empty=True)
    queries = [query(number, 0, Status.UNSURE) for number in range(4)]
    found = in_its_own_past(queries, same, source)
    assert found.warning is not None
    assert 'no loop was closed, though 1 images' in found.warning
    assert f'WARNING, tiny: {found.warning}' in revisits_headline([found])
    quiet = in_its_own_past(queries, none, source)
    assert quiet.warning is None
    assert quiet.right_first is None
    unasked = in_its_own_past([query(0, None, Status.EMPTY_MAP)] * 4, none, source)
    assert unasked.warning is not None
    assert unasked.warning.startswith('nothing was searched')
    assert '1 s before an image' in unasked.warning


def test_several_models_share_the_list_of_images(source: FolderSource) -> None:
    """The first stands at the top, what the others decided beside it."""
    none = GroundTruth((frozenset[int](),) * 2, 2, 'listed', may_be_empty=True)
    first, second = (in_its_own_past(
        [query(0, None, Status.EMPTY_MAP), query(1, 0, status)], none, source)
        for status in (Status.UNSURE, Status.ACCEPTED))
    values = json.loads(json.dumps(to_json([first, second]), allow_nan=False))
    assert [each['closures'] for each in values['models']] == [0, 1]
    assert values['closures'] == 0
    entry = values['per_image'][1]
    assert entry['outcome'] == 'unknown, rightly withheld'
    assert [other['outcome'] for other in entry['others']] == ['wrong']
    assert all('per_image' not in each for each in values['models'])
