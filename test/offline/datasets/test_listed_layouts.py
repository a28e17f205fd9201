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

"""Layouts with listed answers: aligned folders, Oxford's lists and the tables of VPR-Bench."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import pickle
import shlex
import subprocess
import sys
from typing import Any

import dataset_trees as trees
import numpy as np
import pytest

from vpr_compressed.errors import DatasetError
from vpr_compressed.errors import GroundTruthError
from vpr_compressed.errors import SourceError
from vpr_compressed.offline.datasets import oxford
from vpr_compressed.offline.datasets.layouts import open_dataset
from vpr_compressed.offline.datasets.vprbench import read_object_array

IMAGES = {f'hall_{n:06d}': float(n) for n in range(6)}
QUERIES: dict[str, dict[str, Any]] = {
    'hall_1': {'image': 'hall_000002', 'box': (8.4, 3.6, 40.5, 30.0), 'good': ['hall_000002'],
               'ok': ['hall_000000', 'hall_000005'], 'junk': ['hall_000003']},
    'hall_2': {'image': 'hall_000004', 'box': (-5, -5, 999, 999), 'good': ['hall_000004']},
    'hall_10': {'image': 'hall_000000', 'box': (0, 0, 9, 9), 'ok': ['hall_000001']}}


@pytest.mark.parametrize('names', [
    ('ref', 'query'), ('reference', 'query'), ('summer', 'winter'), ('spring', 'winter')])
@pytest.mark.parametrize('tolerance', [None, 0, 2])
def test_aligned_folders(names: tuple[str, str], tolerance: int | None, tmp_path: Path) -> None:
    """Same index within one frame, if nothing else is asked for."""
    root = trees.write_aligned(tmp_path, range(6), range(6), names)
    found = open_dataset(root, tolerance_frames=tolerance)
    reach = 1 if tolerance is None else tolerance
    assert found.truth.positives == tuple(
        {row for row in range(6) if abs(row - query) <= reach} for query in range(6))
    assert (found.reference.path.name, found.query.path.name) == names


def test_aligned_folders_are_chosen_by_the_split(tmp_path: Path) -> None:
    """Reference first; any two folders will do."""
    for count, names in enumerate((('fall', 'winter'), ('spring', 'summer')), start=3):
        trees.write_aligned(tmp_path, range(count), range(count), names)
    assert len(open_dataset(tmp_path, split='summer/spring').reference) == 4
    with pytest.raises(DatasetError, match=r'summer holds 4 images and .*winter 3'):
        open_dataset(tmp_path)
    for split in ('summer', 'summer/', 'summer/rain', 'a/b/c'):
        with pytest.raises(DatasetError, match='REFERENCE/QUERY'):
            open_dataset(tmp_path, split=split, layout='aligned')


def test_aligned_folder_without_images_and_negative_tolerance_are_refused(
    tmp_path: Path
) -> None:
    """With the texts of folders and of two recordings."""
    root = trees.write_aligned(tmp_path, range(3), range(3))
    with pytest.raises(GroundTruthError, match='tolerance is -1 frames'):
        open_dataset(root, tolerance_frames=-1)
    for file in (root / 'winter').iterdir():
        file.unlink()
    with pytest.raises(SourceError, match='winter holds 0 entries but no image'):
        open_dataset(root)


def test_index_says_nothing_where_answers_are_listed(tmp_path: Path) -> None:
    """A tree of VPR-Bench is not taken for an aligned one, unless somebody insists."""
    rows = [[5], [4], [3], [2], [1], [0]]
    root = trees.write_vprbench(tmp_path, range(6), range(6), rows)
    assert open_dataset(root).truth.positives == tuple(map(set, rows))
    with pytest.raises(DatasetError, match='without answers or positions beside'):
        open_dataset(root, layout='aligned')
    forced = open_dataset(root, layout='aligned', split='ref/query', tolerance_frames=0)
    assert forced.truth.positives[0] == {0}


@pytest.mark.parametrize('prefix', ['oxc1_', ''])
def test_oxford_lists_give_answers_junk_and_boxes(prefix: str, tmp_path: Path) -> None:
    """Good and ok are right; queries in natural order; Paris has no prefix."""
    found = open_dataset(trees.write_oxford(tmp_path, IMAGES, QUERIES, prefix))
    assert [frame.name for frame in found.query] == ['hall_1', 'hall_2', 'hall_10']
    assert [frame.name for frame in found.reference] == sorted(IMAGES)
    assert found.truth.positives == ({0, 2, 5}, {4}, {1})
    assert found.truth.junk == ({3}, set(), set())
    whole = list(found.reference)[2].load()
    frames = list(found.query)
    np.testing.assert_array_equal(frames[0].load(), whole[4:30, 8:40])
    np.testing.assert_array_equal(frames[0].load(at_least=(4, 3)), whole[4:30, 8:40])
    assert frames[0].encoded is None, 'the file shows more than the query'
    np.testing.assert_array_equal(frames[1].load(), list(found.reference)[4].load())


def test_paris_lies_in_folders_and_has_files_that_are_no_images(tmp_path: Path) -> None:
    """Twenty files are web pages; they are left out, also of the lists."""
    assert len(oxford.CORRUPT) == 20
    queries = {'hall_1': {**QUERIES['hall_1'], 'junk': ['hall_000003', 'paris_louvre_000136']}}
    root = trees.write_oxford(tmp_path, IMAGES, queries)
    (root / 'oxbuild_images').rename(root / 'paris')
    (root / 'paris/louvre').mkdir()
    (root / 'paris/louvre/paris_louvre_000136.jpg').write_text('<html>302 Found</html>')
    (root / 'paris/hall_000000.jpg').rename(root / 'paris/louvre/hall_000000.jpg')
    found = open_dataset(root)
    assert len(found.reference) == len(IMAGES)
    names = [frame.name for frame in found.reference]
    assert {names[row] for row in found.truth.positives[0]} == {
        'hall_000000', 'hall_000002', 'hall_000005'}
    assert [names[row] for row in found.truth.junk[0]] == ['hall_000003']


@pytest.mark.parametrize(('name', 'text', 'message'), [
    ('hall_1_query.txt', '', 'needed is one line'),
    ('hall_1_query.txt', 'oxc1_hall_000002 1 2 3', 'left top right bottom'),
    ('hall_1_query.txt', 'oxc1_hall_000002 1 2 x 4', 'left top right bottom'),
    ('hall_1_query.txt', 'oxc1_hall_000002 1 2 nan 4', 'left top right bottom'),
    ('hall_1_query.txt', 'oxc1_hall_999999 1 2 3 4', r'names the image hall_999999, .*\.jpg'),
    ('hall_1_ok.txt', 'hall_888888\n', r'1 images that are not there, e\.g\. hall_888888'),
])
def test_damaged_oxford_list_is_refused(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    """The file and the image are named."""
    root = trees.write_oxford(tmp_path, IMAGES, QUERIES)
    (root / 'gt' / name).write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_dataset(root)


def test_oxford_names_what_it_lacks(tmp_path: Path) -> None:
    """A list, an image, all images."""
    root = trees.write_oxford(tmp_path, IMAGES, QUERIES)
    (root / 'gt/hall_2_junk.txt').unlink()
    with pytest.raises(DatasetError, match=r'hall_2_query\.txt has no hall_2_junk\.txt beside it'):
        open_dataset(root)
    (root / 'gt/hall_2_junk.txt').write_text('')
    (root / 'oxbuild_images/hall_000005.jpg').unlink()
    with pytest.raises(DatasetError, match=r'hall_1_ok\.txt names 1 images .*hall_000005\.jpg'):
        open_dataset(root)
    for file in (root / 'oxbuild_images').iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match='holds no image'):
        open_dataset(root)


def test_image_that_is_right_and_junk_or_there_twice_is_refused(tmp_path: Path) -> None:
    """Either would make the numbers depend on chance."""
    root = trees.write_oxford(tmp_path, IMAGES, QUERIES)
    trees.write_image(root / 'copy/hall_000001.jpg', 1)
    with pytest.raises(DatasetError, match='have the same name'):
        open_dataset(root)
    (root / 'copy/hall_000001.jpg').unlink()
    (root / 'gt/hall_1_junk.txt').write_text('hall_000005\n')
    with pytest.raises(GroundTruthError, match='right answers and its junk'):
        open_dataset(root)


def test_box_outside_of_the_image_is_refused(tmp_path: Path) -> None:
    """The image may have been made smaller."""
    queries = {'hall_1': {**QUERIES['hall_1'], 'box': (400, 300, 500, 400)}}
    found = open_dataset(trees.write_oxford(tmp_path, IMAGES, queries))
    with pytest.raises(SourceError, match=r'lies outside of .*hall_000002\.jpg, which has 64x48'):
        next(iter(found.query)).load()


def test_vprbench_answers_beyond_the_end_and_minus_one_are_nowhere(tmp_path: Path) -> None:
    """As in the published files of Gardens Point; nothing can match them."""
    rows = [[0, 1], [0, 1, 2], [-1], [2, 3, 4], [4, 5, 6]]
    root = trees.write_vprbench(tmp_path, range(5), range(5), rows)
    found = open_dataset(root)
    assert found.truth.positives == ({0, 1}, {0, 1, 2}, set(), {2, 3, 4}, {4})
    assert found.truth.description == 'file ground_truth_new.npy'


def test_vprbench_json_beside_the_table_wins(tmp_path: Path) -> None:
    """It is the same without pickle."""
    root = trees.write_vprbench(tmp_path, range(3), range(3), [[0], [1], [2]])
    (root / 'ground_truth.json').write_text('{"0": [2], "1": [1], "2": [0]}')
    assert open_dataset(root).truth.positives == ({2}, {1}, {0})
    (root / 'ground_truth_new.npy').unlink()
    assert open_dataset(root).layout == 'vprbench'


@pytest.mark.parametrize(('rows', 'message'), [
    ([[0], [1]], r'has the shape \(2, 2\), needed is \(3, 2\)'),
    ([[0], [1], [7, 8]], 'query 2 has only references above 2'),
])
def test_vprbench_table_of_other_images_is_refused(
    rows: list[list[int]], message: str, tmp_path: Path
) -> None:
    """Not cut to fit."""
    root = trees.write_vprbench(tmp_path, range(3), range(3), rows)
    with pytest.raises(DatasetError, match=message):
        open_dataset(root)


def test_vprbench_rows_in_another_order_are_refused(tmp_path: Path) -> None:
    """The first column must count the queries."""
    root = trees.write_vprbench(tmp_path, range(2), range(2), [[0], [1]])
    table = trees.object_array([[0], [1]])
    table[:, 0] = [1, 0]
    np.save(root / 'ground_truth_new.npy', table, allow_pickle=True)
    with pytest.raises(DatasetError, match='row 0 holds 1 and list, needed is the index 0'):
        open_dataset(root)


@pytest.mark.parametrize('core', ['core', '_core'])
@pytest.mark.parametrize('protocol', [2, 3, 4])
def test_pickled_table_is_read_as_numpy_reads_it(
    core: str, protocol: int, tmp_path: Path
) -> None:
    """From NumPy 1 and 2, which save with protocol 3 and 4; all that may stand for a list."""
    rows = [[3, 4], range(2, 5), (7,), np.arange(5, 9), np.array([1, 2], '>i4'), [], [10**6]]
    path = trees.write_pickle(
        tmp_path / 'table.npy', trees.array_pickle(rows, core, protocol), (len(rows), 2))
    shape, values = read_object_array(path)
    assert shape == (7, 2)
    assert values[::2] == list(range(7))
    assert values[1::2] == [[int(value) for value in row] for row in rows]
    table = trees.object_array(rows)
    table[0, 0] = np.int64(0)
    np.save(tmp_path / 'now.npy', table, allow_pickle=True)
    assert read_object_array(tmp_path / 'now.npy') == (shape, values)


def test_table_of_python_2_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    """The published tables are of this kind."""
    rows = [[0, 1], [-1], [70_000]]
    path = trees.write_pickle(tmp_path / 'table.npy', trees.python_2_pickle(rows), (3, 2))
    loaded = np.load(path, allow_pickle=True, encoding='latin1')
    assert read_object_array(path) == (loaded.shape, list(loaded.reshape(-1)))


class Evil:
    """Pickles to a call."""

    def __init__(self, call: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return the call."""
        return self.call


@pytest.mark.parametrize('protocol', [0, 2, 5])
@pytest.mark.parametrize('function', [os.system, exec, eval, getattr, np.load])
def test_program_in_a_table_does_not_run(
    function: Callable[..., Any], protocol: int, tmp_path: Path
) -> None:
    """It is refused by its name, also deep inside, and the way out is shown."""
    trace = tmp_path / 'trace'
    code = f'open({str(trace)!r}, "w")'
    argument = f'touch {shlex.quote(str(trace))}' if function is os.system else code
    data = pickle.dumps(trees.object_array([[Evil((function, (argument,)))]]), protocol=protocol)
    path = trees.write_pickle(tmp_path / 'evil.npy', data, (1, 2))
    with pytest.raises(DatasetError, match=r'(?s)it asks for .*\. Get the file again.*python -c'):
        read_object_array(path)
    assert not trace.exists()


@pytest.mark.parametrize('content', [
    b'', b'no array', b'\x93NUMPY\x01\x00', b'\x93NUMPY\x09\x00abc'])
def test_damaged_table_is_refused(content: bytes, tmp_path: Path) -> None:
    """Without a header that makes sense."""
    path = tmp_path / 'table.npy'
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r'table\.npy is no table of lists'):
        read_object_array(path)


def test_cut_off_table_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    """Every length but the whole one."""
    path = tmp_path / 'table.npy'
    trees.write_pickle(path, trees.python_2_pickle([[0], [1, 2]]), (2, 2))
    data = path.read_bytes()
    for length in range(0, len(data), 3):
        path.write_bytes(data[:length])
        with pytest.raises(DatasetError, match='is no table of lists'):
            read_object_array(path)


@pytest.mark.parametrize('rows', [[range(10**12)], [np.array([0.5])], [np.array(['a'])]])
def test_table_of_other_values_is_refused(rows: list[Any], tmp_path: Path) -> None:
    """An endless range would fill the memory."""
    path = trees.write_pickle(
        tmp_path / 'table.npy', trees.array_pickle(rows, 'core', 2), (1, 2))
    with pytest.raises(DatasetError, match='is no table of lists'):
        read_object_array(path)


def test_numbers_instead_of_lists_and_a_wrong_shape_are_refused(tmp_path: Path) -> None:
    """A plain array is no table of VPR-Bench."""
    np.save(tmp_path / 'table.npy', np.zeros((3, 2)))
    with pytest.raises(DatasetError, match='it holds float64, not lists'):
        read_object_array(tmp_path / 'table.npy')
    trees.write_pickle(tmp_path / 'table.npy', trees.python_2_pickle([[0]]), (9, 2))
    with pytest.raises(DatasetError, match=r'its header says \(9, 2\), it holds 2 values'):
        read_object_array(tmp_path / 'table.npy')


def test_conversion_that_the_error_shows_works(tmp_path: Path) -> None:
    """It is run as shown, on a table that this reader takes for damaged."""
    rows = [[0], [1, 2]]
    table = trees.write_pickle(
        tmp_path / 'ground_truth_new.npy', trees.python_2_pickle(rows), (3, 2))
    with pytest.raises(DatasetError) as caught:
        read_object_array(table)
    np.save(table, trees.object_array(rows), allow_pickle=True)
    command = str(caught.value).rpartition('\n')[2].strip()
    assert command.startswith('python -c ')
    subprocess.run(
        [sys.executable, *shlex.split(command)[1:]], cwd=tmp_path, check=True, timeout=60)
    assert json.loads((tmp_path / 'ground_truth.json').read_text()) == {'0': [0], '1': [1, 2]}
