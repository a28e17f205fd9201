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

"""The one reader of CSV files with a header line."""

from __future__ import annotations

from collections.abc import Sequence
import csv
from pathlib import Path

from vpr_compressed.errors import SourceError
from vpr_compressed.errors import VprError


def read_table(
    path: Path, needed: Sequence[str], error: type[VprError] = SourceError
) -> list[dict[str, str]]:
    """
    Return the lines of a CSV file as column -> text.

    :param needed: columns that every line must have
    :param error: what is raised: the file is not readable, cut off, without these columns, or
        without lines
    """
    columns, rows = read_lines(path, error)
    if not set(needed) <= set(columns):
        raise error(f'{path} has the columns {columns}; needed are {", ".join(needed)}')
    for number, row in enumerate(rows, start=2):
        short = [column for column in needed if column not in row]
        if short:
            raise error(
                f'{path}, line {number} ends before the column {short[0]}; the file is cut off, '
                'get it again')
    if not rows:
        raise error(f'{path} has a header line and nothing else; get the file again')
    return [dict.fromkeys(columns, '') | row for row in rows]


def read_lines(path: Path, error: type[VprError]) -> tuple[list[str], list[dict[str, str]]]:
    """
    Return the columns of a CSV file, and column -> text of each line as far as it goes.

    :param error: what is raised: the file is not readable
    """
    try:
        with path.open(encoding='utf-8-sig', newline='') as stream:
            reader = csv.DictReader(stream)
            rows = [{key: value for key, value in row.items() if key and value is not None}
                    for row in reader]
            return list(reader.fieldnames or ()), rows
    except (OSError, UnicodeDecodeError, csv.Error) as reason:
        raise error(f'cannot read {path}: {reason}') from reason
