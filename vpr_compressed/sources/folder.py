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
Image folders: files in natural name order, with stamps and poses from ``poses.csv``.

``poses.csv`` lies beside the images; :mod:`vpr_compressed.sources.pose_table` explains its
columns. ``name`` is the file name, and every image needs a row.
"""

from __future__ import annotations

from pathlib import Path

from vpr_compressed.errors import SourceError
from vpr_compressed.sources.image_files import image_files
from vpr_compressed.sources.image_list import ImageList
from vpr_compressed.sources.image_list import ListedImage
from vpr_compressed.sources.pose_table import PoseRow
from vpr_compressed.sources.pose_table import read_pose_table

POSES_NAME = 'poses.csv'


class FolderSource(ImageList):
    """The images of one folder, not of its sub-folders."""

    kind = 'folder'

    def __init__(self, path: Path, *, rate_hz: float = 2.0) -> None:
        """
        List the images and read ``poses.csv`` if there is one.

        :param path: an existing folder
        :param rate_hz: images per second, used for stamps that ``poses.csv`` does not give
        :raises SourceError: no images, or ``poses.csv`` is wrong
        """
        files = image_files(path)
        poses = path / POSES_NAME
        rows = _read_rows(poses, files) if poses.is_file() else {}
        super().__init__(
            path, [_listed(file, rows.get(file.name, PoseRow())) for file in files],
            rate_hz=rate_hz, note=f'poses from {POSES_NAME}' if rows else '')


def _read_rows(path: Path, files: list[Path]) -> dict[str, PoseRow]:
    """Read ``poses.csv`` and check that every image has a row."""
    rows = read_pose_table(path)
    missing = [file.name for file in files if file.name not in rows]
    if missing:
        raise SourceError(
            f'{path} has no row for {len(missing)} of {len(files)} images, e.g. {missing[0]}; '
            'add the rows, or remove the file to number the images by time')
    return rows


def _listed(file: Path, row: PoseRow) -> ListedImage:
    """Return one image with its row of the table."""
    return ListedImage(file=file, name=file.name, stamp_ns=row.stamp_ns, pose=row.pose)
