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

"""A data set: what is mapped, what is asked, what is right; and what several layouts share."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
import math
import os
from pathlib import Path

from vpr_compressed.errors import DatasetError
from vpr_compressed.errors import SourceError
from vpr_compressed.offline.accuracy import ground_truth
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.records import Pose
from vpr_compressed.sources import ImageList
from vpr_compressed.sources import ImageSource
from vpr_compressed.sources import ListedImage
from vpr_compressed.sources.image_files import FORMATS
from vpr_compressed.sources.image_files import image_files
from vpr_compressed.sources.image_files import natural_key


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """
    Two sets of images and the right answers.

    :param name: for people and reports, such as ``pitts30k test``
    :param layout: key of :data:`.layouts.LAYOUTS`, or ``recordings``
    :param reference: the images that are mapped
    :param query: the images that are recognised
    :param truth: which references are right for each query, by their indices
    """

    name: str
    layout: str
    reference: ImageSource
    query: ImageSource
    truth: GroundTruth


@dataclass(frozen=True)
class Request:
    """
    What a user asked for; None leaves the choice to the layout.

    :param path: an existing folder
    :param split: part of the data set
    :param radius_m: largest distance of a right answer in metres
    :param tolerance_frames: largest difference of the indices of a right answer
    """

    path: Path
    split: str | None = None
    radius_m: float | None = None
    tolerance_frames: int | None = None

    def radius_or(self, usual_m: float = 25.0) -> float:
        """Return the radius in metres that was asked for, else the usual one."""
        return usual_m if self.radius_m is None else self.radius_m

    @property
    def name(self) -> str:
        """Name of the folder, also when it was given as ``.``."""
        return self.path.resolve().name


def folders_of(root: Path) -> list[Path]:
    """
    Return the sub-folders of a folder in natural name order, hidden ones left out.

    :raises DatasetError: the folder cannot be read
    """
    try:
        entries = [
            entry for entry in root.iterdir() if entry.is_dir() and entry.name[0] != '.']
    except OSError as error:
        raise DatasetError(f'cannot read folder {root}: {error.strerror}') from error
    return sorted(entries, key=lambda entry: natural_key(entry.name))


def images_below(root: Path) -> list[Path]:
    """
    Return the image files of a folder and its sub-folders, in natural order of their paths.

    :raises DatasetError: if there is none, or a folder cannot be read
    """
    try:
        return image_files(root, below=True)
    except SourceError as error:
        raise DatasetError(
            f'{root} holds no image ({", ".join(sorted(FORMATS))}); it was perhaps not unpacked'
        ) from error


def placed(
    root: Path, files: Sequence[Path], positions_m: Iterable[Sequence[float]], note: str
) -> ImageList:
    """
    Return images with positions on a map plane as a source.

    :param root: folder that names are given relative to
    :param positions_m: x and y of each image in metres
    :param note: where the positions come from, for people
    """
    return ImageList(root, [
        ListedImage(
            file=file, name=os.path.relpath(file, root),
            pose=Pose(position_m=(float(x), float(y), 0.0)))
        for file, (x, y) in zip(files, positions_m)], note=note)


def check_present(files: Sequence[Path], listed_in: Path) -> None:
    """
    Refuse a list that names images which are not there.

    :param listed_in: the file that names them
    :raises DatasetError: with the first one that is missing, and how many are
    """
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DatasetError(
            f'{len(missing)} of the {len(files)} images that {listed_in} names are missing, e.g. '
            f'{missing[0]}; unpack all parts of the data set')
    other = [file for file in files if file.suffix.lower() not in FORMATS]
    if other:
        raise DatasetError(
            f'{listed_in} names {other[0]}, which is no image ({", ".join(sorted(FORMATS))}); '
            'correct the line')


def within(query: ImageSource, reference: ImageSource, radius_m: float) -> GroundTruth:
    """
    Count a reference as right when it was taken near the query.

    :raises GroundTruthError: radius not positive, or no query has an answer
    """
    return ground_truth.from_positions(
        ground_truth.positions_of(query), ground_truth.positions_of(reference), radius_m)


def finite(texts: Iterable[str]) -> list[float]:
    """
    Return the numbers of a line or a name.

    :raises ValueError: one of them is no finite number
    """
    numbers = [float(text) for text in texts]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f'{numbers} are not all finite')
    return numbers


def read_lines(path: Path) -> list[str]:
    """
    Return the lines of a text file that are not empty, without the space around them.

    :raises DatasetError: not readable
    """
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f'cannot read {path}: {error}') from error
    return [line.strip() for line in lines if line.strip()]
