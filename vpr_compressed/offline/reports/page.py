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
HTML pages from the templates beside this module, without script and network, and their folder.

Jinja2 is part of the extra ``offline``, so it is looked for when a page is wanted.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
import json
from pathlib import Path
import shutil
import tempfile
from typing import Any

import cv2

from vpr_compressed.errors import VprError
from vpr_compressed.records import ImageArray
from vpr_compressed.system.terminal import columns
from vpr_compressed.system.terminal import duration
from vpr_compressed.system.terminal import human_bytes

JSON_NAME, HTML_NAME = 'report.json', 'report.html'
#: Prefix of the folder in which a report grows; a killed process may leave one behind.
PART = '.part-'
#: Rows of a table of queries; the rest is in the JSON file.
MAX_ROWS = 500


@dataclass(frozen=True)
class Plot:
    """
    A finished picture of a page.

    :param name: file name
    :param title: what is shown, for a page and for readers who cannot see it
    :param caption: what to see in it
    :param pixels: RGB, uint8, ``(H, W, 3)``, with the caption at the bottom
    :param caption_rows: rows of pixels at the bottom that hold the caption
    :param wide: whether it needs the width of a page
    """

    name: str
    title: str
    caption: str
    pixels: ImageArray
    caption_rows: int
    wide: bool = False

    def png(self, *, caption: bool) -> bytes:
        """Return the picture as PNG, with the caption or, for a page that has it, without."""
        rows = len(self.pixels) - (0 if caption else self.caption_rows)
        return encoded(self.pixels[:rows], '.png', cv2.IMWRITE_PNG_COMPRESSION, 9)


def encoded(image: ImageArray, ending: str, option: int, value: int) -> bytes:
    """
    Return the file of an image for a page.

    :param image: RGB, uint8, ``(H, W, 3)``
    :param option: of OpenCV's encoder for the ending, with its value
    :raises VprError: OpenCV cannot encode it
    """
    good, data = cv2.imencode(ending, image[..., ::-1], [option, value])
    if not good:
        raise VprError(f'cannot encode an image of shape {image.shape} as {ending}')
    return data.tobytes()


def check_jinja2() -> None:
    """
    Refuse to begin work that ends with a page which cannot be written.

    :raises VprError: Jinja2 is not installed
    """
    if find_spec('jinja2') is None:
        raise VprError(
            'the report is a page made with Jinja2, which is not installed: '
            'pip install "vpr_compressed[offline]"')


def render(template: str, **values: Any) -> str:
    """
    Return a page.

    :param template: name of a file in ``templates/``
    :param values: what it shows; all text is escaped, and a name it lacks is an error
    :raises VprError: Jinja2 is not installed
    """
    return str(_environment().get_template(template).render(values))


def table(template: str, **values: Any) -> list[tuple[str, str]]:
    """
    Return the rows of a table, for a page or a terminal.

    :param template: name of a file in ``templates/`` with a line ``name | text`` for each row
    :param values: what it shows, see :func:`render`
    """
    rows = (line.partition(' | ') for line in render(template, **values).splitlines())
    return [(name, text) for name, found, text in rows if found]


def side_by_side(
    template: str, reports: Sequence[Any], **values: Any
) -> list[tuple[str, list[str]]]:
    """Return a table with one text per report in each row; see :func:`table`."""
    texts = [table(template, report=each, **values) for each in reports]
    return [(cells[0][0], [text for _, text in cells]) for cells in zip(*texts)]


def headline(
    numbers: Sequence[tuple[str, list[str]]], reports: Sequence[Any], sentences: Iterable[str] = ()
) -> str:
    """
    Return what a terminal shows of reports: their numbers and what must not be overlooked.

    :param numbers: of :func:`side_by_side`
    :param reports: each with ``model.label`` and ``warning``
    """
    rows = [[name, *texts] for name, texts in numbers]
    if len(reports) > 1:
        rows.insert(0, ['', *(report.model.label for report in reports)])
    return '\n'.join([*columns(rows, left=1), *sentences, *(
        f'WARNING, {report.model.label}: {report.warning}'
        for report in reports if report.warning)])


def described(picture: str, **values: Any) -> tuple[str, str]:
    """
    Return title and caption of a picture.

    :param picture: name of a macro in ``templates/captions.txt.j2``
    :param values: what the texts say; nothing is escaped, for they are also drawn
    :raises VprError: Jinja2 is not installed
    """
    texts = _environment().get_template('captions.txt.j2').make_module(values)
    title, _, caption = getattr(texts, picture)().strip().partition('\n\n')
    return ' '.join(title.split()), ' '.join(caption.split())


def as_json(values: Mapping[str, Any]) -> str:
    """
    Return the text of ``report.json``.

    :raises VprError: a number is not finite; other programs refuse NaN
    """
    try:
        return json.dumps(values, indent=1, allow_nan=False) + '\n'
    except ValueError as error:
        raise VprError(
            'the report holds a number that is NaN or infinite; measure again') from error


def write_report_files(
    folder: Path, text: str, html: str, plots: Sequence[Plot], pictures: Iterable[str]
) -> Path:
    """
    Write the pictures, ``report.html`` and, last, ``report.json``, which marks the folder.

    :param text: of ``report.json``
    :param pictures: patterns of file names; those of an earlier report are removed
    :returns: path of ``report.html``
    :raises VprError: the folder cannot be written
    """
    content = {plot.name: plot.png(caption=True) for plot in plots}
    write_files(folder, {**content, HTML_NAME: html.encode(), JSON_NAME: text.encode()})
    for pattern in pictures:
        for path in folder.glob(pattern):
            if path.name not in content:
                path.unlink(missing_ok=True)
    return folder / HTML_NAME


def write_files(folder: Path, content: Mapping[str, bytes]) -> None:
    """
    Write files into a folder; earlier ones are replaced only when all new ones are complete.

    :param folder: made if missing
    :param content: file name -> bytes, in the order in which they appear
    :raises VprError: if the disk is full, or the folder cannot be made
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=PART) as part:
            for name, data in content.items():
                (Path(part) / name).write_bytes(data)
            for name in content:
                shutil.move(Path(part) / name, folder / name)
    except OSError as error:
        raise VprError(f'cannot write the report into {folder}: {error.strerror}') from error


@lru_cache(maxsize=1)
def _environment() -> Any:
    """Return the templates with the words they use."""
    check_jinja2()
    from jinja2 import Environment
    from jinja2 import FileSystemLoader
    from jinja2 import select_autoescape
    from jinja2 import StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name('templates')),
        autoescape=select_autoescape(['html.j2']), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True)
    environment.filters.update(
        base64=lambda data: base64.b64encode(data).decode(), bytes=human_bytes, duration=duration,
        json=json.dumps,
        number=lambda value, layout: '-' if value is None else layout.format(value))
    return environment
