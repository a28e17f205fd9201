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

"""The recipe of a training run: one frozen dataclass, read strictly from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpr_compressed.config import Bounded
from vpr_compressed.config import config_from_mapping
from vpr_compressed.config import option
from vpr_compressed.config import read_yaml
from vpr_compressed.errors import ConfigError
from vpr_compressed.offline.training.labels import SourceConfig
from vpr_compressed.offline.training.labels import ValidationConfig
from vpr_compressed.offline.training.losses import LOSSES


@dataclass(frozen=True, kw_only=True)
class RunConfig(Bounded):
    """A further run from the same starting network; what is not given is as in the first."""

    seed: int = option(2, 'seed of its batches and augmentation', minimum=0)
    steps: int = option(500, 'optimiser steps', minimum=0)
    mine_every: int = option(250, 'steps between searches for hard negatives', minimum=1)
    validate_every: int = option(250, 'steps between validations and checkpoints', minimum=1)
    loss: str | None = option(None, 'metric-learning loss', choices=(None, *LOSSES))
    hard_share: float | None = option(None, 'share of mined anchors', minimum=0.0, maximum=1.0)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Bounded):
    """Network, data and schedule of one training run."""

    trunk: str = option('mobilenet_v2', 'torchvision architecture',
                        choices=('mobilenet_v2', 'resnet18', 'vgg16'))
    cut: str = option('', 'last trunk layer to keep; empty takes the usual one')
    clusters: int = option(64, 'NetVLAD clusters', minimum=1)
    dimension: int = option(512, 'size of the descriptor', minimum=1)
    width: int = option(320, 'network input width in pixels', minimum=32)
    height: int = option(240, 'network input height in pixels', minimum=32)
    data: tuple[SourceConfig, ...] = option((), 'training images')
    validation: tuple[ValidationConfig, ...] = option((), 'validation images')

    init_images: int = option(3000, 'images the centres and the whitening start from', minimum=2)
    whitening_power: float = option(0.5, '0 keeps PCA variances, 1 makes them equal',
                                    minimum=0.0, maximum=1.0)
    sharpness: float = option(100.0, 'starting sharpness of the soft assignment', minimum=0.0)

    loss: str = option('info_nce', 'metric-learning loss', choices=tuple(LOSSES))
    steps: int = option(1000, 'optimiser steps', minimum=0)
    pairs: int = option(28, 'pairs of images in a batch', minimum=2)
    freeze_until: str = option('features.4.conv.0', 'first trunk layer that is trained')
    lr_trunk: float = option(2e-5, 'learning rate of the trunk', minimum=0.0)
    lr_assignment: float = option(2e-3, 'learning rate of the assignment weights', minimum=0.0)
    lr_head: float = option(1e-4, 'learning rate of biases, centres and projection', minimum=0.0)
    warmup: int = option(30, 'steps until the full learning rate', minimum=1)
    average: float = option(0.99, 'decay of the weight average that is validated and kept',
                            minimum=0.0, maximum=0.9999)
    hard_share: float = option(0.5, 'share of anchors that are hard negatives of another anchor',
                               minimum=0.0, maximum=1.0)
    mine_every: int = option(200, 'steps between searches for hard negatives', minimum=1)
    validate_every: int = option(100, 'steps between validations and checkpoints', minimum=1)
    seed: int = option(1, 'seed of everything random', minimum=0)
    more_runs: tuple[RunConfig, ...] = option(
        (), 'further runs whose best weights are averaged with those of the first, where '
        'validation agrees (model soup, Wortsman et al., ICML 2022); runs of different losses '
        'make an average that holds better elsewhere (Rame et al., NeurIPS 2022)')
    export: str = option('int8', 'precision of the final model file',
                         choices=('int8', 'fp16', 'fp32'))


def run_configs(config: TrainConfig) -> list[TrainConfig]:
    """Return the recipe of every run: the first one and those of ``more_runs``."""
    return [config, *(
        dataclasses.replace(config, **{
            name: value for name, value in dataclasses.asdict(run).items() if value is not None})
        for run in config.more_runs)]


def load_train_config(path: Path, overrides: Mapping[str, object] | None = None) -> TrainConfig:
    """
    Read a recipe.

    :param path: YAML file whose keys are the fields of :class:`TrainConfig`
    :param overrides: values that replace those of the file
    :raises ConfigError: unknown key, wrong type, or no training data
    """
    values = recipe_values(path)
    config = config_from_mapping(TrainConfig, {**values, **(overrides or {})})
    if not config.data:
        raise ConfigError(f'{path} names no training images; add a list "data"')
    return config


def recipe_values(path: Path) -> dict[str, Any]:
    """
    Return the options in a YAML file.

    :raises ConfigError: if the file cannot be read, or has another form
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError(f'{path} must hold a mapping of options, got {type(values).__name__}')
    return values


def parse_overrides(pairs: Sequence[str]) -> dict[str, object]:
    """
    Turn ``KEY=VALUE`` texts into values.

    :raises ConfigError: if one has no "="
    """
    import yaml

    values: dict[str, object] = {}
    for pair in pairs:
        key, equals, text = pair.partition('=')
        if not equals:
            raise ConfigError(f'--set needs KEY=VALUE, got {pair!r}')
        values[key] = yaml.safe_load(text)
    return values
