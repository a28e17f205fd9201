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

"""Right answers by index, by position and from a file; wrong ones are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpr_compressed.errors import GroundTruthError
from vpr_compressed.offline.accuracy import ground_truth
from vpr_compressed.sources import open_source


def test_tolerance_is_cut_off_at_both_ends() -> None:
    """Five queries, three places, one frame of tolerance: the last query has no answer."""
    truth = ground_truth.from_tolerance(5, 3, 1)
    assert truth.positives == ({0, 1}, {0, 1, 2}, {1, 2}, {2}, set())
    assert truth.answerable == 4
    assert '1 frames' in truth.description


def test_matrix_shows_the_same_answers() -> None:
    """One row per query."""
    truth = ground_truth.from_tolerance(2, 3, 0)
    np.testing.assert_array_equal(
        truth.matrix(), [[True, False, False], [False, True, False]])


def test_radius_is_a_distance_in_space_and_includes_its_border() -> None:
    """Three, four, five: exactly five metres away; another floor is another place."""
    queries = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 6.0]])
    truth = ground_truth.from_positions(queries, np.zeros((1, 3)), 5.0)
    assert truth.positives == ({0}, set())
    assert truth.description == 'within 5 m'


@pytest.mark.parametrize('radius', [0.5, 7.0, 300.0, float('inf')])
def test_radius_finds_what_a_look_at_every_pair_finds(
    radius: float, rng: np.random.Generator
) -> None:
    """Coordinates as large as those of UTM, many of them on one line and some of them equal."""
    references = np.round(rng.uniform(0, 500, (200, 3))) + np.array([5e5, 5e6, 0.0])
    references[50:100, 0] = 500_250.0
    queries = np.concatenate((references[::9], references[::9] + rng.normal(0, 3, (23, 3))))
    truth = ground_truth.from_positions(queries, references, radius)
    assert truth.positives == tuple(
        {row for row, place in enumerate(references) if np.linalg.norm(place - query) <= radius}
        for query in queries)


@pytest.mark.parametrize('radius', [0.0, -1.0, float('nan')])
def test_radius_must_be_positive(radius: float) -> None:
    """A radius of NaN would silently make every query unanswerable."""
    with pytest.raises(GroundTruthError, match='positive'):
        ground_truth.from_positions(np.zeros((1, 3)), np.zeros((1, 3)), radius)


def test_negative_tolerance_is_refused() -> None:
    """It would make every query unanswerable."""
    with pytest.raises(GroundTruthError, match='tolerance'):
        ground_truth.from_tolerance(3, 3, -1)


def test_truth_without_any_answer_is_refused() -> None:
    """Recordings of two different sites."""
    with pytest.raises(GroundTruthError, match='none of the 1 queries'):
        ground_truth.from_positions(np.array([[99.0, 0, 0]]), np.zeros((1, 3)), 5.0)


def test_positions_come_from_the_poses_file(tmp_path: Path) -> None:
    """Images are not decoded for it: these are none."""
    for name in ('a.jpg', 'b.jpg'):
        (tmp_path / name).write_bytes(b'not read')
    (tmp_path / 'poses.csv').write_text('name,x_m,y_m\na.jpg,1,2\nb.jpg,3,4\n')
    np.testing.assert_array_equal(
        ground_truth.positions_of(open_source(tmp_path)), [[1, 2, 0], [3, 4, 0]])


def test_images_without_position_are_refused(tmp_path: Path) -> None:
    """The remedy for a folder is a poses.csv."""
    (tmp_path / 'a.jpg').write_bytes(b'not read')
    with pytest.raises(GroundTruthError, match=r'1 of 1 images .* no pose.*poses.csv'):
        ground_truth.positions_of(open_source(tmp_path))


def test_file_maps_query_to_references(tmp_path: Path) -> None:
    """A query that is left out or has an empty list has no answer."""
    path = tmp_path / 'truth.json'
    path.write_text('{"0": [1, 2], "2": []}')
    truth = ground_truth.from_file(path, 4, 3)
    assert truth.positives == ({1, 2}, set(), set(), set())
    assert truth.description == 'file truth.json'


@pytest.mark.parametrize(('text', 'message'), [
    ('', 'not JSON'),
    ('{"0": [0]', 'not JSON'),
    ('[[0], [1]]', 'one object'),
    ('{}', 'one object'),
    ('{"0": 1}', 'list of indices from 0 to 2'),
    ('{"0": "01"}', 'list of indices'),
    ('{"0": [0.5]}', 'list of indices'),
    ('{"0": [true]}', 'list of indices'),
    ('{"0": [3]}', 'other images'),
    ('{"0": [-1]}', 'other images'),
    ('{"4": [0]}', "query '4', there are the queries 0 to 3"),
    ('{"image0.jpg": [0]}', "query 'image0.jpg'"),
    ('{"0": []}', 'none of the 4 queries'),
    ('{"0": [1], "2": [0, -1]}', r"query '2' has \[0, -1\]"),
    ('{"0": [1.0]}', 'list of indices'),
    ('{"0": [[1]]}', 'list of indices'),
    ('{"0": {"1": 2}}', 'list of indices'),
    ('{"0": [1], "0": [2]}', "'0' stands there twice"),
    ('{"1": [1], "01": [2]}', "query '01', a second time"),
    ('{"-1": [1]}', "query '-1'"),
])
def test_wrong_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """Neither guessed nor half used."""
    path = tmp_path / 'truth.json'
    path.write_text(text)
    with pytest.raises(GroundTruthError, match=message):
        ground_truth.from_file(path, 4, 3)


def test_a_reference_named_twice_counts_once(tmp_path: Path) -> None:
    """It is one right answer."""
    path = tmp_path / 'truth.json'
    path.write_text('{"1": [2, 2, 0]}')
    assert ground_truth.from_file(path, 2, 3).positives == (set(), {0, 2})


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """With the reason of the system."""
    with pytest.raises(GroundTruthError, match='No such file'):
        ground_truth.from_file(tmp_path / 'truth.json', 4, 3)


def test_truth_of_other_references_is_refused() -> None:
    """Made by hand with an index beyond the end, or before the start."""
    with pytest.raises(GroundTruthError, match='names reference 7'):
        ground_truth.GroundTruth((frozenset({7}),), 3, 'by hand')
    with pytest.raises(GroundTruthError, match='names reference 3'):
        ground_truth.GroundTruth((frozenset({2, 3}),), 3, 'by hand')
    with pytest.raises(GroundTruthError, match='names reference -1'):
        ground_truth.GroundTruth((frozenset({0}), frozenset({-1, 2})), 3, 'by hand')
    with pytest.raises(GroundTruthError, match='names reference 4'):
        ground_truth.GroundTruth((frozenset({0}),), 3, 'by hand', (frozenset({4}),))


@pytest.mark.parametrize(('junk', 'message'), [
    ((frozenset({0}),), '1 have junk'),
    ((frozenset({1}), frozenset()), 'query 0 has the same reference'),
])
def test_junk_is_a_list_for_each_query_apart_from_the_right_ones(
    junk: tuple[frozenset[int], ...], message: str
) -> None:
    """An image cannot count as right and be left out."""
    with pytest.raises(GroundTruthError, match=message):
        ground_truth.GroundTruth((frozenset({1}), frozenset({0})), 3, 'by hand', junk)


def test_neighbours_of_listed_answers_can_be_right_too(tmp_path: Path) -> None:
    """Cut off at both ends."""
    path = tmp_path / 'truth.json'
    path.write_text('{"0": [0, 6], "1": [3]}')
    truth = ground_truth.from_file(path, 3, 8, tolerance_frames=2)
    assert truth.positives == ({0, 1, 2, 4, 5, 6, 7}, {1, 2, 3, 4, 5}, set())
    assert truth.description == 'file truth.json within 2 frames'
    with pytest.raises(GroundTruthError, match='tolerance is -1'):
        ground_truth.from_file(path, 3, 8, tolerance_frames=-1)


def test_truth_follows_a_replay_and_a_smaller_map() -> None:
    """Repeated and left out queries; one loses all its answers and is to be withheld."""
    junk = (frozenset({4}), frozenset[int](), frozenset[int]())
    whole = ground_truth.GroundTruth(
        (frozenset({0, 1}), frozenset({2}), frozenset({3, 4})), 5, 'listed', junk)
    found = whole.replayed([2, 2, 1, 0], {2, 4}, 'backwards')
    assert found.positives == ({3}, {3}, set(), {0, 1})
    assert found.junk == (set(), set(), set(), set())
    assert (found.answerable, found.references) == (3, 5)
    assert found.description == 'listed; backwards'
    assert whole.replayed([0, 1, 2], set(), '') == whole
    with pytest.raises(GroundTruthError, match='none of the 1 queries has a right answer'):
        whole.replayed([1], {2}, '')
    with pytest.raises(GroundTruthError, match='it belongs to other images'):
        whole.replayed([3], set(), '')


def test_the_past_of_a_recording_is_what_was_shown_long_enough_before() -> None:
    """Places A B C A B, one second each; whoever lists a pair lists it both ways."""
    same = ground_truth.GroundTruth(
        (frozenset({3}), frozenset[int](), frozenset[int](), frozenset[int](), frozenset({1})),
        5, 'listed', may_be_empty=True)
    stamps = [second * 10**9 for second in range(5)]
    found = same.of_past(range(5), stamps, 2 * 10**9)
    assert found.positives == (set(), set(), set(), {0}, {1})
    assert found.description == 'listed, seen more than 2 s before'
    # Exactly as long ago is not long enough, as in the search of the map.
    assert same.of_past(range(5), stamps, 3 * 10**9).answerable == 0
    # Backwards B A C B A: again the second one has seen the first.
    again = same.of_past([4, 3, 2, 1, 0], stamps, 2 * 10**9)
    assert again.positives == (set(), set(), set(), {0}, {1})
    # Held for two images each, a place is right in both of its images.
    held = ground_truth.GroundTruth(
        (frozenset({0}), frozenset({1})), 2, 'x').of_past([0, 0, 1, 0], stamps[:4], 10**9)
    assert held.positives == (set(), set(), set(), {0, 1})
