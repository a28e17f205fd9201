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

"""A recipe at work: every kind of step, interrupted anywhere, ends with the same file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
import zipfile

import numpy as np
import pytest
from tiny_model import make_tiny_model
import torch

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import TrainingError
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import QuantizedTensor
from vpr_compressed.offline.compression import recipe as steps
from vpr_compressed.offline.compression.compressor import Compressor
from vpr_compressed.offline.training.describe import describe_views
from vpr_compressed.offline.training.labels import SourceConfig
from vpr_compressed.offline.training.parallel import StoppedError
from vpr_compressed.offline.training.views import Views

SHORT: dict[str, Any] = {'steps': 4, 'batch': 6}
#: Every kind of step, and every way of doing it that keeps something in the checkpoint.
EVERYTHING = steps.Recipe(save_every=3, steps=(
    steps.TruncateWhitening(dimension=12),
    steps.ReduceChannels(channels=6, images=8, **SHORT),
    steps.PruneChannels(ratio=0.2, multiple_of=1, images=8, of='channels', scope='sensitivity'),
    steps.PruneChannels(ratio=0.1, multiple_of=1, images=8, of='channels'),
    steps.Sparsify(sparsity=0.6, method='sensitivity', images=8, l1=1e-4, steps=12, batch=6),
    steps.Quantize(bits=5, tensors=('projection', 'netvlad'), **SHORT),
    steps.Quantize(bits=8, tensors=('trunk',), reassign=True, **SHORT),
    steps.QuantizeActivations(images=8),
    steps.Finetune(**SHORT)))
PREPROCESSING = make_tiny_model().preprocessing
TRAIN_ONLY = steps.Recipe(save_every=2, steps=(
    steps.Sparsify(sparsity=0.5, tensors=('projection',), **SHORT), steps.Finetune(**SHORT)))
Make = Callable[..., Compressor]
GENTLE = replace(TRAIN_ONLY, steps=(
    TRAIN_ONLY.steps[0], replace(TRAIN_ONLY.steps[1], lr_head=1e-6)))


class Watcher:
    """Asks to stop the first time it sees each stage of each step."""

    def __init__(self, seen: set[tuple[int, str]] | None = None) -> None:
        self.seen = seen
        self.stop = False
        self.stages: list[tuple[int, str]] = []

    def __call__(self, number: int, stage: str, done: int, total: int) -> None:
        """Take note of progress."""
        assert 1 <= done <= total
        where = number, stage.partition(',')[0]
        self.stages.append(where)
        if self.seen is not None and where not in self.seen:
            self.seen.add(where)
            self.stop = True


@pytest.fixture
def make(make_student: Callable[[], Any], views: Any, tmp_path: Path) -> Make:
    """Return a function that makes a compressor at its start, with some things changed."""
    def build(recipe: steps.Recipe = TRAIN_ONLY, **changes: Any) -> Compressor:
        values: dict[str, Any] = {
            'parent_id': 'parent', 'folder': tmp_path, 'progress': lambda *_: None,
            'stopped': lambda: False}
        pictures = changes.pop('pictures', views)
        return Compressor(make_student(), pictures, recipe, **(values | changes))
    return build


def finish(compressor: Compressor, recipe: steps.Recipe, path: Path) -> bytes:
    """Do all steps that are left and return the bytes of the file."""
    while compressor.done < len(recipe.steps):
        compressor.run_step()
    write_model(path, compressor.student.model(), overwrite=True)
    return path.read_bytes()


def test_stopped_in_every_stage_of_every_step_ends_with_the_same_file(
    make: Make, tmp_path: Path, views: Any
) -> None:
    """Once in each: reading features, rating channels, scanning, k-means, ranges, training."""
    for name in ('whole', 'parts'):
        (tmp_path / name).mkdir()
    watcher_of_whole = Watcher()
    whole = make(EVERYTHING, folder=tmp_path / 'whole', progress=watcher_of_whole)
    wanted = finish(whole, EVERYTHING, tmp_path / 'whole.vpr')
    seen: set[tuple[int, str]] = set()
    stops = 0
    while True:
        watcher = Watcher(seen)
        parts = make(EVERYTHING, folder=tmp_path / 'parts', progress=watcher,
                     stopped=lambda found=watcher: found.stop)
        assert parts.resume() == (tmp_path / 'parts' / 'checkpoint.pt').exists()
        try:
            found = finish(parts, EVERYTHING, tmp_path / 'parts.vpr')
        except StoppedError:
            stops += 1
            continue
        break
    assert seen == set(watcher_of_whole.stages)
    assert stops == len(seen) >= 12
    assert {(number, 'training') for number, step in enumerate(EVERYTHING.steps)
            if getattr(step, 'steps', 0)} < seen
    assert found == wanted
    assert [record.name for record in parts.records] == [
        step.NAME for step in EVERYTHING.steps]
    assert [record.notes for record in parts.records] == [
        record.notes for record in whole.records]
    check_result(tmp_path / 'whole.vpr', views)


def check_result(path: Path, views: Any) -> None:
    """Check that the file is what all steps together say, and still finds its way."""
    model = read_model(path)
    assert model.spec.dimension == 12
    assert model.spec.feature_channels == 6
    shared = {name: tensor for name, tensor in model.tensors.items()
              if isinstance(tensor, QuantizedTensor)}
    assert {name for name in model.tensors if not name.endswith('bias')} == set(shared)
    assert len(np.unique(shared['projection.weight'].values)) <= 32
    zeros = sum((tensor.values == 0).sum() for tensor in shared.values())
    assert zeros >= 0.59 * sum(tensor.values.size for tensor in shared.values())
    assert set(model.activations) >= {'image', model.spec.layers[-1].name}
    from vpr_compressed.runtime.engines import ENGINES

    engine = ENGINES.load(model)
    found = np.stack([engine.describe(views.batch([row])) for row in range(8)])
    wanted = views.parent[:8, :12]
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    assert (found * wanted).sum(axis=1).min() > 0.98


def test_a_float_codebook_is_resumed_too(make: Make, tmp_path: Path) -> None:
    """The paper's grid; stopped in the middle of training it."""
    recipe = steps.Recipe(steps=(
        steps.Sparsify(method='threshold', sparsity=0.5, **SHORT),
        steps.Quantize(grid='float', bits=4), steps.Finetune(**SHORT)))
    for name in ('whole', 'parts'):
        (tmp_path / name).mkdir()
    wanted = finish(make(recipe, folder=tmp_path / 'whole'), recipe, tmp_path / 'a.vpr')
    calls = iter(range(1000))
    first = make(recipe, folder=tmp_path / 'parts', stopped=lambda: next(calls) > 12)
    with pytest.raises(StoppedError):
        finish(first, recipe, tmp_path / 'b.vpr')
    assert first.done == 2
    again = make(recipe, folder=tmp_path / 'parts')
    assert again.resume()
    assert finish(again, recipe, tmp_path / 'b.vpr') == wanted
    assert isinstance(read_model(tmp_path / 'b.vpr').tensors['stem.weight'], CodebookTensor)


def test_a_finished_recipe_stays_finished(make: Make, tmp_path: Path) -> None:
    """Resuming it gives the same student and does nothing."""
    wanted = finish(make(), TRAIN_ONLY, tmp_path / 'a.vpr')
    again = make()
    assert again.resume()
    assert again.done == 2
    assert finish(again, TRAIN_ONLY, tmp_path / 'b.vpr') == wanted


def test_time_adds_up_over_attempts(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of a step are those of all attempts, without the pause between them."""
    clock = [0.0]
    monkeypatch.setattr(
        'vpr_compressed.offline.compression.compressor.time.monotonic', lambda: clock[0])

    def tick(*_: Any) -> None:
        """Say that a second has gone."""
        clock[0] += 1.0

    first = make(progress=tick, stopped=lambda: clock[0] >= 2.0)
    with pytest.raises(StoppedError):
        first.run_step()
    clock[0] += 1000.0
    second = make(progress=tick)
    second.resume()
    second.run_step()
    assert second.records[0].seconds == pytest.approx(4.0)


@pytest.mark.parametrize('changes', [
    {'recipe': replace(TRAIN_ONLY, seed=2)},
    {'recipe': replace(TRAIN_ONLY, steps=())},
    {'recipe': replace(TRAIN_ONLY, steps=TRAIN_ONLY.steps[1:])},
    {'recipe': replace(TRAIN_ONLY, steps=(
        replace(TRAIN_ONLY.steps[0], sparsity=0.6), TRAIN_ONLY.steps[1]))},
    {'parent_id': 'another'},
])
def test_a_checkpoint_of_something_else_is_refused(changes: dict[str, Any], make: Make) -> None:
    """Another seed, recipe or parent; what to do is said."""
    make().run_step()
    with pytest.raises(TrainingError, match=r'another recipe, parent or data; use another --out'):
        make(**changes).resume()


def test_a_checkpoint_of_other_images_is_refused(make: Make, views: Any) -> None:
    """As many, but others."""
    make().run_step()
    others = Views(views.images, views.count, PREPROCESSING)
    others.parent = views.parent[::-1]
    with pytest.raises(TrainingError, match='another recipe, parent or data'):
        make(pictures=others).resume()


@pytest.mark.parametrize(('loss', 'resumes'), [('triplet', False), ('distill', True)])
def test_other_labels_are_refused_where_labels_are_used(
    loss: str, resumes: bool, make: Make
) -> None:
    """Another radius makes other pairs of the same images."""
    recipe = replace(TRAIN_ONLY, steps=(TRAIN_ONLY.steps[0], steps.Finetune(loss=loss)))
    near, far = (replace(recipe, data=(SourceConfig(folder='walk', positive_radius=radius),))
                 for radius in (2.0, 12.0))
    make(near).run_step()
    if resumes:
        assert make(far).resume()
        return
    with pytest.raises(TrainingError, match='another recipe, parent or data'):
        make(far).resume()


def test_what_does_not_change_the_result_may_change(make: Make) -> None:
    """How often it is saved, and what the result must reach."""
    make().run_step()
    assert make(replace(TRAIN_ONLY, save_every=7, acceptance={'min_cosine': 0.5})).resume()
    assert make(replace(TRAIN_ONLY, steps=TRAIN_ONLY.steps[:1])).resume()


@pytest.mark.parametrize('damage', ['cut', 'empty', 'other', 'flipped'])
def test_a_damaged_checkpoint_is_refused(damage: str, make: Make, tmp_path: Path) -> None:
    """With its name and what to do; nothing is trained from rubbish."""
    make().run_step()
    path = tmp_path / 'checkpoint.pt'
    data = bytearray(path.read_bytes())
    if damage == 'flipped':
        weight = torch.load(path)['student']['tensors']['projection.weight']
        data[data.index(weight.numpy().tobytes()) + 3] ^= 0x40  # an exponent: 2 becomes 1e38
    path.write_bytes({'cut': bytes(data[:-50]), 'empty': b'', 'other': b'hello', 'flipped':
                      bytes(data)}[damage])
    if damage == 'flipped':
        assert zipfile.ZipFile(path).testzip() is not None  # it can be seen
    with pytest.raises(TrainingError, match=r'cannot read .*checkpoint\.pt \(.*remove it to st'):
        make().resume()


def test_no_checkpoint_is_a_fresh_start(make: Make) -> None:
    """Nothing to resume."""
    fresh = make()
    assert not fresh.resume()
    assert fresh.done == 0


def test_a_training_that_breaks_keeps_the_last_checkpoint(
    make: Make, tmp_path: Path, views: Any
) -> None:
    """The finished step before it can be gone on from."""
    recipe = replace(TRAIN_ONLY, save_every=100)
    compressor = make(recipe)
    compressor.run_step()
    kept = (tmp_path / 'checkpoint.pt').read_bytes()
    broken = Views(views.images, views.count, PREPROCESSING)
    broken.parent = np.where(np.arange(len(views.parent))[:, None] < 20, views.parent, np.nan)
    compressor._views = broken
    with pytest.raises(TrainingError, match=r'the loss became nan at step \d; the last good che'):
        compressor.run_step()
    assert (tmp_path / 'checkpoint.pt').read_bytes() == kept
    again = make(recipe)
    assert again.resume()
    found = describe_views(again.student.network, views, np.arange(4), exact=True)
    assert np.isfinite(found).all()


def test_the_advice_after_a_break_can_be_followed(make: Make) -> None:
    """The finished steps are the same; only the one that broke is changed."""
    make().run_step()
    assert make(GENTLE).resume()


def interrupt(make: Make, recipe: steps.Recipe) -> None:
    """Train a little in the step that is next, so that its checkpoint is there."""
    asked = iter([False] * 3 + [True] * 9)
    compressor = make(recipe, stopped=lambda: next(asked))
    compressor.resume()
    with pytest.raises(StoppedError):
        compressor.run_step()
    assert make(recipe).resume()


def test_an_interrupted_step_that_has_changed_starts_again(make: Make, tmp_path: Path) -> None:
    """From the step before it, to the same file as if it had never been started otherwise."""
    make().run_step()
    interrupt(make, TRAIN_ONLY)
    again = make(GENTLE)
    assert again.resume()
    assert again.done == 1
    found = finish(again, GENTLE, tmp_path / 'a.vpr')
    for left in tmp_path.glob('*.pt'):
        left.unlink()
    assert finish(make(GENTLE), GENTLE, tmp_path / 'b.vpr') == found


def test_an_interrupted_step_that_is_gone_from_the_recipe_is_left_out(make: Make) -> None:
    """What is done is all there is to do."""
    make().run_step()
    interrupt(make, TRAIN_ONLY)
    shorter = make(replace(TRAIN_ONLY, steps=TRAIN_ONLY.steps[:1]))
    assert shorter.resume()
    assert shorter.done == 1


def test_what_another_run_finished_is_not_gone_on_from(make: Make, tmp_path: Path) -> None:
    """Only the checkpoint was removed, as the message says; the file beside it is older."""
    make().run_step()
    (tmp_path / 'checkpoint.pt').unlink()
    other = replace(TRAIN_ONLY, seed=2)
    interrupt(make, other)
    gentle = replace(other, steps=(replace(other.steps[0], lr_head=1e-6), other.steps[1]))
    again = make(gentle)
    assert not again.resume()
    assert again.done == 0


def test_a_disk_that_is_full_keeps_the_checkpoint_before(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said in one line; no part stays. torch turns a full disk into a RuntimeError."""
    compressor = make()
    compressor.run_step()
    kept = (tmp_path / 'checkpoint.pt').read_bytes()

    def full(_state: Any, part: Path) -> None:
        """Write a little, then fail as torch does."""
        part.write_bytes(b'half')
        raise RuntimeError('[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(TrainingError, match=r'cannot write the checkpoint to .*; free space ther'):
        compressor.run_step()
    assert (tmp_path / 'checkpoint.pt').read_bytes() == kept
    assert not list(tmp_path.glob('*.part'))


def test_a_disk_that_is_full_at_the_end_of_a_step_leaves_no_part(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the second file of a finished step, which would fill the disk for good."""
    save = torch.save

    def full(state: Any, target: Path) -> None:
        """Write the first file; then a little, and fail."""
        if target.name.startswith('checkpoint.pt'):
            save(state, target)
            return
        target.write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(TrainingError, match='No space left on device'):
        make().run_step()
    assert not list(tmp_path.glob('*.part'))


@pytest.mark.parametrize(('step', 'message'), [
    (steps.TruncateWhitening(dimension=17), '16 dimensions cannot be cut to 17'),
    (steps.ReduceChannels(channels=9, images=4), '8 channels cannot be reduced to 9'),
    (steps.Sparsify(tensors=('trnk',)), "did you mean 'trunk'"),
    (steps.Quantize(tensors=('layer9.*',)), 'chooses no weights'),
    (steps.QuantizeActivations(images=4), 'needs int8 weights in every convolution'),
])
def test_a_step_that_does_not_fit_the_network_is_refused(
    step: Any, message: str, make: Make
) -> None:
    """A student that would have to be larger than its parent, tensors that are not there."""
    with pytest.raises(ConfigError, match=message):
        make(steps.Recipe(steps=(step,))).run_step()


def test_sharing_twice_is_refused(make: Make) -> None:
    """What is shared already is left; nothing else is there to share."""
    recipe = steps.Recipe(steps=(steps.Quantize(), steps.Quantize(tensors=('projection',))))
    compressor = make(recipe)
    compressor.run_step()
    with pytest.raises(ConfigError, match=r'shared already.*projection\.weight'):
        compressor.run_step()


def test_the_rest_of_a_tensor_list_is_shared(make: Make) -> None:
    """A step over all tensors leaves those that have their values already."""
    recipe = steps.Recipe(steps=(
        steps.Quantize(tensors=('projection',), bits=3), steps.Quantize(bits=8)))
    compressor = make(recipe)
    compressor.run_step()
    before = compressor.student.constraints.codebooks['projection.weight']
    compressor.run_step()
    books = compressor.student.constraints.codebooks
    assert books['projection.weight'] is before
    assert len(books) == 6


def test_membership_is_fixed_once_a_step_that_moves_it_is_over(make: Make) -> None:
    """The step itself lets weights change their shared value; a later one only moves values."""
    fast: dict[str, Any] = {'steps': 12, 'batch': 6, 'lr_head': 0.1, 'lr_codebook': 0.05}
    compressor = make(steps.Recipe(steps=(
        steps.Quantize(tensors=('projection',), bits=4, reassign=True, **fast),
        steps.Finetune(**fast))))
    compressor.run_step()
    constraints = compressor.student.constraints
    assert not constraints.latent
    book = constraints.codebooks['projection.weight']
    symbols, levels = book.symbols.clone(), book.levels.detach().clone()
    compressor.run_step()
    assert torch.equal(book.symbols, symbols)
    assert not torch.equal(book.levels.detach(), levels)


def test_weights_move_between_shared_values_while_a_step_reassigns(make: Make) -> None:
    """Else there would be nothing to fix afterwards."""
    fast: dict[str, Any] = {'steps': 12, 'batch': 6, 'lr_head': 0.1}
    found = []
    for reassign in (False, True):
        compressor = make(steps.Recipe(steps=(
            steps.Quantize(tensors=('projection',), bits=4, reassign=reassign, **fast),)))
        compressor.run_step()
        found.append(compressor.student.constraints.codebooks['projection.weight'].symbols)
    assert not torch.equal(*found)
