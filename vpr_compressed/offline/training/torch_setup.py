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

from contextlib import suppress
import ctypes

from vpr_compressed.errors import TrainingError


def load_torch(threads: int, *, for_training: bool = False) -> None:
    """
    Load torch and set up its process.

    By default glibc hands every large block back to the system and clears the pages again at the
    next step, which took a third of the CPU time of a training on two cores: for one it is told
    to keep them.

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
    if for_training:
        mmap_threshold, trim_threshold = -3, -1
        with suppress(OSError, AttributeError, TypeError):  # another C library; only slower
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(mmap_threshold, 1 << 30)
            mallopt(trim_threshold, (1 << 31) - 1)
