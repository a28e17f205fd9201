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
The ONNX graph of a model as bytes: from the user's cache if it is there, else built.

Building one takes the ONNX package and, in the course of it, some 30 MB of memory that a process
does not get rid of. The race of the engines happens in processes that end, so they leave the
graph here for the one that stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import hashlib
from pathlib import Path
import sys
from typing import Any

from vpr_compressed import __version__
from vpr_compressed.errors import VprError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.system import processes
from vpr_compressed.system.files import cache_folder
from vpr_compressed.system.files import cache_key
from vpr_compressed.system.files import write_whole

#: Graphs kept: one robot, a model or two, with and without rounded activations.
_KEPT = 4
MODULE = 'vpr_compressed.runtime.graph_cache'
_LIMIT_S = 120.0
#: What changes when the same model gives another graph.
_SOURCES = ('runtime/onnx_graph.py', 'runtime/integers.py', 'model_file/spec.py')


def graph_bytes(model: Model, *, trunk_only: bool = False, keep: bool = False) -> bytes:
    """
    Return the serialised graph of a model.

    :param trunk_only: end at the local features
    :param keep: put a graph that had to be built into the cache
    """
    key = _key(model, trunk_only=trunk_only)
    found = _cached(key)
    if found is not None:
        return found
    from vpr_compressed.runtime import onnx_graph

    build = onnx_graph.build_trunk_graph if trunk_only else onnx_graph.build_graph
    data: bytes = build(model).SerializeToString()
    if keep:
        _store(key, data)
    return data


def prepare(path: Path, model: Model, *, trunk_only: bool) -> None:
    """
    Put the graph an engine needs into the cache, built by a process that ends.

    For a process that stays; where this fails, it builds the graph itself.

    :param path: the file the model came from
    :param model: what will be asked for: that of the file, or without its activation ranges
    :param trunk_only: as for :func:`graph_bytes`
    """
    if _cached(_key(model, trunk_only=trunk_only)) is not None:
        return
    with contextlib.suppress(OSError, VprError):
        processes.run_worker(
            MODULE, {'path': str(path), 'trunk_only': trunk_only,
                     'rounded': bool(model.activations)},
            name='the process that builds a graph', limit_s=_LIMIT_S)


def _key(model: Model, *, trunk_only: bool) -> str:
    """Return what a graph depends on."""
    activations = {name: [found.scale, found.zero_point]
                   for name, found in model.activations.items()}
    # Equal weights have equal ids, but int8 and float ones other operations.
    kinds = {name: type(tensor).__name__ for name, tensor in model.tensors.items()}
    root = Path(__file__).resolve().parents[1]
    code = _digest(b''.join((root / name).read_bytes() for name in _SOURCES))
    return cache_key(
        [code, __version__, model.descriptor_id, activations, kinds, trunk_only])


def _cached(key: str) -> bytes | None:
    """Return a graph whose bytes are those that were stored, None if there is none."""
    for path in sorted((cache_folder() / 'graphs').glob(f'{key}-*.onnx')):
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            # One flipped bit would be another network, silently.
            if path.stem.endswith(_digest(data)):
                return data
            path.unlink()
    return None


def _store(key: str, data: bytes) -> None:
    """Keep a graph and the newest others; where that is impossible, nothing is kept."""
    folder = cache_folder() / 'graphs'
    with contextlib.suppress(OSError):
        write_whole(folder / f'{key}-{_digest(data)}.onnx', data)
        newest = sorted(folder.glob('*.onnx'), key=lambda path: path.stat().st_mtime_ns)
        for path in newest[:-_KEPT]:
            path.unlink(missing_ok=True)


def _digest(data: bytes) -> str:
    """Return a checksum for a file name."""
    return hashlib.sha256(data).hexdigest()[:32]


def work(arguments: Mapping[str, Any]) -> Iterator[None]:
    """
    Build a graph and keep it.

    :param arguments: those of :func:`prepare`, with ``rounded`` for the activations
    :raises VprError: if the model cannot be read or has no graph
    """
    model = read_model(Path(arguments['path']))
    if not arguments['rounded']:
        model = dataclasses.replace(model, activations={})
    graph_bytes(model, trunk_only=arguments['trunk_only'], keep=True)
    yield None


if __name__ == '__main__':
    sys.exit(processes.serve(work))
