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

"""Which files are images, and in which order they come."""

from __future__ import annotations

from pathlib import Path
import re

from vpr_compressed.errors import SourceError

#: File suffix -> ``format`` field of a CompressedImage message.
FORMATS = {
    '.jpg': 'jpeg', '.jpeg': 'jpeg', '.png': 'png', '.bmp': 'bmp', '.webp': 'webp',
    '.tif': 'tiff', '.tiff': 'tiff', '.ppm': 'ppm', '.pgm': 'pgm',
}


def is_image(path: Path) -> bool:
    """Return whether a name is that of an image; macOS puts "._name.jpg" beside every one."""
    return path.suffix.lower() in FORMATS and not path.name.startswith('.')


def image_files(folder: Path, *, below: bool = False) -> list[Path]:
    """
    Return the image files of a folder in natural order of their names or paths.

    :param below: look into its sub-folders too
    :raises SourceError: if there is none, or the folder cannot be read
    """
    try:
        entries = list(folder.rglob('*') if below else folder.iterdir())
    except OSError as error:
        raise SourceError(f'cannot read folder {folder}: {error.strerror}') from error
    files = [entry for entry in entries if is_image(entry) and entry.is_file()]
    if not files:
        raise SourceError(_no_images(folder, entries))
    return sorted(files, key=lambda file: natural_key(file.relative_to(folder).as_posix()))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """
    Return a sort key that puts ``image9`` before ``image10``.

    :param name: file name; digits compare as numbers, the rest without regard to case
    """
    parts = re.split(r'(\d+)', name.lower())
    # The name itself breaks ties such as "01" and "1", so that the order is total.
    return (*((1, int(part), '') if part.isdecimal() else (0, 0, part) for part in parts),
            (0, 0, name))


def _no_images(folder: Path, entries: list[Path]) -> str:
    """Return the text of the error for a folder without images."""
    folders = sorted(entry.name for entry in entries if entry.is_dir())
    hint = f'; did you mean one of its folders: {", ".join(folders[:8])}?' if folders else ''
    return (
        f'{folder} holds {len(entries)} entries but no image ({", ".join(sorted(FORMATS))}) and '
        f'no bag; give the folder that holds the images themselves{hint}')
