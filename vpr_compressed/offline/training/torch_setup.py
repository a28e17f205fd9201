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

"""Load torch, which is an extra, and set its process up; this module itself does without it."""

from __future__ import annotations

import ctypes

from vpr_compressed.errors import TrainingError


def load_torch(threads: int) -> None:
    """
    Load torch.

    :param threads: CPU threads, 0 for all cores
    :raises TrainingError: if torch is not installed
    """
    try:
        import torch
    except ImportError as error:
        raise TrainingError(
            'this verb needs torch and torchvision, which are not installed; run '
            '"pip install vpr_compressed[train]" or "make setup"') from error
    if threads:
        torch.set_num_threads(threads)


def start_torch(threads: int) -> None:
    """
    Load torch and set it up for training.

    By default glibc hands every large block back to the system and clears the pages again at the
    next step, which took a third of the CPU time of a training on two cores: it is told to keep
    them.

    :param threads: CPU threads, 0 for all cores
    :raises TrainingError: if torch is not installed
    """
    load_torch(threads)
    mmap_threshold, trim_threshold = -3, -1
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return  # another C library; only slower
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)
