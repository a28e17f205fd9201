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

"""A graph that was built once is taken from the cache, if it is still what was stored."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.errors import ModelFileError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.runtime.engines import ENGINES
from vpr_compressed.runtime.graph_cache import graph_bytes
from vpr_compressed.runtime.graph_cache import prepare
from vpr_compressed.runtime.graph_cache import work as build
from vpr_compressed.runtime.onnx_graph import build_graph
from vpr_compressed.runtime.onnxruntime_engine import OnnxRuntimeEngine
from vpr_compressed.system.files import cache_folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an empty cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'vpr_compressed' / 'graphs'


def test_nothing_is_kept_unasked(folder: Path) -> None:
    """Measuring fifty models must not fill the disk."""
    assert graph_bytes(make_tiny_model()) == build_graph(make_tiny_model()).SerializeToString()
    ENGINES.load(make_tiny_model())
    assert not folder.exists()


def test_a_kept_graph_is_used_without_building(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every engine; its bytes are the same."""
    data = graph_bytes(make_tiny_model(), keep=True)
    assert [path.read_bytes() for path in folder.iterdir()] == [data]
    monkeypatch.setattr('vpr_compressed.runtime.onnx_graph.build_graph', None)
    assert graph_bytes(make_tiny_model()) == data


def test_a_process_that_finds_its_graph_does_not_load_onnx(tmp_path: Path) -> None:
    """That is what the cache is for: about 30 MB less."""
    path = tmp_path / 'model.vpr'
    write_model(path, make_tiny_model())
    code = ('import sys; from pathlib import Path; '
            'from vpr_compressed.runtime.extractor import load_extractor; '
            f'load_extractor(Path({str(path)!r}), engine="onnxruntime"); '
            'sys.exit("onnx" in sys.modules)')
    codes = []
    for _ in range(2):
        codes.append(subprocess.run([sys.executable, '-c', code], check=False).returncode)
        graph_bytes(make_tiny_model(), keep=True)
    assert codes == [1, 0]


@pytest.mark.parametrize('engine', ['onnxruntime', 'opencv', 'opencv-float', 'torch'])
def test_a_process_that_stays_has_its_graph_built_by_another(
    engine: str, tmp_path: Path, folder: Path
) -> None:
    """The node, with an engine named by a parameter: nothing raced, so nothing was left."""
    pytest.importorskip({'torch': 'torch', 'onnxruntime': 'onnxruntime'}.get(engine, 'cv2'))
    path = tmp_path / 'model.vpr'
    write_model(path, make_tiny_model())
    code = ('import sys; from pathlib import Path; '
            'from vpr_compressed.offline.network.engines import load_extractor; '
            f'load_extractor(Path({str(path)!r}), engine={engine!r}, stays=True); '
            'sys.exit("onnx" in sys.modules)')
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
    assert folder.exists() == (engine != 'torch')


def test_a_graph_that_nobody_can_build_stops_nothing(
    tmp_path: Path, folder: Path
) -> None:
    """The builder says why; whoever wanted the graph builds it, or says why itself."""
    path = tmp_path / 'gone.vpr'
    prepare(path, make_tiny_model(), trunk_only=False)
    assert not folder.exists()
    with pytest.raises(ModelFileError, match='no model file'):
        next(build({'path': str(path), 'trunk_only': False, 'rounded': True}))


def test_another_graph_for_other_weights_operations_or_ranges() -> None:
    """Also for equal weights in another precision, which run as other operations."""
    model = make_tiny_model()
    half = model.with_precision('fp16')
    expanded = dataclasses.replace(half, tensors={
        name: half.float_tensor(name) for name in half.tensors})
    ranged, wider = (dataclasses.replace(model, activations={
        'image': ActivationRange(scale, 114)}) for scale in (0.02, 0.03))
    found = [graph_bytes(one, keep=True) for one in (
        make_tiny_model(seed=5), half, expanded, ranged, wider)]
    found.append(graph_bytes(half, trunk_only=True, keep=True))
    assert len({*found}) >= 5
    wanted = [build_graph(one).SerializeToString() for one in (half, expanded, ranged, wider)]
    assert [graph_bytes(one) for one in (half, expanded, ranged, wider)] == wanted


def test_only_the_newest_are_kept(folder: Path) -> None:
    """Four graphs; nothing else is left of the others."""
    models = [make_tiny_model(seed=seed) for seed in range(6)]
    for model in models:
        graph_bytes(model, keep=True)
    assert len([*folder.iterdir()]) == 4


@pytest.mark.parametrize('damage', ['flipped', 'short', 'empty'])
def test_a_damaged_graph_is_built_anew(
    damage: str, folder: Path, rng: np.random.Generator
) -> None:
    """One flipped bit of a weight would be another network without a word."""
    model: Model = make_tiny_model()
    data = bytearray(graph_bytes(model, keep=True))
    path = next(folder.iterdir())
    data[len(data) // 2] ^= 4
    path.write_bytes({'flipped': bytes(data), 'short': bytes(data[:100]), 'empty': b''}[damage])
    image = rng.standard_normal((1, 3, 48, 64)).astype(np.float32)
    assert graph_bytes(model, keep=True) == build_graph(model).SerializeToString()
    assert np.isfinite(OnnxRuntimeEngine(model).describe(image)).all()
    assert [file.read_bytes() for file in folder.iterdir()] == [graph_bytes(model)]


def test_a_user_without_a_home_has_a_cache_all_the_same(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a service of the system; one of its own, so that nobody else writes there."""
    def homeless() -> Path:
        raise RuntimeError('Could not determine home directory.')
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert cache_folder() == Path.home() / '.cache' / 'vpr_compressed'
    monkeypatch.setattr(Path, 'home', homeless)
    assert cache_folder().name == f'vpr_compressed-{os.getuid()}'


def test_a_cache_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a read-only home."""
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    assert graph_bytes(make_tiny_model(), keep=True) == graph_bytes(make_tiny_model())
