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

"""Layouts with positions: names, MATLAB structures, Mapillary's tables and plain ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import sys
from typing import Any

import dataset_trees as trees
import numpy as np
import pytest

from vpr_compressed.errors import DatasetError
from vpr_compressed.errors import GroundTruthError
from vpr_compressed.errors import SourceError
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.layouts import open_dataset

REFERENCE = (0, 1, 2, 5, 6, 9.5, 30, 31)
QUERY = (0.4, 3.6, 9, 30.5, 200, 2.5)


def names(dataset: Dataset) -> tuple[list[str], list[str]]:
    """Return the names of references and queries."""
    return ([frame.name for frame in dataset.reference], [frame.name for frame in dataset.query])


@pytest.mark.parametrize('folder', ['images/test', 'test', '', 'images/val'])
@pytest.mark.parametrize('radius_m', [None, 25.0, 12.0, 5.0])
def test_utm_names_give_the_positions(
    folder: str, radius_m: float | None, tmp_path: Path
) -> None:
    """Also without the folder images, without splits, and with only one split."""
    root = trees.write_utm(tmp_path, REFERENCE, QUERY, folder)
    (root / folder / 'database' / '._@1@2@.jpg').write_bytes(b'left by macOS')
    found = open_dataset(root, radius_m=radius_m)
    order = [np.argsort([trees.position(p)[0] for p in places]) for places in (REFERENCE, QUERY)]
    reference, query = ([places[i] for i in rows]
                        for places, rows in zip((REFERENCE, QUERY), order))
    assert found.truth.positives == trees.near(query, reference, radius_m or 25.0)
    assert found.truth.description == f'within {radius_m or 25:g} m'
    pose = next(iter(found.query)).pose
    assert pose is not None
    assert pose.position_m == (*trees.position(query[0]), 0.0)


def test_utm_split_is_chosen(tmp_path: Path) -> None:
    """Test is what is reported; the others have to be named."""
    for number, split in enumerate(('train', 'val', 'test')):
        trees.write_utm(tmp_path, REFERENCE[:number + 2], REFERENCE[:2], f'images/{split}')
    assert [len(open_dataset(tmp_path, split=split).reference)
            for split in (None, 'train', 'val', 'test')] == [4, 2, 3, 4]
    with pytest.raises(DatasetError, match="splits test, train, val; there is no split 'tset'"):
        open_dataset(tmp_path, split='tset')


def test_utm_splits_without_test_need_a_choice(tmp_path: Path) -> None:
    """Neither is the usual one."""
    for split in ('train', 'val'):
        trees.write_utm(tmp_path, REFERENCE, QUERY, f'images/{split}')
    with pytest.raises(DatasetError, match='none is named, choose'):
        open_dataset(tmp_path)


@pytest.mark.parametrize('name', ['a.jpg', '@1.jpg', '@a@2@.jpg', '@nan@1@.jpg', '@@@.jpg'])
def test_name_without_a_position_is_refused(name: str, tmp_path: Path) -> None:
    """Neither left out nor put at zero."""
    root = trees.write_utm(tmp_path, REFERENCE, QUERY)
    trees.write_image(root / 'images/test/queries' / name, 1)
    with pytest.raises(DatasetError, match='has no UTM position, needed is @UTM_EAST@UTM_NORTH@'):
        open_dataset(root)


def test_empty_utm_folder_is_refused(tmp_path: Path) -> None:
    """An archive that was not unpacked leaves one."""
    root = trees.write_utm(tmp_path, REFERENCE, ())
    (root / 'images/test/queries').mkdir()
    with pytest.raises(DatasetError, match=r'queries holds no image .* not unpacked'):
        open_dataset(root)


def test_places_far_apart_are_refused(tmp_path: Path) -> None:
    """Nothing can be right."""
    with pytest.raises(GroundTruthError, match='none of the 1 queries has a right answer'):
        open_dataset(trees.write_utm(tmp_path, (0,), (99,)))


@pytest.mark.parametrize('radius_m', [None, 12.0])
def test_dbstruct_gives_positions_and_radius(radius_m: float | None, tmp_path: Path) -> None:
    """Names are in the order of the file; the radius is its posDistThr."""
    root = trees.write_dbstruct(tmp_path, REFERENCE, QUERY)
    found = open_dataset(root, radius_m=radius_m)
    assert found.truth.positives == trees.near(QUERY, REFERENCE, radius_m or 25.0)
    assert found.name == 'pitts30k test'
    assert names(found)[0][1] == '000/000001_pitch1.jpg'
    assert names(found)[1][1] == 'queries_real/000/000001_pitch2.jpg'
    frame = list(found.query)[1]
    assert np.abs(frame.load().astype(int) - trees.picture(QUERY[1])).mean() < 20


def test_queries_of_pittsburgh_are_not_its_database(tmp_path: Path) -> None:
    """Both have images of the same names; those of the queries lie in ``queries_real``."""
    root = trees.write_dbstruct(tmp_path, REFERENCE, QUERY)
    for number in range(len(QUERY)):
        trees.write_image(root / f'000/{number:06d}_pitch2.jpg', 500.0, seed=77)
    found = open_dataset(root)
    assert names(found)[1][1] == 'queries_real/000/000001_pitch2.jpg'
    frame = list(found.query)[1]
    assert np.abs(frame.load().astype(int) - trees.picture(QUERY[1])).mean() < 20
    (root / 'queries_real/000/000000_pitch2.jpg').unlink()
    with pytest.raises(DatasetError, match='queries_real'):
        open_dataset(root)


def test_dbstruct_without_a_radius_is_refused(tmp_path: Path) -> None:
    """An empty matrix, as MATLAB writes what was never set."""
    root = trees.write_dbstruct(tmp_path, REFERENCE, QUERY)
    fields = {**trees.db_struct(REFERENCE, QUERY), 'posDistThr': np.zeros((0, 0))}
    trees.write_mat(root / 'datasets' / 'pitts30k_test.mat', fields)
    with pytest.raises(DatasetError, match='posDistThr'):
        open_dataset(root)
    assert open_dataset(root, radius_m=25.0).truth.answerable


def test_dbstruct_radius_comes_from_the_file(tmp_path: Path) -> None:
    """Not every set uses 25 m."""
    root = trees.write_dbstruct(tmp_path, REFERENCE, QUERY)
    fields = {**trees.db_struct(REFERENCE, QUERY), 'posDistThr': 6.0}
    trees.write_mat(root / 'datasets/pitts30k_test.mat', fields)
    assert open_dataset(root).truth.positives == trees.near(QUERY, REFERENCE, 6.0)


def test_dbstruct_with_one_image_each(tmp_path: Path) -> None:
    """MATLAB drops the dimension."""
    found = open_dataset(trees.write_dbstruct(tmp_path, (3,), (4,)))
    assert found.truth.positives == ({0},)


def test_database_of_tokyo_is_png_under_names_of_jpg(tmp_path: Path) -> None:
    """And its one file has no split in its name."""
    root = trees.write_dbstruct(tmp_path, REFERENCE, QUERY, 'tokyo247')
    (root / 'tokyo247').mkdir()
    (root / '000').rename(root / 'tokyo247/000')
    for file in (root / 'tokyo247/000').iterdir():
        file.rename(file.with_suffix('.png'))
    found = open_dataset(root)
    assert found.truth.positives == trees.near(QUERY, REFERENCE, 25.0)
    assert names(found)[0][0] == 'tokyo247/000/000000_pitch1.png'


def test_dbstruct_split_is_chosen(tmp_path: Path) -> None:
    """By the end of the file's name, or by all of it where sizes lie side by side."""
    for count, stem in enumerate(('pitts30k_val', 'pitts30k_test', 'pitts250k_test'), start=2):
        trees.write_dbstruct(tmp_path, REFERENCE[:count], REFERENCE[:2], stem)
    assert len(open_dataset(tmp_path, split='val').reference) == 2
    assert len(open_dataset(tmp_path, split='pitts250k_test').reference) == 4
    with pytest.raises(DatasetError, match=r"several of them are for the split 'test'"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match=r"none of them is for the split 'train'"):
        open_dataset(tmp_path, split='train')


def without(field: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a damage that leaves out a field."""
    return lambda fields: {name: value for name, value in fields.items() if name != field}


@pytest.mark.parametrize(('damage', 'message'), [
    (without('utmQ'), 'needed is utmQ too'),
    (without('dbImageFns'), 'needed is dbImageFns too'),
    (lambda fields: {**fields, 'utmDb': fields['utmDb'][:, 1:]}, r'8 names in dbImageFns and'),
    (lambda fields: {**fields, 'utmDb': fields['utmDb'].T}, r'\(8, 2\) values'),
    (lambda fields: {**fields, 'utmQ': fields['utmQ'] * np.nan}, 'finite positions'),
    (lambda fields: {**fields, 'qImageFns': trees.cell([]), 'utmQ': np.zeros((2, 0))},
     '0 names in qImageFns'),
    (lambda fields: {**fields, 'dbImageFns': trees.cell(['x/y.jpg'] * 8)},
     'names the image x/y.jpg, which is neither in'),
])
def test_damaged_dbstruct_is_refused(
    damage: Callable[[dict[str, Any]], dict[str, Any]], message: str, tmp_path: Path
) -> None:
    """Fields that are missing or contradict each other."""
    root = trees.write_dbstruct(tmp_path, REFERENCE, QUERY)
    trees.write_mat(
        root / 'datasets/pitts30k_test.mat', damage(trees.db_struct(REFERENCE, QUERY)))
    with pytest.raises(DatasetError, match=message):
        open_dataset(root)


@pytest.mark.parametrize('damage', [
    lambda data: data[:len(data) // 2], lambda _: b'', lambda _: b'no mat file' * 99,
    lambda data: data[:200] + bytes(len(data) - 200)])
def test_cut_off_mat_file_is_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """With its name, whatever scipy stumbled over."""
    file = trees.write_dbstruct(tmp_path, REFERENCE, QUERY) / 'datasets/pitts30k_test.mat'
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DatasetError, match=r'pitts30k_test\.mat'):
        open_dataset(tmp_path)


def test_mat_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """One with network weights, and one in the format of MATLAB 7.3."""
    root = trees.write_dbstruct(tmp_path, REFERENCE, QUERY)
    file = trees.write_mat(root / 'datasets/pitts30k_test.mat', {'layers': 3}, 'net')
    with pytest.raises(DatasetError, match='no structure dbStruct'):
        open_dataset(root)
    header = b'MATLAB 7.3 MAT-file, Platform: GLNXA64'.ljust(124) + b'\x00\x02IM'
    file.write_bytes(header + bytes(384) + b'\x89HDF\r\n\x1a\n' + bytes(64))
    with pytest.raises(DatasetError, match=r"MATLAB 7\.3.*save\('pitts30k_test\.mat'.*-v7"):
        open_dataset(root)


def test_dbstruct_names_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of the list, and scipy."""
    root = trees.write_dbstruct(tmp_path, REFERENCE, QUERY)
    (root / 'queries_real/000/000003_pitch2.jpg').unlink()
    with pytest.raises(DatasetError, match=r'1 of the 6 images .*000003_pitch2\.jpg; unpack'):
        open_dataset(root)
    monkeypatch.setitem(sys.modules, 'scipy', None)
    monkeypatch.setitem(sys.modules, 'scipy.io', None)
    with pytest.raises(DatasetError, match='pip install scipy'):
        open_dataset(root)


def test_msls_compares_within_a_city_and_leaves_panoramas_out(tmp_path: Path) -> None:
    """Rows of the second city count on; the same coordinates elsewhere are another place."""
    trees.write_msls(tmp_path, REFERENCE, QUERY, 'cph', panoramas=(1, 4))
    trees.write_msls(tmp_path, REFERENCE[:3], QUERY[:2], 'sf')
    trees.write_msls(tmp_path, REFERENCE, QUERY, 'oslo')
    found = open_dataset(tmp_path)
    kept = [place for number, place in enumerate(REFERENCE) if number not in (1, 4)]
    first = trees.near(QUERY, kept, 25.0)
    second = trees.near(QUERY[:2], REFERENCE[:3], 25.0)
    assert found.truth.positives == (
        *first, *({row + len(kept) for row in rows} for rows in second))
    assert names(found)[0][:2] == [
        f'train_val/cph/database/images/cphd00{number}.jpg' for number in (0, 2)]
    assert found.truth.positives[4] == set(), 'a query without an answer stays'
    assert open_dataset(tmp_path, split='train').name.endswith('train')
    assert len(open_dataset(tmp_path, split='sf,oslo').query) == 8


def test_msls_sub_task_is_respected(tmp_path: Path) -> None:
    """Rows that do not count in the task all are no queries, in the validation cities."""
    for city in ('cph', 'oslo'):
        trees.write_msls(tmp_path, REFERENCE, QUERY, city)
        table = tmp_path / 'train_val' / city / 'query/subtask_index.csv'
        table.write_text(table.read_text().replace('q002,True', 'q002,False'))
    left = [place for number, place in enumerate(QUERY) if number != 2]
    assert open_dataset(tmp_path, split='cph').truth.positives == trees.near(
        left, REFERENCE, 25.0)
    assert len(open_dataset(tmp_path, split='oslo').query) == len(QUERY)
    table = tmp_path / 'train_val/cph/query/subtask_index.csv'
    table.write_text(table.read_text().rpartition('5,cphq005')[0])
    with pytest.raises(DatasetError, match=r'5 rows and .*postprocessed\.csv 6, which must be'):
        open_dataset(tmp_path, split='cph')


def test_msls_city_without_any_answer_does_not_spoil_the_other(tmp_path: Path) -> None:
    """Its queries have none, the rest is measured."""
    trees.write_msls(tmp_path, (0,), (99,), 'cph')
    trees.write_msls(tmp_path, (0,), (0, 1), 'sf')
    assert open_dataset(tmp_path).truth.positives == (set(), {1}, {1})


@pytest.mark.parametrize(('split', 'message'), [
    ('test', 'published without positions'), ('train', 'needs others than those of val'),
    (None, r"the split 'val' needs sf"), ('cph,rome', 'needs rome')])
def test_msls_split_that_is_not_there_is_refused(
    split: str | None, message: str, tmp_path: Path
) -> None:
    """The cities that are there are named."""
    trees.write_msls(tmp_path, REFERENCE, QUERY)
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path, split=split)


@pytest.mark.parametrize(('name', 'old', 'new', 'message'), [
    ('postprocessed.csv', 'easting', 'east', r'has the columns .* needed are key, easting'),
    ('postprocessed.csv', ',500010.0,', ',x,', r"easting 'x' .* for cphd001"),
    ('postprocessed.csv', ',500010.0,', ',nan,', "easting 'nan'"),
    ('raw.csv', 'cphd003', 'other', r'no row for 1 images of .*cphd003'),
    ('raw.csv', 'False', 'True', '8 rows, all panoramas'),
])
def test_damaged_msls_table_is_refused(
    name: str, old: str, new: str, message: str, tmp_path: Path
) -> None:
    """The file, the column and the key are named."""
    root = trees.write_msls(tmp_path, REFERENCE, QUERY)
    table = root / 'train_val/cph/database' / name
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=message):
        open_dataset(root, split='cph')


def test_cut_off_msls_table_is_refused(tmp_path: Path) -> None:
    """In the middle of a line, after the header, before it, and not there at all."""
    root = trees.write_msls(tmp_path, REFERENCE, QUERY)
    table = root / 'train_val/cph/query/raw.csv'
    text = table.read_text()
    table.write_text(text[:-len(',0.0,2018-01-01,False\n')])
    with pytest.raises(DatasetError, match=r'raw.csv, line 7 ends before the column pano'):
        open_dataset(root, split='cph')
    table.write_text(text.splitlines()[0])
    with pytest.raises(DatasetError, match='a header line and nothing else'):
        open_dataset(root, split='cph')
    table.write_text('')
    with pytest.raises(DatasetError, match='needed are key, pano'):
        open_dataset(root, split='cph')
    table.unlink()
    with pytest.raises(DatasetError, match=r'cannot read .*query/raw\.csv'):
        open_dataset(root, split='cph')


def test_missing_msls_image_is_named(tmp_path: Path) -> None:
    """Of the six zip files one was not unpacked."""
    root = trees.write_msls(tmp_path, REFERENCE, QUERY)
    (root / 'train_val/cph/query/images/cphq002.jpg').unlink()
    with pytest.raises(DatasetError, match=r'1 of the 6 images .*cphq002\.jpg'):
        open_dataset(root, split='cph')


@pytest.mark.parametrize('radius_m', [None, 12.0])
def test_tables_of_positions(radius_m: float | None, tmp_path: Path) -> None:
    """In the order of the lines."""
    found = open_dataset(trees.write_tables(tmp_path, REFERENCE, QUERY), radius_m=radius_m)
    assert found.truth.positives == trees.near(QUERY, REFERENCE, radius_m or 25.0)
    assert names(found)[1] == [f'query/{number}.jpg' for number in range(len(QUERY))]


def write_pairs(root: Path, text: str) -> Path:
    """Write three images and pairs.csv."""
    for name in ('a', 'b', 'c'):
        trees.write_image(root / f'{name}.jpg', ord(name))
    (root / 'pairs.csv').write_text(text)
    return root


def test_pairs_list_answers_distractors_and_unknown_places(tmp_path: Path) -> None:
    """An image may be on both sides; an empty cell says that there is no other."""
    root = write_pairs(tmp_path, 'query,reference\na.jpg,b.jpg\na.jpg,c.jpg\n,a.jpg\nb.jpg,\n')
    found = open_dataset(root)
    assert names(found) == (['b.jpg', 'c.jpg', 'a.jpg'], ['a.jpg', 'b.jpg'])
    assert found.truth.positives == ({0, 1}, set())


@pytest.mark.parametrize(('text', 'error', 'message'), [
    ('', DatasetError, 'needed are query, reference'),
    ('query,reference\n', DatasetError, 'nothing else'),
    ('query,reference\n,\n', DatasetError, 'line 2 names no image'),
    ('query,reference\na.jpg\n', DatasetError, 'line 2 ends before the column reference'),
    ('query,reference\na.jpg,\n', DatasetError, '1 queries and 0 references'),
    ('query,reference\na.jpg,x.jpg\n', DatasetError, r'1 of the 1 images .*x\.jpg'),
    ('query,reference\na.jpg,pairs.csv\n', DatasetError, 'which is no image'),
    ('query,reference\na.jpg,\n,b.jpg\n', GroundTruthError, 'none of the 1 queries'),
])
def test_wrong_pairs_are_refused(
    text: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    """The line is named."""
    with pytest.raises(error, match=message):
        open_dataset(write_pairs(tmp_path, text))


def test_pairs_beside_positions_or_with_a_radius_are_refused(tmp_path: Path) -> None:
    """Two truths, of which one would be ignored."""
    root = write_pairs(tmp_path, 'query,reference\na.jpg,b.jpg\n')
    with pytest.raises(DatasetError, match='a radius has no meaning'):
        open_dataset(root, radius_m=5.0)
    (root / 'query.csv').write_text('name,x_m,y_m\na.jpg,1,2\n')
    with pytest.raises(DatasetError, match='keep one kind'):
        open_dataset(root)


@pytest.mark.parametrize(('text', 'error', 'message'), [
    ('name\n', SourceError, 'columns'),
    ('name,x_m,y_m\n', DatasetError, 'nothing else'),
    ('name,x_m,y_m\nquery/0.jpg,,\n', DatasetError, 'no position for 1 images'),
    ('name,x_m,y_m\nquery/0.jpg,1\n', SourceError, "line 2: y_m is ''"),
    ('name,x_m,y_m\nquery/9.jpg,1,2\n', DatasetError, r'1 of the 1 images .*9\.jpg'),
])
def test_wrong_table_of_positions_is_refused(
    text: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    """The file and the line are named."""
    root = trees.write_tables(tmp_path, (0, 1), (0,))
    (root / 'query.csv').write_text(text)
    with pytest.raises(error, match=message):
        open_dataset(root)


def test_image_with_two_lines_is_refused(tmp_path: Path) -> None:
    """One of the two positions would be lost without a word."""
    root = trees.write_tables(tmp_path, (0, 1), (0, 1))
    table = root / 'query.csv'
    table.write_text(table.read_text() + table.read_text().splitlines()[1] + '\n')
    with pytest.raises(DatasetError, match=r'several lines for query/0\.jpg'):
        open_dataset(root)
