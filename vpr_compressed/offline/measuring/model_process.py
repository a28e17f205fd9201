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
A model in a process of its own, seen from outside: what it cost to load, and what it is asked.

Memory and milliseconds of a model can only be told apart from those of torch, of the data or of
another model in a process that runs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import option
from vpr_compressed.errors import VprError
from vpr_compressed.system.processes import never
from vpr_compressed.system.processes import Worker

MODULE = 'vpr_compressed.offline.measuring.model_worker'


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """
    Image files.

    :param change: '' for the images as they are; ``dark`` makes them dark, each with its place in
        the list as seed
    """

    paths: tuple[Path, ...]
    change: str = option('', 'what to do to the images', choices=('', 'dark'))

    def __len__(self) -> int:
        return len(self.paths)

    def to_values(self) -> dict[str, Any]:
        """Return plain data."""
        return {'paths': [str(path) for path in self.paths], 'change': self.change}


@dataclass(frozen=True, kw_only=True)
class ImageRows:
    """
    Pictures at network size in one array file.

    :param array: file ``.npy``: uint8 RGB, ``(N, h, w, 3)``
    :param rows: which of the N to describe
    """

    array: Path
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def to_values(self) -> dict[str, Any]:
        """Return plain data."""
        return {'array': str(self.array), 'rows': [int(row) for row in self.rows]}


@dataclass(frozen=True, kw_only=True)
class LoadCost:
    """
    What a model is on one engine, and what it cost to load it and run it once.

    :param precision: of the weights
    :param rounds_activations: whether the model file has ranges for them
    :param load_s: seconds from the file to the first descriptor
    :param resident_bytes: memory the process gained, the engine's library included
    :param peak_bytes: the most it was on the way there
    """

    engine: str
    precision: str
    rounds_activations: bool
    model_bytes: int
    load_s: float
    resident_bytes: int
    peak_bytes: int


class ModelProcess:
    """
    A model on one engine, loaded in a process of its own, until it is closed.

    :param engine: one of :data:`.engines.ALL_ENGINES`, or ``auto``
    :param threads: CPU threads, 0 for all cores
    :param name: for messages; None for that of the model file
    :param cancelled: asked several times a second while the model is loaded
    :raises MeasurementCancelledError: if it says so
    :raises VprError: if the model cannot be loaded or run, in the words of the process
    """

    def __init__(
        self, model: Path, *, engine: str, threads: int, name: str | None = None,
        cancelled: Callable[[], bool] = never
    ) -> None:
        self._worker = Worker(
            MODULE, {'model': str(model), 'engine': engine, 'threads': threads},
            name=name or f'the process that measured {model}')
        try:
            self.cost = LoadCost(**self._worker.result(cancelled=cancelled))
        except BaseException:
            self.close()
            raise

    def ask(self, task: str, **question: Any) -> Any:
        """
        Have it do a task of :mod:`.model_worker`.

        :param question: keyword arguments of the task, and those of :meth:`.Worker.result`
        :returns: plain data
        :raises VprError: as for :meth:`.Worker.result`
        """
        waiting = {name: question.pop(name) for name in ('cancelled', 'progress')
                   if name in question}
        return self._worker.ask({'task': task, **question}, **waiting)

    def ask_arrays(self, task: str, **question: Any) -> tuple[Any, dict[str, NDArray[Any]]]:
        """
        Have it do a task that writes arrays to a file ``out``.

        :returns: plain data, and the arrays by name
        :raises VprError: as for :meth:`ask`, and if the disk is full
        """
        with _folder() as folder:
            out = folder / 'arrays.npz'
            values = self.ask(task, out=str(out), **question)
            with np.load(out, allow_pickle=False) as arrays:
                return values, dict(arrays)

    def close(self) -> None:
        """End the process."""
        self._worker.close()


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield a folder for arrays, which travel through files."""
    try:
        with tempfile.TemporaryDirectory(prefix='vpr_compressed-measure-') as name:
            yield Path(name)
    except OSError as error:
        raise VprError(
            f'cannot measure in a process of its own: {error}; is the disk of '
            f'{tempfile.gettempdir()} full?') from error
