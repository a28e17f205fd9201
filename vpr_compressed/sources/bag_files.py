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

"""What a ROS bag looks like on disk; nothing is opened."""

from __future__ import annotations

from pathlib import Path

from vpr_compressed.errors import SourceError
from vpr_compressed.sources.image_files import FORMATS
from vpr_compressed.sources.image_files import natural_key

BAG_SUFFIXES = ('.bag', '.db3', '.mcap')
METADATA_NAME = 'metadata.yaml'


def is_bag(path: Path) -> bool:
    """
    Return whether a path looks like a bag.

    :param path: a file with a bag's suffix, or a folder with bag files and without images
    :raises SourceError: if the folder cannot be read
    """
    if not path.is_dir():
        return path.is_file() and path.suffix in BAG_SUFFIXES
    try:
        suffixes = {entry.suffix for entry in path.iterdir() if not entry.name.startswith('.')}
    except OSError as error:
        raise SourceError(f'cannot read folder {path}: {error.strerror}') from error
    has_bag = (path / METADATA_NAME).is_file() or bool(suffixes & set(BAG_SUFFIXES))
    return has_bag and not any(suffix.lower() in FORMATS for suffix in suffixes)


def bag_files(path: Path) -> list[Path]:
    """
    Return what has to be opened to read a bag.

    :param path: file or folder; a folder without ``metadata.yaml`` (the recorder was killed)
        is read from its storage files
    """
    if path.is_file() or (path / METADATA_NAME).is_file():
        return [path]
    files = [file for file in path.iterdir() if file.suffix in BAG_SUFFIXES]
    return sorted(files, key=lambda file: natural_key(file.name))
