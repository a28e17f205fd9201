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

"""What is shown on a terminal: bars, lines beside a bar, sizes for people."""

from __future__ import annotations

from collections.abc import Sequence
import sys
from typing import Any


def progress(total: int, label: str) -> Any:
    """Return a bar with rate and remaining time on a terminal, nothing in a log file."""
    return bar(label, total, unit='image', disable=not sys.stderr.isatty())


def bar(label: str = '', total: int | None = None, **options: Any) -> Any:
    """
    Return a bar on stderr; a log file gets a line every half minute.

    :param options: of tqdm, such as ``unit``, ``initial``, ``disable``
    """
    from tqdm import tqdm

    return tqdm(desc=label, total=total, file=sys.stderr, dynamic_ncols=True,
                mininterval=0.5 if sys.stderr.isatty() else 30.0, **options)


def columns(rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """
    Return a table as lines, its columns as wide as their widest cell.

    :param rows: all of one length
    :param left: columns that are aligned to the left; the others to the right
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ['  '.join(
        cell.ljust(width) if number < left else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


def say(text: str) -> None:
    """Print one line on stderr without breaking a progress bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


def human_bytes(count: float) -> str:
    """
    Return a number of bytes as people read it, in powers of 1000 as disks are sold.

    Three digits count, as in 1.49 MB and 30.2 MB: one digit less would hide what a step won.
    """
    size, units = float(count), ['B', 'kB', 'MB', 'GB']
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        del units[0]
    decimals = 0 if units[0] == 'B' or size >= 99.95 else 1 if size >= 9.995 else 2
    return f'{size:.{decimals}f} {units[0]}'


def duration(seconds: float) -> str:
    """Return a time as people say it: ``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90.0:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60.0)
    return f'{minutes} min' if minutes < 90 else f'{minutes // 60} h {minutes % 60:02d} min'
