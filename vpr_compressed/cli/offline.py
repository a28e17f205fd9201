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

"""What the verbs that train share: torch, overrides, ctrl-C, validation sets."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import signal
from typing import TYPE_CHECKING

from vpr_compressed.system.terminal import say

if TYPE_CHECKING:
    from vpr_compressed.offline.accuracy.validation import ValidationSet
    from vpr_compressed.offline.training.train_config import ValidationConfig

INTERRUPTED = 130
#: Share of right answers above the stored similarity threshold, for one image alone.
THRESHOLD_PRECISION = 0.99


def start_torch(threads: int) -> None:
    """
    Load torch and set it up for training.

    :param threads: CPU threads, 0 for all cores
    :raises TrainingError: if torch is not installed
    """
    load_torch(threads)
    _keep_freed_memory()


def load_torch(threads: int) -> None:
    """
    Load torch.

    :param threads: CPU threads, 0 for all cores
    :raises TrainingError: if torch is not installed
    """
    try:
        import torch
    except ImportError as error:
        from vpr_compressed.errors import TrainingError
        raise TrainingError(
            'this verb needs torch and torchvision, which are not installed; run '
            '"pip install vpr_compressed[train]" or "make setup"') from error
    if threads:
        torch.set_num_threads(threads)


def parse_overrides(pairs: list[str]) -> dict[str, object]:
    """
    Turn ``KEY=VALUE`` texts into values.

    :raises ConfigError: if one has no "="
    """
    import yaml

    from vpr_compressed.errors import ConfigError

    values: dict[str, object] = {}
    for pair in pairs:
        key, equals, text = pair.partition('=')
        if not equals:
            raise ConfigError(f'--set needs KEY=VALUE, got {pair!r}')
        values[key] = yaml.safe_load(text)
    return values


def tell(text: str) -> None:
    """Print one line on stderr, once for all processes."""
    from vpr_compressed.offline.training import parallel

    if parallel.is_main():
        say(text)


@contextmanager
def graceful(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first ctrl-C or SIGTERM; a second ctrl-C interrupts at once."""
    previous = {}

    def handle(_number: int, _frame: object) -> None:
        stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tell('finishing this step; once more to stop at once')

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def validation_set(root: Path, item: ValidationConfig) -> ValidationSet:
    """
    Read one set of validation images.

    :param root: folder the paths of the recipe are relative to
    :raises VprError: if images, table or ground truth are missing or do not fit
    """
    from dataclasses import replace

    from vpr_compressed.offline.accuracy.validation import positions_set
    from vpr_compressed.offline.accuracy.validation import walks_set
    from vpr_compressed.offline.training.labels import list_images

    if item.kind == 'positions':
        found = positions_set(
            list_images(root / item.folder), root / item.table, name=item.name, split=item.split,
            radius_m=item.radius_m, near_m=item.near)
    else:
        found = walks_set(
            list_images(root / item.query), list_images(root / item.reference),
            root / item.ground_truth, name=item.name, near_frames=item.near)
    return replace(found, dark=item.dark, calibrate=item.calibrate)


def _keep_freed_memory() -> None:
    """
    Tell glibc to keep freed memory for the next step.

    By default it hands every large block back to the system and clears the pages again at the
    next step, which took a third of the CPU time of a training on two cores.
    """
    import ctypes

    mmap_threshold, trim_threshold = -3, -1
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return  # another C library; only slower
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)
