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


"""Parameters of the ``compress`` node."""

from __future__ import annotations

from dataclasses import dataclass
import shlex

from vpr_compressed.config import option
from vpr_compressed.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """Parameters of the ``compress`` node: the options of the verb of that name."""

    autostart: bool = option(True, 'start at once; false waits for ~/start')
    recipe: str = option('', 'compression recipe (YAML), e.g. config/recipes/default.yaml')
    images: str = option(
        '', "image folder or ROS bag to compress for, without labels: the robot's own")
    topic: str = option('', 'image topic inside a bag; empty when there is only one')
    data: str = option('', 'folder the paths of a recipe with labels are relative to')
    model: str = option('', 'float model (.vpr) to start from; empty takes what the recipe or '
                        'the verb names')
    out: str = option('', 'folder for the model, the report and the checkpoints')
    seed: int = option(-1, 'seed of everything random; -1 takes that of the recipe', minimum=-1,
                       maximum=2 ** 31 - 1)
    threads: int = option(0, 'CPU threads, 0 for all cores', minimum=0, maximum=256)
    overrides: str = option(
        '', 'values that replace those of the recipe: KEY=VALUE, separated by blanks')
    nice: int = option(10, 'how far the compression stands back behind the other processes of '
                       'the robot', minimum=0, maximum=19)

    def __post_init__(self) -> None:
        """Refuse what the verb could not start with."""
        for name, meaning in (('recipe', 'the steps'), ('out', 'a folder for the results')):
            if not getattr(self, name):
                raise ConfigError(f'parameter {name} is empty; give {meaning}, '
                                  f'e.g. --ros-args -p {name}:=/path')
        if bool(self.images) == bool(self.data):
            raise ConfigError(
                'give either parameter images (folder or bag without labels) or parameter data '
                f'(folder of a recipe with labels); {"both are" if self.data else "neither is"} '
                'given')
        if self.topic and not self.images:
            raise ConfigError('parameter topic names a topic of a bag, but images is empty')
        self.override_list()

    def override_list(self) -> list[str]:
        """
        Return the overrides one by one; quotes keep blanks together, as in a shell.

        :raises ConfigError: one is not KEY=VALUE
        """
        try:
            items = shlex.split(self.overrides)
        except ValueError as error:
            raise ConfigError(f'parameter overrides: {error}; close the quotes') from error
        for item in items:
            if not item.partition('=')[0] or '=' not in item:
                raise ConfigError(f'parameter overrides needs KEY=VALUE, got {item!r}')
        return items
