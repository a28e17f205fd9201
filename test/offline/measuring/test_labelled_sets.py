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

"""The worker that describes images apart from torch: same numbers, honest bytes, clear errors."""

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
from vpr_compressed.offline.measuring import labelled_sets
from vpr_compressed.offline.measuring.labelled_sets import ImageFiles
from vpr_compressed.offline.measuring.labelled_sets import ImageRows
from vpr_compressed.offline.measuring.labelled_sets import ModelFacts
from vpr_compressed.offline.measuring.labelled_sets import WorkerJob
from vpr_compressed.offline.training.augment import darken
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


def write_job(folder: Path, model: Path, *lists: ImageFiles | ImageRows, **changes: Any) -> Path:
    """Write a job file and return its path."""
    out = folder / 'out'
    out.mkdir(exist_ok=True)
    job = WorkerJob(model=model, engine='onnxruntime', threads=1, size=(64, 48), lists=lists,
                    out=out)
    path = folder / 'job.json'
    path.write_text(json.dumps({**job.to_json(), **changes}), encoding='utf-8')
    return path


def load(path: Path) -> np.ndarray:
    """Return an image file at network size."""
    return resize(rgb_from_encoded(path.read_bytes(), name=path.name), 64, 48)


def test_the_worker_never_loads_torch(
    tmp_path: Path, tiny_model_path: Path, images: tuple[Path, ...]
) -> None:
    """Its memory would say nothing about a robot's; the map's FAISS has no business there too."""
    job = write_job(tmp_path, tiny_model_path, ImageFiles(paths=images),
                    ImageFiles(paths=images, change='dark'))
    code = (
        'import sys\nfrom vpr_compressed.offline.measuring.labelled_sets import main\n'
        'assert main(sys.argv[1:]) == 0\nprint(*sys.modules)')
    result = subprocess.run(
        [sys.executable, '-c', code, str(job)], cwd=ROOT, capture_output=True, text=True,
        timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.splitlines()[-1].split())
    assert 'onnxruntime' in loaded
    assert not loaded & {'torch', 'torchvision', 'matplotlib', 'faiss', 'rosbags'}
    assert 'done 8 of 8' in result.stdout


def test_files_rows_and_dark_images_are_described_as_elsewhere(
    tmp_path: Path, tiny_model_path: Path, images: tuple[Path, ...]
) -> None:
    """Files as the extractor has them, rows the same, dark ones as training validates them."""
    frames = tmp_path / 'frames.npy'
    np.save(frames, np.stack([load(path) for path in images]))
    job = write_job(
        tmp_path, tiny_model_path, ImageFiles(paths=images), ImageRows(array=frames, rows=(3, 1)),
        ImageFiles(paths=images[1:], change='dark'))
    asked: list[tuple[int, int]] = []
    labelled_sets.run(labelled_sets.read_job(job), lambda done, total: asked.append((done, total)))
    plain, rows, dark = (np.load(tmp_path / 'out' / f'{number}.npy') for number in range(3))
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
    found = [image for _, image in labelled_sets._files(
        ImageFiles(paths=images, change='dark'), (64, 48), (64, 48))]
    np.testing.assert_array_equal(normalise(np.stack(found), spec), expected)


def test_facts_are_those_of_a_process_of_its_own(
    tmp_path: Path, tiny_model_path: Path, images: tuple[Path, ...]
) -> None:
    """Bytes, seconds and milliseconds make sense together."""
    job = write_job(tmp_path, tiny_model_path, ImageFiles(paths=images))
    result = subprocess.run(
        [sys.executable, '-m', 'vpr_compressed.offline.measuring.labelled_sets', str(job)],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    facts = ModelFacts.from_json(json.loads((tmp_path / 'out' / 'facts.json').read_text()))
    assert facts.model_bytes == tiny_model_path.stat().st_size
    assert (facts.engine, facts.threads, facts.images) == ('onnxruntime', 1, 4)
    assert 1e6 < facts.resident_bytes < facts.process_bytes < 1e9
    assert 0.0 < facts.latency_p50_ms <= facts.latency_p95_ms
    assert 0.0 < facts.load_s < 60.0


def test_progress_is_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """The last image always, the others at most twice a second."""
    progress = processes.talker()
    for number in range(1, 5001):
        progress(number, 5000)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == 'done 5000 of 5000'
    assert len(lines) < 10


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
        list(labelled_sets._rows(path, rows))


def test_missing_and_damaged_arrays_are_refused(tmp_path: Path) -> None:
    """As after a full disk."""
    with pytest.raises(VprError, match='cannot read the pictures'):
        list(labelled_sets._rows(tmp_path / 'none.npy', (0,)))
    (tmp_path / 'cut.npy').write_bytes(b'\x93NUMPY\x01\x00')
    with pytest.raises(VprError, match='cannot read the pictures'):
        list(labelled_sets._rows(tmp_path / 'cut.npy', (0,)))


def test_broken_jobs_end_with_status_1(
    tmp_path: Path, tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says why."""
    assert labelled_sets.main([]) == 1
    assert labelled_sets.main([str(tmp_path / 'none.json')]) == 1
    job = write_job(tmp_path, tiny_model_path, modle='x')
    assert labelled_sets.main([str(job)]) == 1
    job = write_job(tmp_path, tiny_model_path, ImageFiles(paths=(tmp_path / 'gone.png',)))
    assert labelled_sets.main([str(job)]) == 1
    job = write_job(tmp_path, tiny_model_path, ImageFiles(paths=()))
    assert labelled_sets.main([str(job)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    for line, text in zip(lines, ('needs one job', 'cannot read the job', "did you mean 'model'",
                                  'gone.png: No such file', 'no query was measured')):
        assert text in line


def test_dark_images_need_the_size_of_the_network(
    tmp_path: Path, tiny_model_path: Path, images: tuple[Path, ...]
) -> None:
    """What darkness looks like depends on it."""
    with pytest.raises(VprError, match='network size'):
        list(labelled_sets._files(ImageFiles(paths=images, change='dark'), None, (64, 48)))


def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half array appears under its name."""
    def full(*_args: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'save', full)
    with pytest.raises(VprError, match='No space left'):
        labelled_sets._write_array(tmp_path / '0.npy', np.zeros((2, 2), np.float32))
    assert not (tmp_path / '0.npy').exists()
