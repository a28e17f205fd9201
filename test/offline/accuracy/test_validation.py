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

"""Validation during training: hand-made descriptors, hand-computed answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import json
from pathlib import Path

import numpy as np
import pytest

from vpr_compressed.errors import GroundTruthError
from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.validation import check_disjoint
from vpr_compressed.offline.accuracy.validation import measure_recall
from vpr_compressed.offline.accuracy.validation import positions_set
from vpr_compressed.offline.accuracy.validation import walks_set


def _street(folder: Path) -> list[Path]:
    """Return images of four places at 0, 10, 40 and 500 m, heading 0, and one of heading 1."""
    rows = ['pano,x_m,y_m,split', 'a,0,0,val', 'b,10,0,val', 'c,40,0,val', 'd,500,0,val',
            'e,0,0,train']
    (folder / 'places.csv').write_text('\n'.join(rows), encoding='utf-8')
    return [folder / name for name in ('a_0.jpg', 'b_0.jpg', 'c_0.jpg', 'd_0.jpg', 'b_1.jpg',
                                       'e_0.jpg')]


def test_positions_decide_what_is_right_and_barred(tmp_path: Path) -> None:
    """Right: same heading within 12 m, not itself. Split obeyed."""
    found = positions_set(
        _street(tmp_path), tmp_path / 'places.csv', name='s', split='val', radius_m=12.0)
    assert [path.stem for path in found.queries] == ['a_0', 'b_0', 'c_0', 'd_0', 'b_1']
    assert np.argwhere(found.right).tolist() == [[0, 1], [1, 0]]
    assert np.array_equal(found.barred, np.eye(5, dtype=bool))


def test_recall_counts_answerable_queries(tmp_path: Path) -> None:
    """Over the two that have a right answer; what two sets share is described once."""
    item = positions_set(
        _street(tmp_path), tmp_path / 'places.csv', name='s', split='val', radius_m=12.0)
    angles = np.radians([0.0, 10.0, 12.0, 80.0, 60.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    asked = []

    def describe(paths: Sequence[Path], change: str) -> np.ndarray:
        asked.append(change)
        return vectors

    # a -> b is right; b -> c, c -> b, b_1 -> d and d -> b_1 are wrong.
    assert measure_recall([item, replace(item, name='t')], describe) == {'s': 0.5, 't': 0.5}
    assert asked == ['']


def test_walks_follow_the_ground_truth_file(tmp_path: Path) -> None:
    """Right answers come from the file."""
    truth = tmp_path / 'truth.json'
    truth.write_text(json.dumps({'0': [1], '1': []}), encoding='utf-8')
    paths = [tmp_path / f'{n}.jpg' for n in range(5)]
    found = walks_set(paths[:2], paths, truth, name='w')
    assert found.right.tolist() == [[False, True, False, False, False], [False] * 5]
    truth.write_text('{"7": [1]}', encoding='utf-8')
    with pytest.raises(GroundTruthError, match='does not fit'):
        walks_set(paths[:2], paths, truth, name='w')


@pytest.mark.parametrize('text', [
    '{"0": [-1]}', '{"0": [5]}', '{"-1": [0]}', '{"0": [1.0]}', '{"0": 1}', '{"0": [0], "0": [1]}',
])
def test_walks_are_read_as_strictly_as_by_the_evaluation(text: str, tmp_path: Path) -> None:
    """An index of -1 once meant the last image here, and nothing at all there."""
    truth = tmp_path / 'truth.json'
    truth.write_text(text, encoding='utf-8')
    paths = [tmp_path / f'{n}.jpg' for n in range(5)]
    with pytest.raises(GroundTruthError, match=r'truth\.json'):
        walks_set(paths[:2], paths, truth, name='w')


def test_missing_tables_and_shared_images_are_refused(tmp_path: Path) -> None:
    """Each mistake is named with the file."""
    images = _street(tmp_path)
    with pytest.raises(GroundTruthError, match=r'nowhere\.csv'):
        positions_set(images, tmp_path / 'nowhere.csv', name='s', split='', radius_m=1)
    with pytest.raises(GroundTruthError, match='places none'):
        positions_set(images, tmp_path / 'places.csv', name='s', split='test', radius_m=1)
    item = positions_set(images, tmp_path / 'places.csv', name='s', split='val', radius_m=1)
    check_disjoint([item], images[5:])
    with pytest.raises(VprError, match='shares 1 images'):
        check_disjoint([item], images[3:4])
