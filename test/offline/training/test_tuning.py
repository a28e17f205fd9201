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

"""Training of a student: repeats, resumes, stops in time, and never saves what is broken."""

from __future__ import annotations

from collections.abc import Callable
import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import TrainingError
from vpr_compressed.offline.compression.codebook import fit_codebook
from vpr_compressed.offline.compression.compressor import Tuner
from vpr_compressed.offline.compression.recipe import Finetune
from vpr_compressed.offline.training.batches import BatchSampler
from vpr_compressed.offline.training.describe import describe_views
from vpr_compressed.offline.training.labels import LabelledImages
from vpr_compressed.offline.training.labels import SourceConfig
from vpr_compressed.offline.training.labels import TrainingSet
from vpr_compressed.offline.training.views import Views

MakeStudent = Callable[[], Any]
STEPS = 6


def hurt(student: Any) -> Any:
    """Return a student with something to learn: a third of its projection is gone."""
    with torch.no_grad():
        weight = student.network.named_tensors()['projection.weight']
        weight.masked_fill_(weight.abs() < 0.4, 0.0)
    return student


def tuner(student: Any, views: Any, seed: tuple[int, ...] = (1, 0), **options: Any) -> Tuner:
    """Return a tuner of few steps on small batches."""
    hooks = {name: options.pop(name) for name in ('save', 'prepare') if name in options}
    return Tuner(student, views, Finetune(**{'steps': STEPS, 'batch': 8} | options),
                 seed, **hooks)


def run(found: Tuner, **how: Any) -> bool:
    """Run a tuner to its end."""
    return found.run(how.pop('report', lambda _record: None), **{'save_every': 100} | how)


def same(one: Any, other: Any) -> bool:
    """Tell whether two students have the same weights to the last bit."""
    return all(np.array_equal(value, other.network.tensors()[name])
               for name, value in one.network.tensors().items())


def test_the_student_comes_nearer_to_its_parent(make_student: MakeStudent, views: Any) -> None:
    """On the pictures it learns from."""
    student = hurt(make_student())
    rows = np.arange(len(views))
    before = (describe_views(student.network, views, rows) * views.parent).sum(axis=1).mean()
    losses: list[float] = []
    assert run(tuner(student, views, steps=25, batch=16, lr_head=3e-3),
               report=lambda record: losses.append(record.loss))
    after = (describe_views(student.network, views, rows) * views.parent).sum(axis=1).mean()
    assert 1.0 - after < 0.6 * (1.0 - before)
    assert len(losses) == 25
    assert losses[-1] < losses[0]


def test_the_same_seed_gives_the_same_weights(make_student: MakeStudent, views: Any) -> None:
    """To the last bit; another seed, or another step of the recipe, gives others."""
    found = []
    for seed in ((1, 0), (1, 0), (2, 0), (1, 1)):
        found.append(hurt(make_student()))
        run(tuner(found[-1], views, seed))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])
    assert not same(found[0], found[3])


@pytest.mark.parametrize('shared', [False, True])
def test_stopped_and_resumed_is_as_never_stopped(
    shared: bool, make_student: MakeStudent, views: Any
) -> None:
    """Stopping saves at once; the next tuner goes on where it was."""
    def begin() -> Any:
        student = hurt(make_student())
        if shared:
            named = student.network.named_tensors()
            student.constraints.codebooks['projection.weight'] = fit_codebook(
                named['projection.weight'], 4, 'int8')
        return student

    whole = begin()
    run(tuner(whole, views))
    student = begin()
    saved: list[Any] = []
    seen: list[int] = []
    first = tuner(
        student, views, save=lambda: saved.append((student.state(), first.state())))
    assert not run(
        first, stopped=lambda: first.step == 4, report=lambda record: seen.append(record.step))
    assert len(saved) == 1
    assert first.step == 4
    again = make_student()
    again.load_state(saved[0][0])
    second = tuner(again, views)
    second.load_state(saved[0][1])
    assert run(second, report=lambda record: seen.append(record.step))
    assert seen == [1, 2, 3, 4, 5, 6]
    assert same(whole, again)


def test_checkpoints_come_in_time_and_not_at_the_end(
    make_student: MakeStudent, views: Any
) -> None:
    """Behind the last step the caller saves the finished step."""
    saves: list[int] = []
    found = tuner(make_student(), views, save=lambda: saves.append(found.step))
    run(found, save_every=2)
    assert saves == [2, 4]
    prepared: list[int] = []
    run(tuner(make_student(), views, prepare=prepared.append))
    assert prepared == list(range(STEPS))


def test_a_poisoned_picture_stops_the_training(make_student: MakeStudent, views: Any) -> None:
    """A parent descriptor that is NaN makes the loss NaN: nothing is saved, the message says."""
    poisoned = Views(views.images, views.count, make_student().preprocessing)
    poisoned.parent = np.full_like(views.parent, np.nan)
    saves: list[int] = []
    with pytest.raises(TrainingError, match=r'the loss became nan at step 0; the last good check'):
        run(tuner(make_student(), poisoned, save=lambda: saves.append(1)), save_every=1)
    assert not saves


def test_an_absurd_rate_is_noticed(make_student: MakeStudent, views: Any) -> None:
    """The weights overflow, then the loss is no number."""
    with pytest.raises(TrainingError, match=r'the loss became (nan|inf) at step \d'):
        run(tuner(make_student(), views, lr_trunk=1e38, lr_head=1e38))


@pytest.mark.parametrize('how', [
    {'save_every': 1}, {'save_every': 100}, {'stopped': lambda: True}],
    ids=['saving', 'end', 'stopped'])
def test_weights_that_broke_are_not_kept(
    how: dict[str, Any], make_student: MakeStudent, views: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient overflowed in the last step: its loss was finite, the next would not be."""
    student = make_student()
    saves: list[int] = []
    found = tuner(student, views, steps=2 if how.get('save_every') == 1 else 1,
                  save=lambda: saves.append(1))

    def broken() -> None:
        """Do what Adam does with an infinite gradient."""
        with torch.no_grad():
            student.network.named_tensors()['projection.weight'][0, 0] = torch.nan

    monkeypatch.setattr(found._optimizer, 'step', broken)
    if 'stopped' in how:
        broken()
    with pytest.raises(TrainingError, match=r'projection\.weight became NaN.*smaller learning'):
        run(found, **how)
    assert not saves


@pytest.mark.parametrize('steps', [1, STEPS])
def test_what_is_kept_is_finite(steps: int, make_student: MakeStudent, views: Any) -> None:
    """The last good checkpoint must be good, and so must be what a finished step leaves."""
    student = make_student()
    kept = [student.network.tensors()]
    try:
        run(tuner(student, views, steps=steps, lr_trunk=1e38, lr_head=1e38, lr_assignment=1e38,
                  save=lambda: kept.append(student.network.tensors())), save_every=1)
        kept.append(student.network.tensors())
    except TrainingError:
        pass
    for tensors in kept:
        student.network.load_tensors(tensors)
        found = describe_views(student.network, views, np.arange(4), exact=True)
        assert np.isfinite(found).all()


def test_labels_that_are_missing_are_said(make_student: MakeStudent, views: Any) -> None:
    """Before the first step."""
    with pytest.raises(ConfigError, match=r"loss 'triplet' needs labels.*use loss 'distill', or"):
        tuner(make_student(), views, loss='triplet')


def test_a_layer_that_is_not_there_is_named(make_student: MakeStudent, views: Any) -> None:
    """With those that are."""
    with pytest.raises(ConfigError, match="'dep', which is no layer of tiny; layers: stem, pool"):
        tuner(make_student(), views, freeze_until='dep')


def test_frozen_layers_stay(make_student: MakeStudent, views: Any) -> None:
    """Those before the first trained one; the next tuner frees them again."""
    student = hurt(make_student())
    before = student.network.tensors()
    run(tuner(student, views, freeze_until='point'))
    after = student.network.tensors()
    frozen = [name for name in before if name.startswith(('stem', 'deep'))]
    assert all(np.array_equal(before[name], after[name]) == (name in frozen) for name in before)
    run(tuner(student, views))
    assert all((after[name] != value).any() for name, value in student.network.tensors().items())


def test_each_part_has_its_own_learning_rate(make_student: MakeStudent, views: Any) -> None:
    """Rates of 0 leave a part alone; the codebook's holds for what is shared."""
    rates = {'lr_trunk': 0.0, 'lr_assignment': 0.0, 'lr_head': 0.0, 'lr_codebook': 0.0}
    parts = {'lr_trunk': 'stem.weight', 'lr_assignment': 'netvlad.assignment.weight',
             'lr_head': 'projection.bias', 'lr_codebook': 'projection.weight'}
    for key in rates:
        student = hurt(make_student())
        named = student.network.named_tensors()
        student.constraints.codebooks['projection.weight'] = fit_codebook(
            named['projection.weight'], 8, 'int8')
        student.write()
        before = student.network.tensors()
        run(tuner(student, views, **rates | {key: 0.01}))
        after = student.network.tensors()
        moved = {part for part, name in parts.items() if (before[name] != after[name]).any()}
        assert moved == {key}


def test_the_sum_of_magnitudes_drives_weights_to_zero(
    make_student: MakeStudent, views: Any
) -> None:
    """The L1 term of the paper, on the tensors it is for."""
    found = {}
    for strength in (0.0, 1.0):
        student = make_student()
        options = Finetune(steps=20, batch=8, lr_head=1e-2)
        run(Tuner(student, views, options, (1, 0), l1=(['projection.weight'], strength)))
        found[strength] = float(np.abs(student.network.tensors()['projection.weight']).sum())
    assert found[1.0] < 0.95 * found[0.0]


def sampler(count: int) -> BatchSampler:
    """Return pairs of neighbours: images 2 n and 2 n + 1 show one place."""
    source = LabelledImages(
        paths=tuple(Path(f'{number}') for number in range(count)),
        group=np.zeros(count, np.int64), neighbourhood=np.zeros(count, np.int64),
        coordinates=np.stack([np.arange(count) // 2 * 100.0, np.zeros(count)], axis=1),
        config=SourceConfig())
    return BatchSampler(TrainingSet([source]), pairs=4, hard_share=0.0, seed=1)


def labelled(views: Any) -> Any:
    """Return the views with such pairs."""
    found = copy.copy(views)
    found.sampler = sampler(24)
    return found


@pytest.mark.parametrize('loss', ['triplet', 'multi_similarity', 'info_nce'])
def test_labels_are_learnt_from(loss: str, make_student: MakeStudent, views: Any) -> None:
    """The loss of the first batch is lower after training than before."""
    found = Tuner(make_student(), labelled(views), Finetune(
        steps=40, batch=8, loss=loss, lr_head=1e-2, lr_trunk=1e-3), (1, 0))
    before = float(found._loss(0).detach())
    run(found)
    assert float(found._loss(0).detach()) < before


def test_each_step_of_a_recipe_has_its_own_batches_with_labels(
    make_student: MakeStudent, views: Any
) -> None:
    """As without labels: the seed of a stretch says which batches it has."""
    found = []
    for seed in ((1, 0), (1, 1)):
        found.append(make_student())
        run(Tuner(found[-1], labelled(views), Finetune(
            steps=3, batch=8, loss='info_nce'), seed))
    assert not same(*found)


def test_descriptors_come_in_the_order_of_the_rows(make_student: MakeStudent, views: Any) -> None:
    """In several batches, with progress, exactly as the parent's were made."""
    seen: list[tuple[int, int]] = []
    rows = np.tile(np.arange(24)[::-1], 2)
    found = describe_views(make_student().network, views, rows, exact=True,
                           report=lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(found, views.parent[rows], atol=1e-6)
    assert seen == [(32, 48), (48, 48)]
    assert found.dtype == np.float32
