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
Which engine runs a model fastest on this machine, and computes what the model's maker computed.

Int8 may be slower than float on a CPU without dot-product instructions, and one engine faster
than another, so every installed one is tried: in a process of its own, because a library that
was loaded stays in memory, and one that the CPU cannot run takes its process with it. What was
found is kept per machine and model.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
import json
import os
from pathlib import Path
import platform
import sys
import time
from typing import Any

import numpy as np

from vpr_compressed import __version__
from vpr_compressed.errors import EngineError
from vpr_compressed.errors import VprError
from vpr_compressed.images.pixels import normalise
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.runtime.engines import DEFAULT
from vpr_compressed.runtime.engines import ENGINES
from vpr_compressed.runtime.engines import FLOAT
from vpr_compressed.runtime.graph_cache import graph_bytes
from vpr_compressed.runtime.parity import check_parity
from vpr_compressed.runtime.parity import LEAST_COSINE
from vpr_compressed.runtime.parity import reference_images
from vpr_compressed.system import memory
from vpr_compressed.system import processes
from vpr_compressed.system.files import cache_folder
from vpr_compressed.system.files import cache_key
from vpr_compressed.system.files import write_whole
from vpr_compressed.system.machine import processor
from vpr_compressed.system.machine import versions
from vpr_compressed.system.terminal import human_bytes

MODULE = 'vpr_compressed.runtime.selection'
#: Another engine must be this much faster than the default, or noise would choose.
GAIN = 0.85
_LIMIT_S = 120.0
#: Images timed at most, and the time after which no further one is.
_IMAGES, _ENOUGH_S = 15, 3.0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """
    How one engine did.

    :param engine: name as :class:`.engines.Engines` takes it
    :param milliseconds: per image, lower quartile (others work here, too), 0 if it did not run
    :param cosine: lowest to the reference descriptors of the file, 0 if it did not run
    :param load_s: seconds to prepare it
    :param resident_bytes: memory of a process with this engine and the model alone
    :param error: why it cannot be used, empty if it can
    """

    engine: str
    milliseconds: float = 0.0
    cosine: float = 0.0
    load_s: float = 0.0
    resident_bytes: int = 0
    error: str = ''

    @property
    def passed(self) -> bool:
        """Tell whether it may run the model."""
        return not self.error

    def describe(self) -> str:
        """Return it in words."""
        if self.error:
            return f'{self.engine}: {self.error}'
        return (f'{self.engine}: {self.milliseconds:.1f} ms, cosine {self.cosine:.4f}, '
                f'{human_bytes(self.resident_bytes)}')


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """
    The engine to use, and why.

    :param trials: all engines that were tried; empty if there was no choice
    :param cached: whether the trials are from an earlier start
    """

    engine: str
    trials: tuple[Trial, ...] = ()
    cached: bool = False

    def describe(self) -> str:
        """Return it in words, for a log."""
        if not self.trials:
            return f'{self.engine} (nothing else to compare it with, or asked for)'
        when = 'measured earlier on this machine' if self.cached else 'measured now'
        tried = '; '.join(trial.describe() for trial in self.trials)
        return f'{self.engine} ({when}: {tried})'


def try_engine(name: str, path: Path, threads: int) -> Trial:
    """Try one engine in a process of its own; whatever goes wrong is part of the answer."""
    try:
        found = Trial(**processes.run_worker(
            MODULE, [name, str(path), threads], name='its process', limit_s=_LIMIT_S))
    except (OSError, VprError) as error:
        return Trial(engine=name, error=str(error))
    if not found.cosine >= LEAST_COSINE:
        return replace(found, error=(
            f'fails parity: cosine {found.cosine:.4f} to the descriptors in the model file, '
            f'at least {LEAST_COSINE} is needed'))
    return found


def choose_engine(
    path: Path, model: Model, *, threads: int = 0, cache: Path | None = None,
    attempt: Callable[[str, Path, int], Trial] = try_engine
) -> EngineChoice:
    """
    Return the fastest engine that passes the parity check, from the cache if it is known.

    A model file without reference descriptors cannot be checked, so it runs on the default.

    :param path: the model file, for the processes that try it
    :param threads: CPU threads, 0 for all cores
    :param cache: file of earlier choices; None takes the user's own
    :param attempt: tries one engine; None does it in a process of its own
    :raises EngineError: if no engine can run the model, with the reason of each
    """
    names = candidates(model)
    if not names:
        raise EngineError(
            'no inference engine is installed; install one: pip install onnxruntime onnx')
    if len(names) == 1 or model.reference is None or not len(model.reference):
        return EngineChoice(engine=names[0])
    cache = cache or cache_folder() / 'engines.json'
    key = _key(model, names, threads)
    known = _stored(cache).get(key)
    if known is not None:
        try:
            trials = tuple(Trial(**trial) for trial in known)
            return EngineChoice(engine=_best(trials), trials=trials, cached=True)
        except (TypeError, ValueError, EngineError):
            pass  # damaged, or nothing passed then: try again
    trials = tuple(attempt(name, path, threads) for name in names)
    best = _best(trials)
    _store(cache, key, [asdict(trial) for trial in trials])
    return EngineChoice(engine=best, trials=trials)


def candidates(model: Model) -> list[str]:
    """Return the engines worth trying, the default first."""
    names = ENGINES.installed()
    if model.activations:
        names += [f'{name}{FLOAT}' for name in names if ENGINES.kind(name).integers]
    return names


def _best(trials: Sequence[Trial]) -> str:
    """
    Return the fastest that passed; the default unless another is clearly faster.

    :raises EngineError: if none did
    """
    passed = [trial for trial in trials if trial.passed]
    if not passed:
        reasons = '; '.join(trial.describe() for trial in trials)
        raise EngineError(
            f'no engine can run this model here: {reasons}. Install another one (pip install '
            'onnxruntime onnx, or openvino), or make the model file again')
    best = min(passed, key=lambda trial: trial.milliseconds)
    hardly_faster = any(
        trial.engine == DEFAULT and best.milliseconds > GAIN * trial.milliseconds
        for trial in passed)
    return DEFAULT if hardly_faster else best.engine


def _key(model: Model, names: Sequence[str], threads: int) -> str:
    """Return what a choice depends on: model, machine, threads and versions."""
    return cache_key([
        __version__, model.descriptor_id, sorted(model.activations), list(names), threads,
        platform.node(), platform.machine(), processor(), os.cpu_count(), versions()])


def _stored(cache: Path) -> dict[str, Any]:
    """Return all earlier choices; a damaged or missing file holds none."""
    try:
        values = json.loads(cache.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _store(cache: Path, key: str, trials: list[dict[str, Any]]) -> None:
    """Keep a choice; where that is impossible, the next start tries again."""
    with contextlib.suppress(OSError):
        write_whole(cache, json.dumps({**_stored(cache), key: trials}, indent=1).encode())


def work(arguments: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """
    Load an engine in this process, compare it with the reference descriptors and time it.

    :param arguments: its name, the model file, threads
    :returns: yields the fields of a :class:`Trial`
    :raises VprError: if it cannot run the model
    """
    name, path, threads = arguments
    model = read_model(Path(path))
    kind = ENGINES.kind(name)
    # For the process that will stay: it need not build it, nor load what builds it.
    graph_bytes(kind.model_run(model), trunk_only=kind.trunk_only, keep=True)
    started = time.perf_counter()
    engine = ENGINES.load(model, name, threads)
    load_s = time.perf_counter() - started
    cosine = check_parity(model, engine)  # also warms up
    image = normalise(reference_images(model.preprocessing, 1)[0][np.newaxis],
                      model.preprocessing)
    del model
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < _IMAGES and (time.perf_counter() - begun < _ENOUGH_S or len(times) < 3):
        started = time.perf_counter()
        engine.describe(image)
        times.append(time.perf_counter() - started)
    yield asdict(Trial(
        engine=name, milliseconds=1e3 * float(np.quantile(times, 0.25)), load_s=load_s,
        cosine=0.0 if cosine is None or not np.isfinite(cosine) else cosine,
        resident_bytes=memory.resident_bytes()))


if __name__ == '__main__':
    sys.exit(processes.serve(work))
