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


"""Answers of the node are judged as a person would judge them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from matplotlib.figure import Figure
import numpy as np
import pytest

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import GroundTruthError
from vpr_compressed.errors import SourceError
from vpr_compressed.offline.demo.judged_answers import DemoResult
from vpr_compressed.offline.demo.judged_answers import JudgedAnswers
from vpr_compressed.offline.demo.judged_answers import NodeAnswers
from vpr_compressed.offline.demo.judged_answers import read_answers
from vpr_compressed.offline.demo.judged_answers import Track
from vpr_compressed.offline.demo.picture import draw_order
from vpr_compressed.offline.demo.picture import draw_route
from vpr_compressed.offline.demo.picture import examples
from vpr_compressed.offline.demo.picture import MARKS
from vpr_compressed.offline.demo.picture import montage
from vpr_compressed.offline.demo.picture import REASONS
from vpr_compressed.offline.demo.session import DemoConfig
from vpr_compressed.offline.demo.session import find_truth
from vpr_compressed.records import Status
from vpr_compressed.sources.answer_log import PlayedImage
from vpr_compressed.sources.answer_log import write_images

SECOND = 1_000_000_000


def track(positions_m: list[tuple[float, float]], start_s: int) -> Track:
    """Return a recording of one image a second."""
    stamps = (start_s + np.arange(len(positions_m))) * SECOND
    return Track(stamps.tolist(), np.array([(*xy, 0.0) for xy in positions_m], np.float64))


# Six mapped places, ten metres apart. The queries: at place 0 and 2, both accepted; at place 3,
# taken for 5; at place 4, withheld; far off the map, once withheld and once taken for place 1.
YES = Status.ACCEPTED
REFERENCE = track([(10.0 * i, 0.0) for i in range(6)], 100)
QUERY = track([(1, 1), (21, 1), (31, 1), (41, 1), (500, 0), (600, 0)], 900)
ANSWERS = NodeAnswers(
    statuses=(YES, YES, YES, Status.UNSURE, Status.UNKNOWN, YES),
    best=np.array([0, 2, 5, 4, -1, 1]),
    latency_ms=np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0]))


@pytest.fixture
def outcome() -> JudgedAnswers:
    """Return the hand-made example, judged by distance."""
    return judged(ANSWERS)


def judged(answers: NodeAnswers, **asked: Any) -> JudgedAnswers:
    """Return answers to the hand-made queries, judged as a user asks for, by distance if not."""
    truth = find_truth(DemoConfig(out=Path(), **asked), REFERENCE, QUERY)
    assert truth is not None
    return JudgedAnswers(answers, *truth)


def played(stamp_s: int, *rows: tuple[int, Status]) -> PlayedImage:
    """Return what the player notes for one image: seconds and status of the rows, none or all."""
    return PlayedImage(
        index=0, name='image', stamp_ns=stamp_s * SECOND, published_s=0.0,
        latency_ms=12.5 if rows else None, rows=[
            {'keyframe_id': number, 'stamp_sec': stamp, 'stamp_nanosec': 0, 'status': int(status)}
            for number, (stamp, status) in enumerate(rows)] if rows else None)


def test_each_query_ends_in_exactly_one_way(outcome: JudgedAnswers) -> None:
    """Right, wrong, missed and rightly withheld share the queries among them."""
    masks = {kind: outcome.mask(kind).tolist() for kind in MARKS}
    yes, no = True, False
    assert masks == {
        'right': [yes, yes, no, no, no, no], 'wrong': [no, no, yes, no, no, yes],
        'missed': [no, no, no, yes, no, no], 'unknown': [no, no, no, no, yes, no]}


def test_precision_and_recall_count_what_they_say(outcome: JudgedAnswers) -> None:
    """Two of four accepted are right; two of four known places were recognised."""
    assert outcome.matches.precision == pytest.approx(0.5)
    assert outcome.matches.recall == pytest.approx(0.5)
    assert outcome.recall_at_1 == pytest.approx(0.75)
    assert outcome.answers.latency_percentile_ms(50) == pytest.approx(35.0)


def test_demo_fails_for_each_reason_in_words(outcome: JudgedAnswers) -> None:
    """Wrong matches, too few matches and missing answers are three reasons."""
    assert outcome.failures() == [
        'precision 0.500 of the accepted matches is below 0.95']
    silent = replace(outcome, answers=replace(ANSWERS, statuses=(Status.STANDING,) * 6))
    assert silent.failures() == ['only 0% of the known places were recognised, 50% are wanted']
    deaf = replace(outcome, answers=replace(ANSWERS, statuses=(None,) * 6))
    assert '6 images got no answer' in deaf.failures()


def test_right_answers_alone_do_not_fail(outcome: JudgedAnswers) -> None:
    """Without the two wrong ones the demo holds."""
    statuses = tuple(YES if right else Status.UNSURE for right in outcome.mask('right'))
    assert replace(outcome, answers=replace(ANSWERS, statuses=statuses)).failures() == []


def test_table_says_what_came_out(outcome: JudgedAnswers) -> None:
    """With a truth and without; of no accepted match there is no precision."""
    def result(verdict: JudgedAnswers | None) -> DemoResult:
        answers = ANSWERS if verdict is None else verdict.answers
        return DemoResult(
            reference=REFERENCE, query=QUERY, answers=answers, judged=verdict, places=6,
            model_bytes=1_500_000, map_bytes=4096, node_bytes=200_000_000)

    rows = dict(result(outcome).rows())
    assert list(rows) == [
        'images', 'matches accepted', '  right', '  wrong', 'withheld', 'withheld, unknown',
        'precision', 'recall', 'recall@1', 'latency', 'model', 'map file', 'node memory']
    assert rows['  right'] == '2  (right within 8 m of where the image was taken)'
    assert rows['withheld'] == '1 of 4 places in the map: 1 not sure enough yet'
    assert rows['withheld, unknown'] == (
        '1 of 2 places the map does not have: 1 nothing known looks like this')
    assert (rows['precision'], rows['recall']) == ('50.0%', '50.0%')
    assert rows['recall@1'] == '75.0%, accepted or withheld'
    assert result(outcome).headline() == (
        '2 of 4 known places recognised, 2 wrong, 1 of 2 unknown ones withheld')
    silent = replace(outcome, answers=replace(ANSWERS, statuses=(Status.STANDING,) * 6))
    assert dict(result(silent).rows())['precision'] == 'none'
    assert result(None).headline() == '4 of 6 images matched'
    blind = dict(result(None).rows())
    assert '  right' not in blind
    assert blind['withheld'] == '2: 1 not sure enough yet, 1 nothing known looks like this'


def test_recordings_frame_by_frame_are_judged_by_their_index() -> None:
    """Place i is the answer to image i, within the tolerance."""
    accepted = replace(ANSWERS, statuses=(YES,) * 6)
    near = judged(accepted, tolerance_frames=1)
    assert near.mask('right').tolist() == [True, True, False, True, False, False]
    exact = judged(replace(accepted, best=np.arange(6)), tolerance_frames=0)
    assert exact.mask('right').all()
    assert exact.known.all()


def test_without_positions_nothing_is_judged() -> None:
    """A recording without poses has no truth, and asking for a verdict is an error."""
    blind = replace(QUERY, positions_m=None)
    assert find_truth(DemoConfig(out=Path()), REFERENCE, blind) is None
    with pytest.raises(ConfigError, match='needs a pose for every image'):
        find_truth(DemoConfig(out=Path(), radius_m=8.0), REFERENCE, blind)


def test_poses_of_two_frames_are_judged_only_when_asked_for() -> None:
    """Odometry starts anew in every recording, so its poses say nothing on their own."""
    far = replace(QUERY, positions_m=QUERY.positions_m + 1e4)
    assert find_truth(DemoConfig(out=Path()), REFERENCE, far) is None
    with pytest.raises(GroundTruthError, match='none of the 6 queries'):
        find_truth(DemoConfig(out=Path(), radius_m=8.0), REFERENCE, far)


def test_answers_find_their_place_by_the_stamp_of_its_image(tmp_path: Path) -> None:
    """The believed place is the first row; lines may be in any order."""
    query, path = Track(QUERY.stamps_ns[:3], None), tmp_path / 'a.jsonl'
    write_images(path, [
        played(902), played(900, (104, Status.ACCEPTED), (100, Status.CANDIDATE)),
        played(901, (103, Status.LOOK_ALIKE), (100, Status.CANDIDATE))])
    answers = read_answers(path, REFERENCE, query)
    assert answers.best.tolist() == [4, 3, -1]
    assert answers.statuses == (Status.ACCEPTED, Status.LOOK_ALIKE, None)
    assert answers.accepted.tolist() == [True, False, False]
    assert answers.answered.tolist() == [True, True, False]
    assert np.isnan(answers.latency_ms[2])


@pytest.mark.parametrize(('text', 'message'), [
    (None, 'cannot read the recording'),
    ('{"stamp_ns": 9000', 'is no recording of the player'),
    ('', 'is empty: the player was ended'),
])
def test_bad_recording_of_answers_is_refused(
    text: str | None, message: str, tmp_path: Path
) -> None:
    """A recording that is missing, cut off or of something else is no result."""
    path = tmp_path / 'answers.jsonl'
    if text is not None:
        path.write_text(text, encoding='utf-8')
    with pytest.raises(SourceError, match=message):
        read_answers(path, REFERENCE, QUERY)


def test_recording_of_other_images_is_refused(tmp_path: Path) -> None:
    """Its stamps are not those of the queries."""
    path = tmp_path / 'answers.jsonl'
    write_images(path, [played(1), played(900)])
    with pytest.raises(SourceError, match='no line for 5 of 6 images'):
        read_answers(path, REFERENCE, QUERY)


@pytest.mark.parametrize('town', [True, False])
def test_route_is_drawn_with_a_mark_of_the_colour_of_each_kind(
    town: bool, outcome: JudgedAnswers, tmp_path: Path
) -> None:
    """Right, wrong and each reason; the picture is of a sensible size."""
    near = track([(1, 1), (21, 1), (31, 1), (41, 1), (60, 30), (70, 36)], 0)
    path = tmp_path / 'route.png'
    draw_route(outcome, REFERENCE.positions_m, near.positions_m, path, title='Title', town=town)
    image = cv2.imread(str(path)).astype(int)
    assert image.shape[1] == 1080
    for colour in ('#0b66c3', '#e2570e', REASONS[Status.UNSURE], REASONS[Status.UNKNOWN]):
        blue, green, red = (int(colour[start:start + 2], 16) for start in (5, 3, 1))
        drawn = (np.abs(image - (blue, green, red)).sum(axis=2) < 20).sum()
        assert drawn > 100, colour


def test_every_reason_has_words_and_a_colour_of_its_own(
    outcome: JudgedAnswers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A legend in words says why; reasons that did not come up are left out."""
    said: list[list[str]] = []
    legend = Figure.legend
    monkeypatch.setattr(Figure, 'legend', lambda figure, marks, words, **options: (
        said.append(words), legend(figure, marks, words, **options))[1])
    withheld = [status for status in REASONS if status is not None]
    for status in withheld:
        answers = replace(ANSWERS, statuses=(*ANSWERS.statuses[:3], status, None, YES))
        draw_order(replace(outcome, answers=answers), answers, len(REFERENCE),
                   tmp_path / 'o.png', title='Title')
        assert said[-1] == [
            'accepted, right: 2', 'accepted, wrong: 2', f'withheld, in the map: {status.words}: 1',
            'withheld, off the map: no answer: 1']
    assert set(withheld) == set(Status) - {Status.CANDIDATE, Status.ACCEPTED}
    assert len({*REASONS.values(), '#0b66c3', '#e2570e'}) == len(REASONS) + 2


def test_order_is_drawn_with_and_without_a_truth(outcome: JudgedAnswers, tmp_path: Path) -> None:
    """Recordings without poses get a picture too, and the verdict changes it."""
    pictures = []
    for number, verdict in enumerate((outcome, None)):
        path = tmp_path / f'{number}.png'
        draw_order(verdict, ANSWERS, len(REFERENCE), path, title='Title')
        pictures.append(cv2.imread(str(path)))
    assert pictures[0].shape[1] == pictures[1].shape[1] == 1080
    assert pictures[0].shape != pictures[1].shape or (pictures[0] != pictures[1]).any()


def test_examples_are_right_matches(outcome: JudgedAnswers) -> None:
    """Only what was accepted and right is shown, each match once."""
    assert set(examples(outcome, 4)) <= {(0, 0), (2, 1)}
    assert examples(outcome, 4)
    none = replace(outcome, answers=replace(ANSWERS, statuses=(Status.STANDING,) * 6))
    assert examples(none, 4) == []


def test_montage_puts_the_second_run_below_the_first(tmp_path: Path) -> None:
    """Pairs of images share a column."""
    files = []
    for number, level in enumerate((200, 60)):
        files.append(tmp_path / f'{number}.png')
        cv2.imwrite(str(files[-1]), np.full((48, 64, 3), level, np.uint8))
    montage([files[0]] * 3, [files[1]] * 3, tmp_path / 'm.jpg', width=80)
    image = cv2.imread(str(tmp_path / 'm.jpg'))
    assert image.shape == (120, 240, 3)
    assert abs(int(image[30, 40, 0]) - 200) < 4
    assert abs(int(image[90, 200, 0]) - 60) < 4
