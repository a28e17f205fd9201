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

"""Every layout is recognised, opened and measured; what fits none is told what was expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest

from vpr_compressed.errors import DatasetError
from vpr_compressed.errors import GroundTruthError
from vpr_compressed.offline.datasets.layouts import LAYOUTS
from vpr_compressed.offline.datasets.layouts import open_dataset
from vpr_compressed.runtime.extractor import load_extractor

PLACES = tuple(range(0, 30, 5))
ELSEWHERE = tuple(range(100, 130, 5))
LANDMARK = {'image': 'hall_000002', 'box': (0.0, 0.0, 64.0, 48.0), 'good': ['hall_000002'],
            'ok': ['hall_000001'], 'junk': ['hall_000003']}


def write_oxford(root: Path) -> Path:
    """Write one query that has its own image, another one and junk."""
    return trees.write_oxford(
        root, {f'hall_{n:06d}': float(n) for n in range(1, 6)}, {'hall_1': LANDMARK})


WRITERS: dict[str, Callable[[Path], Path]] = {
    'utm': lambda root: trees.write_utm(root, PLACES, PLACES),
    'dbstruct': lambda root: trees.write_dbstruct(root, PLACES, PLACES),
    'msls': lambda root: trees.write_msls(
        trees.write_msls(root, PLACES, PLACES), ELSEWHERE, ELSEWHERE, 'sf'),
    'aligned': lambda root: trees.write_aligned(root, PLACES, PLACES),
    'oxford': write_oxford,
    'vprbench': lambda root: trees.write_vprbench(
        root, PLACES, PLACES, [[n] for n in range(len(PLACES))]),
    'csv': lambda root: trees.write_tables(root, PLACES, PLACES),
}


def test_every_layout_has_a_writer() -> None:
    """A new layout must not go without the tests below."""
    assert set(WRITERS) == set(LAYOUTS)


@pytest.mark.parametrize('layout', sorted(WRITERS))
def test_layout_is_recognised_and_measured(
    layout: str, tmp_path: Path, tiny_model_path: Path
) -> None:
    """From the files alone to rankings: the most similar image shows the right place."""
    found = open_dataset(WRITERS[layout](tmp_path / 'site'))
    assert found.layout == layout
    assert 'site' in found.name or layout == 'dbstruct'
    assert len(found.truth.positives) == len(found.query)
    assert found.truth.references == len(found.reference)
    extractor = load_extractor(tiny_model_path)
    reference, query = (
        np.array([extractor.describe(frame.load(at_least=(64, 48))) for frame in source])
        for source in (found.reference, found.query))
    best = np.argmax(query @ reference.T, axis=1)
    right = [row in rows for row, rows in zip(best, found.truth.positives)]
    assert np.mean(right) > 0.8


@pytest.mark.parametrize('layout', sorted(WRITERS))
def test_naming_the_layout_gives_the_same(layout: str, tmp_path: Path) -> None:
    """Nothing but the recognition is left out."""
    root = WRITERS[layout](tmp_path / 'site')
    one, other = open_dataset(root), open_dataset(root, layout=layout)
    assert (one.name, one.layout, one.truth) == (other.name, other.layout, other.truth)


@pytest.mark.parametrize('layout', sorted(WRITERS))
def test_missing_tree_says_what_was_expected(layout: str, tmp_path: Path) -> None:
    """An empty folder has none of them, and all are listed."""
    with pytest.raises(DatasetError, match=f'not a data set of the layout {layout}: it has no'):
        open_dataset(tmp_path, layout=layout)
    with pytest.raises(DatasetError, match=rf'(?s)not a data set of a known layout.*  {layout} '):
        open_dataset(tmp_path)


def test_tree_of_two_layouts_needs_a_choice(tmp_path: Path) -> None:
    """The error names both, and naming one works."""
    trees.write_utm(tmp_path, PLACES, PLACES)
    trees.write_tables(tmp_path, PLACES[:3], PLACES[:3])
    with pytest.raises(DatasetError, match=r'(?s)fits the layouts utm and csv.*  utm .*  csv '):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, layout='csv').query) == 3


def test_misspelt_layout_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    """As every name in this package."""
    with pytest.raises(DatasetError, match="no layout 'ofxord', did you mean 'oxford'"):
        open_dataset(tmp_path, layout='ofxord')


def test_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    """An archive has to be unpacked first."""
    with pytest.raises(DatasetError, match='does not exist'):
        open_dataset(tmp_path / 'missing')
    (tmp_path / 'a.mat').write_bytes(b'')
    with pytest.raises(DatasetError, match='is a file; give the folder'):
        open_dataset(tmp_path / 'a.mat')


@pytest.mark.parametrize(('layout', 'option', 'value'), [
    ('utm', 'tolerance_frames', 1), ('dbstruct', 'tolerance_frames', 1),
    ('msls', 'tolerance_frames', 1), ('aligned', 'radius_m', 5.0), ('oxford', 'radius_m', 5.0),
    ('oxford', 'split', 'test'), ('vprbench', 'radius_m', 5.0), ('csv', 'split', 'test'),
])
def test_option_without_a_meaning_is_refused(
    layout: str, option: str, value: float | str, tmp_path: Path
) -> None:
    """It must not look as if it had counted."""
    root = WRITERS[layout](tmp_path)
    with pytest.raises(DatasetError, match='to choose; leave it out'):
        open_dataset(root, layout=layout, **{option: value})


@pytest.mark.parametrize('layout', ['utm', 'dbstruct', 'msls', 'csv'])
@pytest.mark.parametrize('radius', [-1.0, 0.0, float('nan')])
def test_radius_must_be_positive(layout: str, radius: float, tmp_path: Path) -> None:
    """The same refusal as for two recordings."""
    with pytest.raises(GroundTruthError, match='positive'):
        open_dataset(WRITERS[layout](tmp_path), radius_m=radius)


@pytest.mark.data
def test_corridor_is_a_tree_of_vpr_bench(data_dir: Path) -> None:
    """Real images with their list of answers, and two walks of Gardens Point."""
    corridor = open_dataset(data_dir / 'corridor')
    assert (corridor.layout, len(corridor.query), corridor.truth.answerable) == (
        'vprbench', 111, 111)
    walks = open_dataset(
        data_dir / 'gardens_point', split='day_left/night_right', tolerance_frames=2)
    assert walks.truth.positives[5] == {3, 4, 5, 6, 7}
