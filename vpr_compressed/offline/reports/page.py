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
HTML pages from the templates beside this module, without script and network.

Jinja2 is part of the extra ``offline``, so it is looked for when a page is wanted.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2

from vpr_compressed.errors import VprError
from vpr_compressed.records import ImageArray
from vpr_compressed.system.terminal import human_bytes


@dataclass(frozen=True)
class Plot:
    """
    A finished picture of a page.

    :param name: file name
    :param title: what is shown, for a page and for readers who cannot see it
    :param caption: what to see in it
    :param pixels: RGB, uint8, ``(H, W, 3)``, with the caption at the bottom
    :param caption_rows: rows of pixels at the bottom that hold the caption
    """

    name: str
    title: str
    caption: str
    pixels: ImageArray
    caption_rows: int

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
    check_jinja2()
    return str(_environment().get_template(template).render(values))


def number(value: float | None, layout: str) -> str:
    """Return a number in a layout of :meth:`str.format`, or a dash where there is none."""
    return '-' if value is None else layout.format(value)


def computer(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    Return what decides milliseconds, as rows of a table.

    :param values: with ``machine`` and ``versions``, as :mod:`vpr_compressed.system.machine`
        gives them
    """
    machine = values['machine']
    return [
        ('machine', f'{machine["processor"]}, {machine["cores"]} cores, '
         f'{machine["memory_bytes"] / 1e9:.1f} GB, {machine["system"]}'),
        ('versions', ', '.join(f'{name} {text}' for name, text in values['versions'].items()))]


@lru_cache(maxsize=1)
def _environment() -> Any:
    """Return the templates with the words they use."""
    from jinja2 import Environment
    from jinja2 import FileSystemLoader
    from jinja2 import StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name('templates')), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        base64=lambda data: base64.b64encode(data).decode(), bytes=human_bytes,
        number=number)
    environment.globals['computer'] = computer
    return environment
