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
Oxford5k and Paris6k: landmarks with lists of good, ok and junk images.

The files of Philbin et al. (CVPR 2007 and 2008): ``LANDMARK_N_query.txt`` holds one line, the
name of the query image and the box around the landmark (left, top, right, bottom in pixels);
``_good``, ``_ok`` and ``_junk`` list names, one a line. In Oxford5k the query's name begins with
``oxc1_``, which the image's does not.

By the standard protocol good and ok are right, junk counts neither way, the query is cut to its
box, the whole images are the references, and the query's own image stays among them. Twenty
files of Paris6k are web pages instead of images; their authors name them and leave them out.
"""

from __future__ import annotations

from pathlib import Path

from vpr_compressed.errors import DatasetError
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.datasets import dataset
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.dataset import Request
from vpr_compressed.sources import ImageList
from vpr_compressed.sources import ListedImage
from vpr_compressed.sources.image_files import natural_key

_QUERY = '_query.txt'
_PREFIX = 'oxc1_'
_KINDS = ('good', 'ok', 'junk')
#: Landmark of Paris6k -> numbers of the files that are no images (corrupt.txt of the data set).
_NO_IMAGES = {
    'louvre': (136, 146), 'moulinrouge': (422,), 'museedorsay': (1059,), 'notredame': (188,),
    'pantheon': (284, 960, 974), 'pompidou': (195, 196, 201, 467, 640),
    'sacrecoeur': (299, 330, 353), 'triomphe': (662, 833, 863, 867)}
CORRUPT = frozenset(
    f'paris_{landmark}_{number:06d}' for landmark, rows in _NO_IMAGES.items() for number in rows)


def find(request: Request) -> list[Path]:
    """Return the query files of the root or the first folder below it that has some."""
    for folder in (request.path, *dataset.folders_of(request.path)):
        found = [path for path in folder.glob(f'*{_QUERY}') if not path.name.startswith('.')]
        if found:
            return sorted(found, key=lambda path: natural_key(path.name))
    return []


def open_tree(request: Request, lists: list[Path]) -> Dataset:
    """
    Open all queries in natural order of their names, with all images as references.

    :param lists: what :func:`find` found
    :raises DatasetError: a list without its file or an image without its file, a line that is
        no query, or two images of one name
    """
    images = _by_name(request.path)
    index = {name: row for row, name in enumerate(images)}
    queries, positives, junk = [], [], []
    for path in lists:
        queries.append(_query(path, images))
        good, ok, ignored = (_rows(path, kind, index) for kind in _KINDS)
        positives.append(good | ok)
        junk.append(ignored)
    reference = ImageList(request.path, [
        ListedImage(file=file, name=name) for name, file in images.items()])
    return Dataset(
        name=request.name, layout='oxford', reference=reference,
        query=ImageList(request.path, queries, note='cut to their boxes'),
        truth=GroundTruth(
            tuple(positives), len(images), 'good and ok lists, junk left out', tuple(junk)))


def _by_name(root: Path) -> dict[str, Path]:
    """Return name without suffix -> file of every image of a tree."""
    images: dict[str, Path] = {}
    for file in dataset.images_below(root):
        if file.stem in images:
            raise DatasetError(
                f'{images[file.stem]} and {file} have the same name, but the lists give no '
                'folders; keep one of them')
        if file.stem not in CORRUPT:
            images[file.stem] = file
    return images


def _query(path: Path, images: dict[str, Path]) -> ListedImage:
    """Return the image part that one query file names."""
    lines = dataset.read_lines(path)
    name, *numbers = lines[0].split() if lines else ['']
    try:
        left, top, right, bottom = map(round, dataset.finite(numbers))
    except ValueError as error:
        raise DatasetError(
            f'{path} holds {lines[:1]}; needed is one line, an image name and its box (left top '
            'right bottom), so get the file again') from error
    name = name.removeprefix(_PREFIX)
    if name not in images:
        raise DatasetError(
            f'{path} names the image {name}, which is not there; expected is {name}.jpg in the '
            'folder of the data set or below it')
    return ListedImage(
        file=images[name], name=path.name.removesuffix(_QUERY), box=(left, top, right, bottom))


def _rows(query: Path, kind: str, index: dict[str, int]) -> frozenset[int]:
    """Return the reference indices of one list of a query."""
    path = query.with_name(f'{query.name.removesuffix(_QUERY)}_{kind}.txt')
    if not path.is_file():
        raise DatasetError(f'{query} has no {path.name} beside it; unpack all lists')
    names = [name.removesuffix('.jpg') for name in dataset.read_lines(path)]
    missing = [name for name in names if name not in index and name not in CORRUPT]
    if missing:
        raise DatasetError(
            f'{path} names {len(missing)} images that are not there, e.g. {missing[0]}; expected '
            f'is {missing[0]}.jpg in the folder of the data set or below it')
    return frozenset(index[name] for name in names if name in index)
