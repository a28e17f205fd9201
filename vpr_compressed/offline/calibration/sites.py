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

"""The images of a recipe's sites: which there are, in which walks, and where."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import SourceError
from vpr_compressed.offline.calibration.chains import chains
from vpr_compressed.offline.calibration.recipe import RouteConfig
from vpr_compressed.offline.calibration.recipe import SiteConfig
from vpr_compressed.sources import ImageList
from vpr_compressed.sources import ImageSource
from vpr_compressed.sources import ListedImage
from vpr_compressed.sources import open_source
from vpr_compressed.sources.csv_table import read_table
from vpr_compressed.sources.image_files import image_files
from vpr_compressed.sources.image_files import is_bag


@dataclass(frozen=True)
class Entry:
    """
    One image of a site.

    :param index: in the source of the site
    :param columns: what is known of it
    :param number: its place on the walk
    """

    index: int
    columns: Mapping[str, str]
    walk: str
    number: float


@dataclass(frozen=True)
class Site:
    """
    A site that was opened; no image is decoded.

    :param source: all of its images
    :param entries: those that the table or the pattern knows, walk by walk and in order
    """

    name: str
    config: SiteConfig
    source: ImageSource
    entries: tuple[Entry, ...]

    def positions_m(self, entries: Sequence[Entry]) -> NDArray[np.float64]:
        """
        Return where images were taken, in metres, ``(N, 2)``, NaN where the site does not say.

        :raises SourceError: it says so of no image
        """
        try:
            found = np.array([
                [float(entry.columns[column] or math.nan)
                 for column in (self.config.x_m, self.config.y_m)] for entry in entries])
        except (KeyError, ValueError) as error:
            raise self._without_position(str(error)) from error
        if not np.isfinite(found).any():
            raise self._without_position('all are empty')
        return found

    def _without_position(self, reason: str) -> SourceError:
        """Return the error for a site whose walks cannot be judged by metres."""
        return SourceError(
            f'site {self.name!r} has images without a position ({reason}); give a table with the '
            f'columns {self.config.x_m} and {self.config.y_m}, or choose others')

    def headings(self, entries: Sequence[Entry]) -> NDArray[np.float64]:
        """
        Return the heading of images, ``(N,)``, 0 where the site knows none.

        :raises SourceError: one is no number
        """
        try:
            return np.array([
                float(entry.columns.get(self.config.heading, 0)) for entry in entries])
        except ValueError as error:
            raise SourceError(f'site {self.name!r} has a heading that is no number: {error}'
                              ) from error

    def places(self, entries: Sequence[Entry]) -> list[str]:
        """Return the places of images, '' where the site knows none."""
        return [entry.columns.get(self.config.place, '') for entry in entries]


def open_site(root: Path, name: str, config: SiteConfig) -> Site:
    """
    List the images of a site.

    :param root: folder its paths are relative to
    :raises SourceError: no images, or table and pattern do not fit them
    """
    source = _source(root / config.images)
    names = [frame.name for frame in source]
    columns = _columns(root, config, names)
    known = [(index, found) for index, found in enumerate(columns)
             if found is not None and _matches(name, found, config.where)]
    if not known:
        raise SourceError(
            f'site {name!r}: the table or the pattern fits none of the {len(names)} images, such '
            f'as {names[0]}; check "pattern", "table", "key" and "where"')
    needed = {column for column in (config.walk, config.number, config.place, config.heading)
              if column} - set(known[0][1])
    if needed:
        raise SourceError(f'site {name!r} has no column {", ".join(sorted(needed))}; it has '
                          f'{", ".join(sorted(known[0][1])) or "none"}')
    if config.chain_m:
        return Site(name, config, source, _chained(config, known))
    entries = []
    for index, found in known:
        text = found[config.number] if config.number else str(index)
        try:
            entries.append(Entry(index, found, found.get(config.walk, ''), float(text)))
        except ValueError as error:
            raise SourceError(f'site {name!r}: {config.number} of {names[index]} is {text!r}, '
                              'a number is needed') from error
    order = {walk: place for place, walk in enumerate(dict.fromkeys(e.walk for e in entries))}
    return Site(name, config, source, tuple(
        sorted(entries, key=lambda entry: (order[entry.walk], entry.number, entry.index))))


def walks_of(site: Site, route: RouteConfig) -> list[list[Entry]]:
    """
    Return the walks of a route, each in the order in which it is walked.

    :raises SourceError: nothing is left
    """
    walks: dict[str, list[Entry]] = {}
    for entry in site.entries:
        if _matches(site.name, entry.columns, route.where) and not (
                route.without and _matches(site.name, entry.columns, route.without)) and not (
                route.cut and route.cut[0] <= entry.number <= route.cut[1]):
            walks.setdefault(entry.walk, []).append(entry)
    chosen = [entries[route.start::route.every] for entries in walks.values()]
    chosen = [entries[::-1] if route.reverse else entries
              for entries in chosen if len(entries) >= route.least]
    if not any(chosen):
        raise SourceError(
            f'a walk takes no image of site {route.site!r} ({len(site.entries)} images, where '
            f'{dict(route.where)}, without {dict(route.without)}, at least {route.least}); check '
            'the recipe')
    return [entries for entries in chosen if entries]


def _source(path: Path) -> ImageSource:
    """Return the images of a folder and its sub-folders, or of a bag."""
    if not path.is_dir() or is_bag(path):
        return open_source(path)
    files = image_files(path, below=True)
    return ImageList(path, [
        ListedImage(file=file, name=file.relative_to(path).as_posix()) for file in files])


def _columns(
    root: Path, config: SiteConfig, names: Sequence[str]
) -> list[dict[str, str] | None]:
    """Return the columns of every image, None where table or pattern does not know it."""
    found: list[dict[str, str] | None] = []
    for name in names:
        match = re.fullmatch(config.pattern, Path(name).stem) if config.pattern else None
        found.append(None if config.pattern and match is None else {
            'file': name, **({} if match is None else match.groupdict(''))})
    if not config.table:
        return found
    lines = {line[config.key]: line
             for line in read_table(root / config.table, (config.key,), SourceError)}
    return [None if columns is None or columns.get(config.key) not in lines
            else {**lines[columns[config.key]], **columns} for columns in found]


def _matches(site: str, columns: Mapping[str, str], wanted: Mapping[str, Any]) -> bool:
    """Tell whether an image has certain values in its columns."""
    for column, values in wanted.items():
        if column not in columns:
            raise SourceError(f'site {site!r} has no column {column!r}; it has '
                              f'{", ".join(sorted(columns))}')
        texts = {str(value) for value in (values if isinstance(values, list) else [values])}
        if columns[column] not in texts:
            return False
    return True


def _chained(config: SiteConfig, known: Sequence[tuple[int, dict[str, str]]]) -> tuple[Entry, ...]:
    """Return walks along street views, looking where the way goes."""
    spots: dict[tuple[float, float], dict[str, tuple[int, dict[str, str]]]] = {}
    for index, columns in known:
        spot = float(columns[config.x_m]), float(columns[config.y_m])
        spots.setdefault(spot, {})[columns[config.heading]] = index, columns
    places = list(spots)
    entries = []
    for number, chain in enumerate(chains(np.array(places), config.chain_m)):
        for step, (place, heading) in enumerate(chain):
            views = spots[places[place]]
            if str(heading) in views:
                index, columns = views[str(heading)]
                entries.append(Entry(index, columns, f'chain {number}', float(step)))
    return tuple(entries)
