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

"""The process that describes images apart from torch: same numbers, honest bytes, clear errors."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest

from vpr_compressed.errors import VprError
from vpr_compressed.images.pixels import resize
from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.offline.accuracy.night import darken
from vpr_compressed.offline.measuring import model_process
from vpr_compressed.offline.measuring.model_process import ImageFiles
from vpr_compressed.offline.measuring.model_process import ImageRows
from vpr_compressed.runtime.extractor import Extractor
from vpr_compressed.runtime.extractor import load_extractor
from vpr_compressed.system import processes

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def images(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, ...]:
    """Return four images, larger than the network's input."""
    paths = []
    for number in range(4):
        path = tmp_path / f'{number}.png'
        pixels = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (96, 72))
        cv2.imwrite(str(path), pixels)
        paths.append(path)
    return tuple(paths)


def as_sent(value: object) -> Any:
    """Return what arrives in another process."""
    return json.loads(json.dumps(value, default=processes.plain))


def describe(
    out: Path, model: Path, *lists: ImageFiles | ImageRows
) -> list[np.ndarray]:
    """Have the lists described in this process; return the arrays."""
    extractor = load_extractor(model, engine='onnxruntime', threads=1)
    model_process.describe_lists(
        extractor, lists=as_sent(lists), out=str(out / 'arrays.npz'))
    with np.load(out / 'arrays.npz') as arrays:
        return list(arrays.values())


def load(path: Path) -> np.ndarray:
    """Return an image file at network size."""
    return resize(rgb_from_encoded(path.read_bytes(), name=path.name), 64, 48)


def test_the_worker_never_loads_torch(
    tmp_path: Path, tiny_model_path: Path, images: tuple[Path, ...]
) -> None:
    """Its memory would say nothing about a robot's; the map's FAISS has no business there too."""
    lists = [ImageFiles(paths=images), ImageFiles(paths=images, change='dark')]
    code = (
        'import sys\nfrom vpr_compressed.offline.measuring.model_process import work\n'
        'from vpr_compressed.system.processes import serve\n'
        'assert serve(work) == 0\nprint(*sys.modules)')
    result = subprocess.run(
        [sys.executable, '-c', code, json.dumps(
            {'model': str(tiny_model_path), 'engine': 'onnxruntime', 'threads': 1})],
        input=json.dumps({'task': 'describe', 'lists': as_sent(lists),
                          'out': str(tmp_path / 'arrays.npz')}),
        cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.splitlines()[-1].split())
    assert 'onnxruntime' in loaded
    assert not loaded & {'torch', 'torchvision', 'matplotlib', 'faiss', 'rosbags'}
    assert '{"done": 8, "total": 8}' in result.stdout


def test_files_rows_and_dark_images_are_described_as_elsewhere(
    tmp_path: Path, tiny_model_path: Path, images: tuple[Path, ...],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files as the extractor has them, rows the same, dark ones as training validates them."""
    frames = tmp_path / 'frames.npy'
    np.save(frames, np.stack([load(path) for path in images]))
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(processes, 'talker', lambda: lambda *counts: asked.append(counts))
    plain, rows, dark = describe(
        tmp_path, tiny_model_path, ImageFiles(paths=images), ImageRows(array=frames, rows=(3, 1)),
        ImageFiles(paths=images[1:], change='dark'))
    extractor = load_extractor(tiny_model_path, threads=1)
    for number, path in enumerate(images):
        np.testing.assert_allclose(plain[number], extractor.describe(load(path)), atol=1e-6)
    np.testing.assert_allclose(rows, plain[[3, 1]], atol=1e-6)
    for number, path in enumerate(images[1:]):
        night = darken(load(path), np.random.default_rng([0, number]))
        np.testing.assert_allclose(dark[number], extractor.describe(night), atol=1e-6)
    assert np.abs(dark - plain[1:]).max() > 0.01
    assert plain.dtype == np.float32
    assert asked == [(number, 9) for number in range(1, 10)]


def test_dark_images_are_those_of_the_image_loader(
    tmp_path: Path, tiny_model_path: Path, images: tuple[Path, ...]
) -> None:
    """The parent is validated with one, its file with the other."""
    pytest.importorskip('torch', reason='the loader belongs to training')
    from vpr_compressed.images.pixels import normalise
    from vpr_compressed.model_file.spec import PreprocessingSpec
    from vpr_compressed.offline.training.batches import ImageLoader

    spec = PreprocessingSpec(width=64, height=48)
    loader = ImageLoader(spec)
    expected = next(loader.batches(images, change='dark'))
    loader.close()
    found = [image for _, image in model_process.images_of(
        ImageFiles(paths=images, change='dark'), (64, 48))]
    np.testing.assert_array_equal(normalise(np.stack(found), spec), expected)


@pytest.mark.parametrize(('rows', 'array', 'message'), [
    ((0, 4), np.zeros((4, 48, 64, 3), np.uint8), 'rows 0 to 3, asked for 0 to 4'),
    ((-1,), np.zeros((4, 48, 64, 3), np.uint8), 'asked for -1'),
    ((0,), np.zeros((4, 48, 64, 3), np.float32), 'got float32 of shape'),
    ((0,), np.zeros((4, 48, 64), np.uint8), r'shape \(4, 48, 64\)'),
    ((0,), np.zeros((2, 3, 4, 3), np.uint8, order='F'), 'C order'),
])
def test_wrong_arrays_are_refused(
    tmp_path: Path, rows: tuple[int, ...], array: np.ndarray, message: str
) -> None:
    """What else the bytes might mean is not guessed."""
    path = tmp_path / 'frames.npy'
    np.save(path, array)
    with pytest.raises(VprError, match=message):
        list(model_process._rows(path, rows))


def test_missing_and_damaged_arrays_are_refused(tmp_path: Path) -> None:
    """As after a full disk."""
    with pytest.raises(VprError, match='cannot read the pictures'):
        list(model_process._rows(tmp_path / 'none.npy', (0,)))
    (tmp_path / 'cut.npy').write_bytes(b'\x93NUMPY\x01\x00')
    with pytest.raises(VprError, match='cannot read the pictures'):
        list(model_process._rows(tmp_path / 'cut.npy', (0,)))


def test_what_cannot_be_described_has_a_reason(tmp_path: Path, tiny_model_path: Path) -> None:
    """An image that is gone, a key that is misspelt, weights that are broken."""
    with pytest.raises(VprError, match=r'gone\.png: No such file'):
        describe(tmp_path, tiny_model_path, ImageFiles(paths=(tmp_path / 'gone.png',)))
    with pytest.raises(VprError, match="did you mean 'change'"):
        model_process.describe_lists(
            load_extractor(tiny_model_path, engine='onnxruntime', threads=1),
            lists=[{'paths': [], 'chance': ''}], out='')


def test_broken_weights_are_found_by_what_they_compute(
    tmp_path: Path, tiny_model_path: Path, images: tuple[Path, ...],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor that is no number would be ranked all the same."""
    monkeypatch.setattr(
        Extractor, 'describe', lambda *_args: np.full(16, np.nan, np.float32))
    with pytest.raises(VprError, match=r'0\.png with NaN or infinity'):
        describe(tmp_path, tiny_model_path, ImageFiles(paths=images))
