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

"""Recipes: typos, ranges and senseless orders are refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401

from vpr_compressed.config import config_from_mapping
from vpr_compressed.config import read_yaml
from vpr_compressed.errors import ConfigError
from vpr_compressed.offline.accuracy.acceptance import AcceptanceConfig
from vpr_compressed.offline.compression.recipe import check_order
from vpr_compressed.offline.compression.recipe import describe
from vpr_compressed.offline.compression.recipe import Finetune
from vpr_compressed.offline.compression.recipe import load_recipe
from vpr_compressed.offline.compression.recipe import needs_labels
from vpr_compressed.offline.compression.recipe import PruneChannels
from vpr_compressed.offline.compression.recipe import Quantize
from vpr_compressed.offline.compression.recipe import QuantizeActivations
from vpr_compressed.offline.compression.recipe import Recipe
from vpr_compressed.offline.compression.recipe import ReduceChannels
from vpr_compressed.offline.compression.recipe import select
from vpr_compressed.offline.compression.recipe import Sparsify
from vpr_compressed.offline.compression.recipe import STEPS
from vpr_compressed.offline.compression.recipe import TruncateWhitening

RECIPES = sorted(Path(__file__).resolve().parents[3].glob('config/recipes/*.yaml'))
NAMES = ['features.0.weight', 'features.0.bias', 'netvlad.centers', 'netvlad.assignment.weight',
         'netvlad.assignment.bias', 'projection.weight', 'projection.bias']
TRUNK = Quantize(tensors=('trunk',))


def _write(folder: Path, text: str) -> Path:
    """Write a recipe."""
    path = folder / 'recipe.yaml'
    path.write_text(text, encoding='utf-8')
    return path


@pytest.mark.parametrize(('text', 'message'), [
    ('steps: [{step: sparsifi}]', "step 1: unknown step 'sparsifi', did you mean 'sparsify'"),
    ('steps: [{step: finetune}, {step: quantize, bit: 5}]',
     r"step 2 \(quantize\).*no field 'bit', did you mean 'bits'"),
    ('steps: [{step: sparsify, sparsty: 0.5}]', "did you mean 'sparsity'"),
    ('steps: [{step: quantize, bits: 2}]', r'step 1 \(quantize\): bits is 2; choose one of 8, 7'),
    ('steps: [{step: quantize, grid: int4}]', "grid is 'int4'; choose one of 'int8', 'float'"),
    ('steps: [{step: sparsify, sparsity: 1.5}]', r'sparsity is 1.5, it must lie in \[0.0, 0.999'),
    ('steps: [{step: sparsify, sparsity: .nan}]', 'sparsity is nan'),
    ('steps: [{step: finetune, steps: many}]', "must be int, got str 'many'"),
    ('steps: [{step: finetune, loss: tripplet}]', "loss is 'tripplet'; choose one of 'distill'"),
    ('steps: [{step: finetune, steps: 0}]', 'steps is 0'),
    ('steps: [{bits: 5}]', 'must be a mapping with a key "step"'),
    ('steps: [quantize]', "must be a mapping with a key \"step\", got 'quantize'"),
    ('steps: []', 'has no list "steps"; known steps: truncate_whitening'),
    ('seed: 4', 'has no list "steps"'),
    ('{sed: 4, steps: [{step: finetune}]}', "no field 'sed', did you mean 'seed'"),
    ('{data: {kind: clips}, steps: [{step: finetune}]}', 'Recipe.data must be tuple, got dict'),
    ('{data: [{kidn: clips}], steps: [{step: finetune}]}', "did you mean 'kind'"),
    ('{held_out: 0.9, steps: [{step: finetune}]}', 'held_out is 0.9'),
    ('[1, 2]', 'must hold a mapping of options, got list'),
    ('steps: [', 'is not valid YAML'),
])
def test_mistakes_are_named_before_anything_runs(text: str, message: str, tmp_path: Path) -> None:
    """Where, what, and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        load_recipe(_write(tmp_path, text))


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    """As every missing file."""
    with pytest.raises(ConfigError, match=r'cannot read .*nowhere\.yaml: No such file'):
        load_recipe(tmp_path / 'nowhere.yaml')


@pytest.mark.parametrize(('steps', 'message'), [
    ([Sparsify(), TruncateWhitening()],
     r"step 2 \(truncate_whitening\) changes shapes after 'sparsify'"),
    ([Sparsify(), ReduceChannels()], 'move it before'),
    ([TRUNK, PruneChannels()], r"step 2 \(prune_channels\) changes shapes after 'quantize'"),
    ([Quantize(), Sparsify()], r'step 2 \(sparsify\) comes after quantize'),
    ([QuantizeActivations()], 'needs int8 weights in the trunk'),
    ([Quantize(tensors=('projection',)), QuantizeActivations()], r'"quantize" with tensors \[tru'),
    ([QuantizeActivations(), TRUNK], 'put "quantize"'),
    ([Quantize(grid='float'), QuantizeActivations()], 'this recipe has grid float'),
    ([Quantize(reassign=True)], r'step 1 \(quantize\): reassign needs steps above 0'),
])
def test_an_order_that_makes_no_sense_is_refused(steps: list[Any], message: str) -> None:
    """In the first second, not in the third hour."""
    with pytest.raises(ConfigError, match=message):
        check_order(steps)


def test_loading_checks_the_order(tmp_path: Path) -> None:
    """The check is part of reading."""
    with pytest.raises(ConfigError, match='comes after quantize'):
        load_recipe(_write(tmp_path, 'steps: [{step: quantize}, {step: sparsify}]'))


@pytest.mark.parametrize('steps', [[TRUNK, TRUNK], [Quantize(), TRUNK]])
def test_a_step_that_has_nothing_left_to_do_is_refused(steps: list[Any]) -> None:
    """What is shared already cannot be shared again."""
    with pytest.raises(ConfigError):
        check_order(steps)


def test_a_trunk_quantized_by_patterns_may_have_int8_activations() -> None:
    """Only the handler knows the names; the order alone must not refuse it."""
    check_order([Quantize(tensors=('features.*',)), QuantizeActivations()])


def test_sensible_orders_pass() -> None:
    """Every step once, in the order of the documentation, and the smallest recipes."""
    check_order([TruncateWhitening(), ReduceChannels(), PruneChannels(), Sparsify(), Sparsify(),
                 Quantize(tensors=('projection',), bits=5),
                 Quantize(tensors=('trunk', 'netvlad'), reassign=True, steps=1), Finetune(),
                 QuantizeActivations(), Finetune()])
    check_order([Finetune()])
    check_order([Sparsify(), Finetune(), Quantize(grid='float')])


def test_overrides_reach_into_steps(tmp_path: Path) -> None:
    """Counted from 1, as in the report; the rest stays."""
    path = _write(tmp_path, 'steps: [{step: sparsify}, {step: quantize, bits: 5}]')
    recipe = load_recipe(path, {'seed': 9, 'steps.2.bits': 4, 'steps.1.tensors': ['trunk']})
    assert recipe.seed == 9
    assert recipe.steps == (Sparsify(tensors=('trunk',)), Quantize(bits=4))
    assert load_recipe(path).steps == (Sparsify(), Quantize(bits=5))


@pytest.mark.parametrize('key', ['steps.3.bits', 'steps.0.bits', 'steps.x.bits', 'steps.1',
                                 'steps.1.bits.more', 'steps.-1.bits'])
def test_an_override_of_no_step_is_refused(key: str, tmp_path: Path) -> None:
    """The message says which numbers there are."""
    path = _write(tmp_path, 'steps: [{step: sparsify}, {step: quantize}]')
    with pytest.raises(ConfigError, match=r'steps\.NUMBER\.OPTION, with NUMBER from 1 to 2'):
        load_recipe(path, {key: 4})


def test_a_typo_in_an_override_is_answered(tmp_path: Path) -> None:
    """As in the file."""
    path = _write(tmp_path, 'steps: [{step: quantize}]')
    with pytest.raises(ConfigError, match="did you mean 'bits'"):
        load_recipe(path, {'steps.1.bist': 4})
    with pytest.raises(ConfigError, match="did you mean 'max_images'"):
        load_recipe(path, {'max_image': 4})


@pytest.mark.parametrize('steps', ['5', '[quantize]', '{a: 1}'])
def test_an_override_of_damaged_steps_is_one_line(steps: str, tmp_path: Path) -> None:
    """Overrides come before the checks of the file."""
    with pytest.raises(ConfigError):
        load_recipe(_write(tmp_path, f'steps: {steps}'), {'steps.1.bits': 4})


def test_parts_and_patterns_choose_weights_in_the_order_of_the_network() -> None:
    """Biases are never chosen, not even by name."""
    weights = [name for name in NAMES if not name.endswith('bias')]
    assert select(NAMES, ['all']) == weights
    assert select(NAMES, ['projection', 'trunk']) == ['features.0.weight', 'projection.weight']
    assert select(NAMES, ['netvlad']) == ['netvlad.centers', 'netvlad.assignment.weight']
    assert select(NAMES, ['*.weight']) == [weights[0], *weights[2:]]
    assert select(NAMES, ['features.0.*', 'projection']) == [weights[0], weights[3]]


@pytest.mark.parametrize(('pattern', 'message'), [
    ('trnk', "'trnk' chooses no weights, did you mean 'trunk'"),
    ('projection.bias', "chooses no weights, did you mean 'projection'"),
    ('layer4.*', 'chooses no weights; known: all'),
])
def test_a_pattern_that_chooses_nothing_is_refused(pattern: str, message: str) -> None:
    """A typo must not quietly leave a tensor as it is."""
    with pytest.raises(ConfigError, match=message):
        select(NAMES, ['all', pattern])


def test_steps_are_described_by_what_is_not_usual() -> None:
    """For the rows of the report."""
    assert describe(Finetune()) == 'finetune'
    assert describe(Quantize(tensors=('trunk', 'netvlad'), bits=5)) == (
        'quantize (tensors trunk+netvlad, bits 5)')
    assert describe(TruncateWhitening(dimension=128)) == 'truncate_whitening (dimension 128)'


def test_labels_are_needed_only_by_steps_that_train_with_them() -> None:
    """A loss in a step that does not train needs nothing."""
    assert needs_labels(Recipe(steps=(Finetune(), Sparsify(loss='triplet', steps=5))))
    assert not needs_labels(Recipe(steps=(Finetune(), Sparsify(loss='triplet'))))
    assert not needs_labels(Recipe(steps=(TruncateWhitening(),)))


@pytest.mark.parametrize('path', [
    path for path in RECIPES if isinstance(read_yaml(path).get('steps'), list)],
    ids=lambda path: path.stem)
def test_committed_recipes_load(path: Path) -> None:
    """With their limits; the file says what it is for."""
    recipe = load_recipe(path)
    assert recipe.description
    assert all(type(step) is STEPS[step.NAME] for step in recipe.steps)
    config_from_mapping(AcceptanceConfig, recipe.acceptance or {})
    assert not needs_labels(recipe) or recipe.data
