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

"""Which files are images and which are bags, and in which order they come; none is opened."""

from __future__ import annotations

from pathlib import Path
import re

from vpr_compressed.errors import SourceError

#: File suffix -> ``format`` field of a CompressedImage message.
FORMATS = {
    '.jpg': 'jpeg', '.jpeg': 'jpeg', '.png': 'png', '.bmp': 'bmp', '.webp': 'webp',
    '.tif': 'tiff', '.tiff': 'tiff', '.ppm': 'ppm', '.pgm': 'pgm',
}
BAG_SUFFIXES = ('.bag', '.db3', '.mcap')
METADATA_NAME = 'metadata.yaml'


def is_image(path: Path) -> bool:
    """Return whether a name is that of an image; macOS puts "._name.jpg" beside every one."""
    return path.suffix.lower() in FORMATS and not path.name.startswith('.')


def image_files(folder: Path, *, below: bool = False) -> list[Path]:
    """
    Return the image files of a folder in natural order of their names or paths.

    :param below: look into its sub-folders too
    :raises SourceError: if there is none, or the folder cannot be read
    """
    entries = list(folder.rglob('*')) if below else _entries(folder)
    files = [entry for entry in entries if is_image(entry) and entry.is_file()]
    if not files:
        raise SourceError(_no_images(folder, entries))
    return sorted(files, key=lambda file: natural_key(file.relative_to(folder).as_posix()))


def is_bag(path: Path) -> bool:
    """
    Return whether a path looks like a bag.

    :param path: a file with a bag's suffix, or a folder with bag files and without images
    :raises SourceError: if the folder cannot be read
    """
    if not path.is_dir():
        return path.is_file() and path.suffix in BAG_SUFFIXES
    suffixes = {entry.suffix for entry in _entries(path) if not entry.name.startswith('.')}
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


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """
    Return a sort key that puts ``image9`` before ``image10``.

    :param name: file name; digits compare as numbers, the rest without regard to case
    """
    parts = re.split(r'(\d+)', name.lower())
    # The name itself breaks ties such as "01" and "1", so that the order is total.
    return (*((1, int(part), '') if part.isdecimal() else (0, 0, part) for part in parts),
            (0, 0, name))


def _entries(folder: Path) -> list[Path]:
    """Return what a folder holds."""
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise SourceError(f'cannot read folder {folder}: {error.strerror}') from error


def _no_images(folder: Path, entries: list[Path]) -> str:
    """Return the text of the error for a folder without images."""
    folders = sorted(entry.name for entry in entries if entry.is_dir())
    hint = f'; did you mean one of its folders: {", ".join(folders[:8])}?' if folders else ''
    return (
        f'{folder} holds {len(entries)} entries but no image ({", ".join(sorted(FORMATS))}) and '
        f'no bag; give the folder that holds the images themselves{hint}')
