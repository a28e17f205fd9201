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

"""Verb compress under torchrun: two processes share each batch and end like one."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch  # noqa: F401

from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.tensors import QuantizedTensor

RECIPE = """
held_out: 0.4
acceptance: {min_agreement: 0.0, min_cosine: 0.0}
measure_steps: false
steps:
- {step: reduce_channels, channels: 7, images: 12, steps: 4, batch: 6}
- {step: sparsify, tensors: [projection], sparsity: 0.5, steps: 12, batch: 6}
- {step: quantize, tensors: [all], bits: 8, steps: 4, batch: 6}
"""
TWO = ['-m', 'torch.distributed.run', '--nproc-per-node', '2', '--rdzv-backend', 'c10d',
       '--rdzv-endpoint', 'localhost:0']
# A GPU would be used if there were one: this is about two processes on one CPU.
ENVIRONMENT = {**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}


@pytest.mark.slow
def test_two_processes_end_like_one(tmp_path: Path, tiny_model_path: Path) -> None:
    """The same masks, and weights that differ by less than a step of the grid."""
    images = tmp_path / 'images'
    images.mkdir()
    for number in range(60):
        blocks = np.random.default_rng(number).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        cv2.imwrite(str(images / f'{number}.png'),
                    cv2.resize(blocks, (64, 48), interpolation=cv2.INTER_NEAREST))
    recipe = tmp_path / 'tiny.yaml'
    recipe.write_text(RECIPE, encoding='utf-8')
    models = []
    for name, launcher in (('one', []), ('two', TWO)):
        out = tmp_path / name
        done = subprocess.run(
            [sys.executable, *launcher, '-m', 'vpr_compressed', 'compress', '--recipe',
             str(recipe), '--images', str(images), '--model', str(tiny_model_path), '--out',
             str(out), '--cache', str(tmp_path / 'cache'), '--threads', '1'],
            capture_output=True, text=True, env=ENVIRONMENT, check=False)
        assert done.returncode == 0, done.stderr
        models.append(read_model(out / 'model.vpr'))
    one, two = models
    assert one.spec == two.spec
    for tensor_name in one.spec.tensor_shapes():
        first, second = one.float_tensor(tensor_name), two.float_tensor(tensor_name)
        stored = one.tensors[tensor_name]
        limit = 1e-3
        if isinstance(stored, QuantizedTensor):
            limit = float(stored.scale.max()) * 1.01  # a weight between two integers may flip
            assert np.mean(first == 0) == pytest.approx(np.mean(second == 0), abs=0.01)
        assert np.abs(first - second).max() <= limit, tensor_name
