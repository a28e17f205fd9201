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

"""Checkpoints of a training: written whole, read strictly, nothing in them is ever run."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
import shutil
from typing import Any
import zipfile

import torch

from vpr_compressed.errors import TrainingError
from vpr_compressed.system.files import whole_file


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """
    Write tensors and plain data; a crash leaves the checkpoint before.

    :raises TrainingError: if the disk is full
    """
    with _written(path) as part:
        torch.save(dict(state), part)


def copy_checkpoint(source: Path, path: Path) -> None:
    """
    Copy a checkpoint; a crash leaves the one before.

    :raises TrainingError: if the disk is full
    """
    with _written(path) as part:
        shutil.copyfile(source, part)


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """Yield the part that becomes a checkpoint."""
    try:
        with whole_file(path) as part:
            yield part
    except (OSError, RuntimeError) as error:  # torch turns a full disk into a RuntimeError
        raise TrainingError(
            f'cannot write the checkpoint to {path.parent} ({error}); free space there, then '
            'give the same command again') from error


def read_checkpoint(path: Path, keys: frozenset[str]) -> dict[str, Any] | None:
    """
    Return the content of a checkpoint, on the CPU, or None if there is none.

    :param keys: what it must have
    :raises TrainingError: if it is damaged; torch itself does not look at the checksums it wrote
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f'checksum of {damaged} differs')  # noqa: TRY301
        state: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
        if missing := keys - set(state):
            raise KeyError(f'no {", ".join(sorted(missing))}')  # noqa: TRY301
    except Exception as error:  # torch raises half a dozen types for damaged files
        raise TrainingError(
            f'cannot read {path} ({error}); remove it to start again') from error
    return state
