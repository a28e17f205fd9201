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

"""Rounded weights keep the means of all layers, and the images say how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vpr_compressed.offline.compression.calibration_images import calibrate
from vpr_compressed.offline.compression.calibration_images import mean_outputs
from vpr_compressed.offline.compression.recipe import Quantize
from vpr_compressed.offline.compression.steps import HANDLERS
from vpr_compressed.offline.compression.steps import Work

MakeStudent = Callable[[], Any]


@pytest.mark.parametrize('grid', ['int8', 'float'])
def test_sharing_weights_leaves_the_mean_of_every_convolution(
    grid: str, make_student: MakeStudent, views: Any
) -> None:
    """With three bits a filter is far from what it was; the biases make up for it, in order."""
    student = make_student()
    images = torch.from_numpy(views.batch(np.arange(len(views))))
    before = mean_outputs(student.network, images)
    assert [layer.name for layer in before] == ['stem', 'deep', 'point']
    weights = student.network.tensors()
    work = Work(student, views, (1, 0), lambda *_: None)
    HANDLERS[Quantize].begin(work, Quantize(tensors=('trunk',), bits=3, grid=grid))
    assert all((weights[name] != student.network.tensors()[name]).any()
               for name in ('stem.weight', 'deep.weight', 'point.weight'))
    after = mean_outputs(student.network, images)
    for layer, wanted in before.items():
        # A layer behind one that is not corrected, or not seen corrected, would be off by more.
        torch.testing.assert_close(after[layer], wanted, rtol=0.0, atol=1e-5)


def test_a_head_that_is_shared_needs_no_images(make_student: MakeStudent, views: Any) -> None:
    """The biases of the trunk stay as they are."""
    student = make_student()
    before = student.network.tensors()
    stages: list[str] = []
    work = Work(student, views, (1, 0), lambda stage, *_: stages.append(stage))
    HANDLERS[Quantize].begin(work, Quantize(tensors=('projection',), bits=3))
    assert set(stages) == {'k-means'}
    for name in ('stem.bias', 'deep.bias', 'point.bias'):
        np.testing.assert_array_equal(student.network.tensors()[name], before[name])


def test_ranges_hold_what_the_layers_give(make_student: MakeStudent, views: Any) -> None:
    """All of it at 100 per cent, less at 90; of the image and of every layer."""
    student = make_student()
    images = torch.from_numpy(views.batch(np.arange(8)))
    whole, part = (calibrate(student, [images], percentile) for percentile in (100.0, 90.0))
    assert list(whole) == ['image', *(layer.name for layer in student.spec.layers)]
    with torch.inference_mode():
        last = student.network.features(images)
    found = whole[student.spec.layers[-1].name]
    assert found.scale * (255 - found.zero_point) >= float(last.max()) - found.scale
    assert all(part[name].scale <= whole[name].scale for name in whole)
    assert part['stem'].scale < whole['stem'].scale
