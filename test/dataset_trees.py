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

"""
Small data sets on the disk in every layout, written as their authors published them.

Every writer takes places: numbers along a street, ten metres apart. A picture shows its place,
so that a network finds it again, and differs a little with its set.
"""

from __future__ import annotations

from collections.abc import Sequence
import csv
from pathlib import Path
import pickle
from typing import Any

import cv2
import numpy as np
import pytest

from vpr_compressed.records import ImageArray

STEP_M = 10.0
EAST_M, NORTH_M = 500_000.0, 5_000_000.0
SIZE = (64, 48)


def picture(place: float, seed: int = 0) -> ImageArray:
    """Return a coarse random pattern of a place with the noise of one visit, uint8 RGB."""
    coarse = np.random.default_rng(int(place * 2) + 1000).integers(0, 256, (6, 8, 3))
    image = cv2.resize(coarse.astype(np.float32), SIZE, interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(seed).normal(0, 6, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write_image(path: Path, place: float, seed: int = 0) -> Path:
    """Write the picture of a place as the file its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(place, seed)[..., ::-1])
    return path


def position(place: float) -> tuple[float, float]:
    """Return easting and northing of a place in metres."""
    return EAST_M + STEP_M * place, NORTH_M


def write_utm(root: Path, reference: Sequence[float], query: Sequence[float],
              folder: str = 'images/test') -> Path:
    """Write a tree of VPR-datasets-downloader."""
    for part, places in (('database', reference), ('queries', query)):
        for number, place in enumerate(places):
            east, north = position(place)
            name = f'@{east:010.2f}@{north:010.2f}@32@U@45.1@009.0@pano{number}@@@@@@@@.jpg'
            write_image(root / folder / part / name, place, seed=len(part) + number)
    return root


def cell(texts: Sequence[str]) -> Any:
    """Return a MATLAB cell array of one column."""
    column = np.empty((len(texts), 1), object)
    column[:, 0] = texts
    return column


def db_struct(reference: Sequence[float], query: Sequence[float],
              suffix: str = '.jpg') -> dict[str, Any]:
    """Return the fields of a dbStruct, in their order."""
    def utm(places: Sequence[float]) -> Any:
        return np.array([position(place) for place in places]).reshape(-1, 2).T

    return {
        'whichSet': 'test',
        'dbImageFns': cell([f'000/{n:06d}_pitch1{suffix}' for n in range(len(reference))]),
        'utmDb': utm(reference),
        'qImageFns': cell([f'000/{n:06d}_pitch2{suffix}' for n in range(len(query))]),
        'utmQ': utm(query), 'numImages': len(reference), 'numQueries': len(query),
        'posDistThr': 25.0, 'posDistSqThr': 625.0, 'nonTrivPosDistSqThr': 100.0}


def write_mat(path: Path, fields: dict[str, Any], name: str = 'dbStruct') -> Path:
    """Write a MATLAB file with one structure, where there is scipy; skip the test elsewhere."""
    matlab = pytest.importorskip('scipy.io')
    path.parent.mkdir(parents=True, exist_ok=True)
    matlab.savemat(path, {name: fields}, do_compression=True)
    return path


def write_dbstruct(root: Path, reference: Sequence[float], query: Sequence[float],
                   stem: str = 'pitts30k_test') -> Path:
    """Write a tree like Pittsburgh, queries in a folder of their own."""
    fields = db_struct(reference, query)
    write_mat(root / 'datasets' / f'{stem}.mat', fields)
    for field, folder, places in (
            ('dbImageFns', '', reference), ('qImageFns', 'queries_real', query)):
        for number, (name, place) in enumerate(zip(fields[field][:, 0], places)):
            write_image(root / folder / name, place, seed=len(folder) + number)
    return root


def write_table(path: Path, rows: Sequence[dict[str, Any]], *, index: bool = False) -> Path:
    """Write a CSV file, with a first column of row numbers as pandas does if asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='') as stream:
        columns = list(rows[0])
        writer = csv.writer(stream)
        writer.writerow(['', *columns] if index else columns)
        for number, row in enumerate(rows):
            values = [row[column] for column in columns]
            writer.writerow([number, *values] if index else values)
    return path


def write_msls(root: Path, reference: Sequence[float], query: Sequence[float],
               city: str = 'cph', panoramas: Sequence[int] = ()) -> Path:
    """Write one city of Mapillary SLS; panoramas are rows of the database."""
    for part, places in (('database', reference), ('query', query)):
        folder = root / 'train_val' / city / part
        keys = [f'{city}{part[0]}{number:03d}' for number in range(len(places))]
        write_table(folder / 'postprocessed.csv', [
            {'key': key, 'easting': position(place)[0], 'northing': position(place)[1],
             'unique_cluster': 0, 'night': number % 2 == 1, 'control_panel': False,
             'view_direction': 'Sideways' if number % 3 == 0 else 'Forward'}
            for number, (key, place) in enumerate(zip(keys, places))], index=True)
        write_table(folder / 'raw.csv', [
            {'key': key, 'lon': 12.5, 'lat': 55.7, 'ca': 0.0, 'captured_at': '2018-01-01',
             'pano': part == 'database' and number in panoramas}
            for number, key in enumerate(keys)], index=True)
        write_table(folder / 'seq_info.csv', [
            {'key': key, 'sequence_key': 's', 'frame_number': number}
            for number, key in enumerate(keys)], index=True)
        write_table(folder / 'subtask_index.csv', [
            {'key': key, 'all': True, 'd2n': False} for key in keys], index=True)
        for number, (key, place) in enumerate(zip(keys, places)):
            write_image(folder / 'images' / f'{key}.jpg', place, seed=len(part) + number)
    return root


def write_aligned(root: Path, reference: Sequence[float], query: Sequence[float],
                  names: tuple[str, str] = ('summer', 'winter')) -> Path:
    """Write two folders of numbered images."""
    for name, places in zip(names, (reference, query)):
        for number, place in enumerate(places):
            write_image(root / name / f'images-{number + 1:05d}.png', place,
                        seed=len(name) + number)
    return root


def write_oxford(root: Path, images: dict[str, float], queries: dict[str, dict[str, Any]],
                 prefix: str = 'oxc1_') -> Path:
    """
    Write images and lists of Oxford5k.

    :param images: name -> place
    :param queries: name -> image, box (left, top, right, bottom), good, ok, junk
    """
    for number, (name, place) in enumerate(images.items()):
        write_image(root / 'oxbuild_images' / f'{name}.jpg', place, seed=number)
    (root / 'gt').mkdir()
    for name, entry in queries.items():
        box = ' '.join(str(value) for value in entry['box'])
        (root / 'gt' / f'{name}_query.txt').write_text(f'{prefix}{entry["image"]} {box}\n')
        for kind in ('good', 'ok', 'junk'):
            text = ''.join(f'{image}\n' for image in entry.get(kind, ()))
            (root / 'gt' / f'{name}_{kind}.txt').write_text(text)
    return root


def object_array(rows: Sequence[Any]) -> Any:
    """Return the table of VPR-Bench: index and answers of each query."""
    table = np.empty((len(rows), 2), object)
    for number, row in enumerate(rows):
        table[number] = [number, 0]
        table[number, 1] = row
    return table


def write_pickle(path: Path, content: bytes, shape: tuple[int, ...]) -> Path:
    """Write a ``.npy`` file of objects with this pickle in it."""
    with path.open('wb') as stream:
        np.lib.format.write_array_header_1_0(
            stream, {'descr': '|O', 'fortran_order': False, 'shape': shape})
        stream.write(content)
    return path


def python_2_pickle(rows: Sequence[Sequence[int]]) -> bytes:
    """Return the pickle of the table as NumPy under Python 2 writes it, byte for byte."""
    def number(value: int) -> bytes:
        return b'J' + value.to_bytes(4, 'little', signed=True)

    head = (b'\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00'
            b'\x85U\x01b\x87Rq\x03(K\x01' + number(len(rows)) + b'K\x02\x86cnumpy\ndtype\nq\x04'
            b'U\x02O8K\x00K\x01\x87Rq\x05(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff'
            b'K?tb\x89](')
    entries = b''.join(
        number(query) + b'](' + b''.join(map(number, row)) + b'e'
        for query, row in enumerate(rows))
    return head + entries + b'etb.'


def array_pickle(rows: Sequence[Any], core: str, protocol: int) -> bytes:
    """Return the pickle as the NumPy whose private package has this name writes it."""
    table = object_array(rows)
    data = pickle.dumps(table, protocol=protocol)
    if protocol < 4:  # from 4 on, names carry their length
        data = data.replace(b'numpy._core.', f'numpy.{core}.'.encode())
        data = data.replace(b'numpy.core.', f'numpy.{core}.'.encode())
    return data


def write_vprbench(root: Path, reference: Sequence[float], query: Sequence[float],
                   rows: Sequence[Any]) -> Path:
    """Write a tree of VPR-Bench with the answers of each query."""
    write_aligned(root, reference, query, ('ref', 'query'))
    write_pickle(root / 'ground_truth_new.npy', python_2_pickle(rows), (len(rows), 2))
    return root


def write_tables(root: Path, reference: Sequence[float], query: Sequence[float]) -> Path:
    """Write reference.csv and query.csv with images in two folders."""
    for name, places in (('reference', reference), ('query', query)):
        rows = []
        for number, place in enumerate(places):
            file = write_image(root / name / f'{number}.jpg', place, seed=len(name) + number)
            x, y = position(place)
            rows.append({'name': file.relative_to(root).as_posix(), 'x_m': x, 'y_m': y})
        write_table(root / f'{name}.csv', rows)
    return root


def near(query: Sequence[float], reference: Sequence[float],
         radius_m: float) -> tuple[set[int], ...]:
    """Return the right answers along the street, the slow and obvious way."""
    answers = []
    for asked in query:
        right = set()
        for row, place in enumerate(reference):
            if STEP_M * abs(asked - place) <= radius_m:
                right.add(row)
        answers.append(right)
    return tuple(answers)
