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
Compression recipes: a list of steps, each a frozen dataclass, read strictly from YAML.

The order is checked first: what makes no sense fails in its first second, not its third hour.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from typing import ClassVar

from vpr_compressed.config import Bounded
from vpr_compressed.config import config_from_mapping
from vpr_compressed.config import option
from vpr_compressed.config import suggest
from vpr_compressed.errors import ConfigError
from vpr_compressed.offline.training.labels import SourceConfig
from vpr_compressed.offline.training.labels import ValidationConfig
from vpr_compressed.offline.training.losses import LOSSES
from vpr_compressed.offline.training.train_config import recipe_values

DISTILL = 'distill'  # the loss that needs no labels
BITS = (8, 7, 6, 5, 4, 3)
GRIDS = ('int8', 'float')
#: Names for parts of a network that hold for every trunk.
PARTS = ('all', 'trunk', 'depthwise', 'netvlad', 'projection')


@dataclass(frozen=True, kw_only=True)
class TuningOptions(Bounded):
    """How a step trains; every step that trains has these."""

    steps: int = option(0, 'optimiser steps; 0 does not train', minimum=0)
    batch: int = option(32, 'images in a batch (pairs x 2 with labels)', minimum=4)
    loss: str = option(DISTILL, 'distill needs no labels; the others need a recipe with "data"',
                       choices=(DISTILL, *LOSSES))
    lr_trunk: float = option(2e-5, 'learning rate of the trunk', minimum=0.0)
    lr_bias: float = option(1e-4, 'learning rate of the biases of the trunk', minimum=0.0)
    lr_assignment: float = option(5e-4, 'learning rate of the assignment weights', minimum=0.0)
    lr_head: float = option(1e-4, 'learning rate of biases, centres and projection', minimum=0.0)
    lr_codebook: float = option(1e-3, 'that of codebooks and scales, relative', minimum=0.0)
    freeze_until: str = option('', 'first trunk layer that is trained; empty trains all')


@dataclass(frozen=True, kw_only=True)
class TruncateWhitening(Bounded):
    """Keep the first dimensions of the descriptor; exact, they are ordered by variance."""

    NAME: ClassVar[str] = 'truncate_whitening'
    dimension: int = option(512, 'dimensions to keep', minimum=1)


@dataclass(frozen=True, kw_only=True)
class ReduceChannels(TuningOptions):
    """Put a learned 1x1 projection of the local features in front of NetVLAD."""

    NAME: ClassVar[str] = 'reduce_channels'
    channels: int = option(192, 'channels behind the projection', minimum=1)
    images: int = option(400, 'images the projection is fitted on', minimum=1)


@dataclass(frozen=True, kw_only=True)
class PruneChannels(TuningOptions):
    """Remove whole channels of the trunk: fewer multiplications in every engine."""

    NAME: ClassVar[str] = 'prune_channels'
    ratio: float = option(0.25, 'share to remove of what "of" names', minimum=0.0, maximum=0.95)
    of: str = option('multiply_adds', 'what the ratio counts',
                     choices=('multiply_adds', 'channels'))
    criterion: str = option(
        'taylor', 'how a channel is rated: by its filter (l1, l2), by filter and readers (flow), '
        'by what it carries (activation) or by what it does to the loss (taylor)',
        choices=('l1', 'l2', 'flow', 'activation', 'taylor'))
    scope: str = option(
        'global', 'global: the least important channels anywhere; layer: the same share of '
        'every group; sensitivity: as much of each group as costs the same agreement',
        choices=('global', 'layer', 'sensitivity'))
    multiple_of: int = option(8, 'kept channels are a multiple of this', minimum=1)
    images: int = option(64, 'images to rate on', minimum=1)
    keep_features: bool = option(True, 'leave the channels that enter NetVLAD alone')


@dataclass(frozen=True, kw_only=True)
class Sparsify(TuningOptions):
    """Set single weights to zero and train the rest."""

    NAME: ClassVar[str] = 'sparsify'
    tensors: tuple[str, ...] = option(
        ('all',), 'all, trunk, depthwise, netvlad, projection, or patterns on tensor names')
    method: str = option(
        'magnitude', 'magnitude: the smallest weights of each tensor; threshold: all below one '
        'absolute value for all tensors, as in the paper; sensitivity: as much of each tensor '
        'as costs the same agreement', choices=('magnitude', 'threshold', 'sensitivity'))
    sparsity: float = option(0.5, 'share of zeros, reached gradually while the step trains',
                             minimum=0.0, maximum=0.999)
    threshold: float = option(0.0, 'for method threshold; 0 takes the one that gives the sparsity',
                              minimum=0.0)
    l1: float = option(
        0.0, 'weight of the sum of magnitudes in the loss (the sparsifier of the paper)',
        minimum=0.0)
    images: int = option(64, 'images the sensitivity is measured on', minimum=8)


@dataclass(frozen=True, kw_only=True)
class Quantize(TuningOptions):
    """Share weights: 2^bits values per tensor, found by k-means, then trained."""

    NAME: ClassVar[str] = 'quantize'
    tensors: tuple[str, ...] = option(
        ('all',), 'all, trunk, depthwise, netvlad, projection, or patterns on tensor names')
    bits: int = option(8, 'bits of a symbol before entropy coding', choices=BITS)
    grid: str = option(
        'int8', 'int8: shared values are integers times a scale per output channel, so integer '
        'kernels run them; float: any values, as in the paper', choices=GRIDS)
    reassign: bool = option(
        False, 'while this step trains, let weights move to another shared value (straight-'
        'through estimator); afterwards membership is fixed')


@dataclass(frozen=True, kw_only=True)
class QuantizeActivations(TuningOptions):
    """Round what flows between the layers of the trunk to uint8; needs int8 trunk weights."""

    NAME: ClassVar[str] = 'quantize_activations'
    images: int = option(200, 'images the ranges are calibrated on', minimum=1)
    percentile: float = option(99.99, 'share of values inside the range, in per cent',
                               minimum=90.0, maximum=100.0)


@dataclass(frozen=True, kw_only=True)
class Finetune(TuningOptions):
    """Train what is left: zeros stay zero, weights that share a value keep sharing it."""

    NAME: ClassVar[str] = 'finetune'
    steps: int = option(200, 'optimiser steps', minimum=1)


Step = (TruncateWhitening | ReduceChannels | PruneChannels | Sparsify | Quantize
        | QuantizeActivations | Finetune)
STEPS: dict[str, type[Any]] = {step.NAME: step for step in (
    TruncateWhitening, ReduceChannels, PruneChannels, Sparsify, Quantize, QuantizeActivations,
    Finetune)}
#: Steps that change shapes; masks and codebooks would no longer fit.
_RESHAPING = (TruncateWhitening, ReduceChannels, PruneChannels)


@dataclass(frozen=True, kw_only=True)
class Recipe(Bounded):
    """What to do with a network, on which images, and what the result must reach."""

    description: str = option('', 'one sentence for the report')
    steps: tuple[Any, ...] = option((), 'steps in order')
    data: tuple[SourceConfig, ...] = option(
        (), 'training images below --data; --images replaces them')
    validation: tuple[ValidationConfig, ...] = option(
        (), 'labelled images below --data that judge the result')
    max_images: int = option(4000, 'images used at most, evenly spread', minimum=8)
    held_out: float = option(
        0.2, 'share of --images, at the end, that only judges', minimum=0.05, maximum=0.8)
    augment: bool = option(True, 'train on a view of every image in another light, too')
    acceptance: Mapping[str, Any] | None = option(None, 'fields of AcceptanceConfig')
    measure_steps: bool = option(True, 'measure after every step; false: only the result')
    seed: int = option(1, 'seed of everything random', minimum=0)
    save_every: int = option(50, 'optimiser steps between checkpoints', minimum=1)


def load_recipe(path: Path, overrides: Mapping[str, object] | None = None) -> Recipe:
    """
    Read a recipe.

    :param path: YAML file whose keys are the fields of :class:`Recipe`
    :param overrides: values that replace those of the file; ``steps.2.bits`` reaches into a step
    :raises ConfigError: unknown key or step, wrong type, or an order that makes no sense
    """
    values = recipe_values(path)
    for key, value in (overrides or {}).items():
        _override(values, key, value)
    entries = values.get('steps')
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f'{path} has no list "steps"; known steps: {", ".join(STEPS)}')
    values['steps'] = tuple(
        step_from_mapping(entry, f'{path}: step {number}')
        for number, entry in enumerate(entries, start=1))
    recipe = config_from_mapping(Recipe, values)
    check_order(recipe.steps)
    return recipe


def step_from_mapping(entry: object, where: str) -> Step:
    """
    Build one step from ``{step: name, option: value, ...}``.

    :param where: for the message
    :raises ConfigError: with a suggestion for a misspelt name or option
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get('step'), str):
        raise ConfigError(f'{where} must be a mapping with a key "step", got {entry!r}')
    name = entry['step']
    if name not in STEPS:
        raise ConfigError(f'{where}: unknown step {name!r}{suggest(name, STEPS)}')
    options = {key: value for key, value in entry.items() if key != 'step'}
    try:
        step: Step = config_from_mapping(STEPS[name], options)
    except ConfigError as error:
        raise ConfigError(f'{where} ({name}): {error}') from error
    return step


def check_order(steps: Sequence[Step]) -> None:
    """
    Refuse an order of steps that cannot work or would undo itself.

    :raises ConfigError: naming the step and what must come before or after it
    """
    fixed = ''
    shared: list[str] = []
    for number, step in enumerate(steps, start=1):
        where = f'step {number} ({step.NAME})'
        if isinstance(step, _RESHAPING) and fixed:
            raise ConfigError(
                f'{where} changes shapes after {fixed!r} has fixed single weights; move it '
                f'before {fixed!r}')
        if isinstance(step, Sparsify) and shared:
            raise ConfigError(
                f'{where} comes after quantize; shared values cannot be pruned one by one: put '
                'it before quantize')
        if isinstance(step, Quantize):
            _check_quantize(step, where, shared)
            shared += step.tensors
        # Whether patterns cover the trunk is known when the network is.
        if isinstance(step, QuantizeActivations) and not {*shared} - {'projection', 'netvlad'}:
            raise ConfigError(
                f'{where} needs int8 weights in the trunk; put "quantize" with tensors [trunk] '
                'and grid int8 before it')
        if not isinstance(step, (*_RESHAPING, Finetune)):
            fixed = fixed or step.NAME
    grids = {step.grid for step in steps if isinstance(step, Quantize)}
    if 'float' in grids and any(isinstance(step, QuantizeActivations) for step in steps):
        raise ConfigError('quantize_activations needs grid int8, this recipe has grid float')


def _check_quantize(step: Quantize, where: str, shared: Sequence[str]) -> None:
    """Refuse to let weights move in a step that does not train, and to share them twice."""
    if step.reassign and step.steps == 0:
        raise ConfigError(f'{where}: reassign needs steps above 0')
    if 'all' in shared or {*step.tensors} <= {*shared}:
        raise ConfigError(f'{where} has nothing left to do: {", ".join(step.tensors)} is shared '
                          'by an earlier quantize; remove one of them')


def needs_labels(recipe: Recipe) -> bool:
    """Tell whether a step trains with a loss that needs labels."""
    return any(isinstance(step, TuningOptions) and step.steps > 0 and step.loss != DISTILL
               for step in recipe.steps)


def select(
    names: Sequence[str], patterns: Sequence[str], depthwise: Collection[str] = ()
) -> list[str]:
    """
    Return the weight tensors that patterns choose, in order.

    Biases are never chosen: they are few, and rounding them costs more than it saves.

    :param names: all tensor names of a network
    :param patterns: names of :data:`PARTS` or shell patterns on tensor names; ``depthwise``
        chooses nothing in a trunk that has none
    :param depthwise: weights of depthwise convolutions
    :raises ConfigError: if another pattern chooses nothing
    """
    weights = [name for name in names if name.endswith(('.weight', '.centers'))]
    chosen: set[str] = set()
    for pattern in patterns:
        if pattern == 'depthwise':
            chosen |= {*depthwise}
            continue
        found = {name for name in weights if pattern == 'all' or pattern == _part(name)
                 or fnmatchcase(name, pattern)}
        if not found:
            raise ConfigError(
                f'{pattern!r} chooses no weights{suggest(pattern, [*PARTS, *weights])}')
        chosen |= found
    return [name for name in weights if name in chosen]


def options_of(step: Step) -> str:
    """Return the options of a step that differ from their defaults, in words."""
    training = {field.name for field in dataclasses.fields(TuningOptions)}
    parts = []
    for field in sorted(dataclasses.fields(step), key=lambda field: field.name in training):
        value = getattr(step, field.name)
        if value != field.default:
            text = '+'.join(value) if isinstance(value, tuple) else value
            parts.append(f'{field.name} {text}')
    return ', '.join(parts)


def describe(step: Step) -> str:
    """Return a step and the options that differ from their defaults, in words."""
    options = options_of(step)
    return f'{step.NAME} ({options})' if options else step.NAME


def _part(name: str) -> str:
    """Return the part of the network a tensor belongs to."""
    head = name.partition('.')[0]
    return head if head in ('netvlad', 'projection') else 'trunk'


def _override(values: dict[str, Any], key: str, value: object) -> None:
    """Replace one value of a recipe; ``steps.2.bits`` counts steps from 1."""
    parts = key.split('.')
    if parts[0] != 'steps':
        values[key] = value
        return
    steps = values.get('steps')
    if not isinstance(steps, list) or not all(isinstance(entry, dict) for entry in steps):
        raise ConfigError(f'--set {key}: "steps" of the recipe is no list of mappings')
    count = len(steps)
    if len(parts) != 3 or not parts[1].isdecimal() or not 1 <= int(parts[1]) <= count:
        raise ConfigError(
            f'--set {key}: give steps.NUMBER.OPTION, with NUMBER from 1 to {count}')
    values['steps'][int(parts[1]) - 1][parts[2]] = value
