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
A recipe of labelled walks: sites with images, and walks through them.

Every image has columns: those of its line in the site's table, and the named groups of the
pattern of its name. Images are chosen by them, put into walks and in order, and labelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
import re
from typing import Any

from vpr_compressed.config import Bounded
from vpr_compressed.config import config_from_mapping
from vpr_compressed.config import option
from vpr_compressed.config import read_yaml
from vpr_compressed.config import required
from vpr_compressed.config import suggest
from vpr_compressed.errors import ConfigError

_CHOOSE = 'column -> value, or list of values, of the images that '


@dataclass(frozen=True, kw_only=True)
class SiteConfig(Bounded):
    """Where the images of a place are, and what is known of each."""

    images: str = required('image folder (its sub-folders count, too) or ROS bag, below --data')
    pattern: str = option('', 'regular expression for the names of the image files without '
                          'ending; its named groups are columns')
    table: str = option('', 'CSV below --data; its columns are those of the images')
    key: str = option('file', 'column that joins table and images: "file" (the path below the '
                      'folder of images), or a group of the pattern')
    where: Mapping[str, Any] = field(default_factory=dict, metadata={
        'doc': f'{_CHOOSE}belong to the site'})
    walk: str = option('', 'column that tells walks apart; empty: all images are one walk')
    number: str = option('', 'column of numbers that order a walk and tell how far apart two of '
                         'its images are; empty: counted in natural order of the names')
    place: str = option('', 'column; images of different walks with an equal value are neither '
                        'right nor wrong for each other')
    x_m: str = option('x_m', 'column with metres east, for walks that count in metres')
    y_m: str = option('y_m', 'column with metres north')
    heading: str = option('', 'column of numbers; by metres only images of a like heading are '
                          'right')
    heading_within: float = option(0.0, 'how far like headings differ; 360 is 0', minimum=0.0)
    chain_m: float = option(0.0, 'make walks of images that lie within so many metres of each '
                            'other, straight on as far as it goes; for street views with the '
                            'headings 0 (north) to 3 (west)', minimum=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ConfigError(f'pattern {self.pattern!r} is no regular expression: {error}'
                              ) from error


@dataclass(frozen=True, kw_only=True)
class RouteConfig(Bounded):
    """Some walks of a site."""

    site: str = required('name of a site of the recipe')
    where: Mapping[str, Any] = field(default_factory=dict, metadata={
        'doc': f'{_CHOOSE}are taken'})
    without: Mapping[str, Any] = field(default_factory=dict, metadata={
        'doc': f'{_CHOOSE}are not'})
    every: int = option(1, 'of each walk every n-th image', minimum=1)
    start: int = option(0, 'first image of each walk that is taken, from 0', minimum=0)
    least: int = option(1, 'walks with fewer images are left out', minimum=1)
    cut: tuple[float, float] | None = option(None, 'numbers from and to that are left out')
    reverse: bool = option(False, 'walk backwards')
    dark: bool = option(False, 'make the images dark, as by night')


@dataclass(frozen=True, kw_only=True)
class WalkConfig(Bounded):
    """One map, and walks that are recognised in it."""

    group: str = required('kind of place; every kind counts alike')
    reference: tuple[RouteConfig, ...] = field(default=(), metadata={
        'doc': 'what is mapped, a session for each walk; none: the query is recognised in its own '
        'past'})
    query: tuple[RouteConfig, ...] = required('what is recognised, each walk from a cold start')
    by: str = option('numbers', 'what tells right from wrong: numbers of one walk, metres, a '
                     'file of answers, or nothing, because no query is in the map',
                     choices=('numbers', 'metres', 'file', 'nothing'))
    right: float = option(0.0, 'right up to this difference: of numbers, metres, or rows from a '
                          'listed one', minimum=0.0)
    wrong: float = option(0.0, 'wrong beyond this difference; neither in between (default: as '
                          'right)', minimum=0.0)
    ground_truth: str = option('', 'JSON below --data: query index -> reference indices (by '
                               'file)')
    crossed: bool = option(False, 'also ask this map with the queries of the crossed walks of '
                           'other groups, which are not in it')

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.by == 'file') != bool(self.ground_truth):
            raise ConfigError('give "ground_truth" with by: file, and only with it')
        if not self.query:
            raise ConfigError('a walk needs a query')
        if not self.reference and (self.by == 'file' or self.crossed):
            raise ConfigError('a walk without reference is recognised in its own past; it has no '
                              'file of answers and is not crossed')


@dataclass(frozen=True, kw_only=True)
class CalibrationRecipe:
    """
    What a calibration is fitted to.

    :param name: of the recipe, for people
    """

    name: str
    sites: Mapping[str, SiteConfig]
    walks: tuple[WalkConfig, ...]


def load_recipe(path: Path) -> CalibrationRecipe:
    """
    Read a recipe strictly: unknown keys and sites that are missing are refused.

    :raises ConfigError: naming the entry
    """
    values = read_yaml(path)
    if not isinstance(values, dict) or set(values) - {'sites', 'walks'} or not all(
            values.get(key) for key in ('sites', 'walks')):
        raise ConfigError(
            f'{path} must have "sites" (name -> images) and "walks" (a list), and nothing else')
    sites = {str(name): _entry(SiteConfig, entry, f'{path}: site {name}')
             for name, entry in dict(values['sites']).items()}
    walks = tuple(_entry(WalkConfig, entry, f'{path}: walk {number}')
                  for number, entry in enumerate(values['walks'], start=1))
    for number, walk in enumerate(walks, start=1):
        for route in (*walk.reference, *walk.query):
            if route.site not in sites:
                raise ConfigError(f'{path}: walk {number} names a site {route.site!r} that is '
                                  f'not there{suggest(route.site, sites)}')
    return CalibrationRecipe(name=path.stem, sites=sites, walks=walks)


def _entry(kind: type[Any], values: Any, where: str) -> Any:
    """Return one entry of the recipe; a route that stands alone is a list of one."""
    if not isinstance(values, Mapping):
        raise ConfigError(f'{where} must have keys and values, got {values!r}')
    plain = {key: [value] if key in ('reference', 'query') and isinstance(value, Mapping)
             else value for key, value in values.items()}
    try:
        return config_from_mapping(kind, plain)
    except ConfigError as error:
        raise ConfigError(f'{where}: {error}') from error
