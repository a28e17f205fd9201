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

"""The verb calibrate: from recordings to a model file that the same maps still fit."""

from __future__ import annotations

from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
import pytest

import vpr_compressed
from vpr_compressed.cli.main import main
from vpr_compressed.model_file.model import default_model_path
from vpr_compressed.model_file.model import read_model
from vpr_compressed.offline.calibration import session
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer
from vpr_compressed.runtime.extractor import load_extractor

FRAMES = Path(vpr_compressed.__file__).parent / 'offline' / 'demo' / 'frames'


def write_places(folder: Path, count: int, *, seed: int) -> Path:
    """Write pictures of unlike places."""
    folder.mkdir(parents=True)
    for number in range(count):
        blocks = np.random.default_rng(seed + number).integers(0, 256, (6, 8, 3))
        cv2.imwrite(str(folder / f'{number:03}.png'),
                    cv2.resize(blocks.astype(np.uint8), (64, 48)))
    return folder


@pytest.fixture(scope='module')
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Return a folder with two laps through a town, both in one recording, and other places.

    Descriptors are kept in ``cache``, so that the network is asked once for all tests.
    """
    folder = tmp_path_factory.mktemp('walks')
    shutil.copytree(FRAMES / 'reference', folder / 'monday')
    shutil.copytree(FRAMES / 'query', folder / 'tuesday')
    write_places(folder / 'elsewhere', 40, seed=500)
    (folder / 'loop').mkdir()
    lines = []
    for lap in ('monday', 'tuesday'):
        head, *rows = (folder / lap / 'poses.csv').read_text(encoding='utf-8').splitlines()
        for row in rows:
            name, stamp, rest = row.split(',', 2)
            shutil.copy(folder / lap / name, folder / 'loop' / f'{lap}_{name}')
            lines.append(f'{lap}_{name},{stamp},{rest}')
    (folder / 'poses.csv').write_text('\n'.join([head, *lines]), encoding='utf-8')
    return folder


def command(walks: Path, out: Path, *words: object) -> list[str]:
    """Return a command line of the verb."""
    return ['calibrate', '--out', str(out), '--cache', str(walks / 'cache'), '--threads', '1',
            '--engine', 'onnxruntime', *map(str, words)]


def test_two_recordings_calibrate_a_model(
    walks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file says what it was fitted on, and the maps of the model still fit it."""
    out = tmp_path / 'new' / 'site.vpr'
    assert main(command(
        walks, out, '--reference', walks / 'monday', '--query', walks / 'tuesday', '--radius-m',
        4, '--unknown', walks / 'elsewhere')) == 0
    said = capsys.readouterr().out
    for text in ('on a walk: log-odds = ', 'min_precision: 0.9 ', 'min_precision: 0.99 ',
                 'confidence needed', f'wrote {out}', 'from one image: kept as it was'):
        assert text in said
    before, after = read_model(default_model_path()), read_model(out)
    assert after.calibration.fitted_on.startswith('tuesday in monday (own site; ')
    assert after.calibration.walk != before.calibration.walk
    assert after.calibration.single == before.calibration.single
    assert after.calibration.exploring_logit == before.calibration.exploring_logit
    assert after.descriptor_id == before.descriptor_id
    assert after.provenance == before.provenance
    with PlaceMap.create(None, descriptor_id=before.descriptor_id, dimension=512) as place_map:
        Recognizer(load_extractor(out, engine='onnxruntime'), place_map)
    for name in ('reliability', 'precision_recall'):
        assert cv2.imread(str(out.with_name(f'site_{name}.png'))) is not None
    assert main(['inspect', str(out)]) == 0
    assert 'fitted on tuesday in monday' in capsys.readouterr().out


def test_a_loop_with_poses_calibrates_a_model(walks: Path, tmp_path: Path) -> None:
    """In its own past, as a robot that maps while it goes."""
    loop = tmp_path / 'loop'
    shutil.copytree(walks / 'loop', loop)
    shutil.copy(walks / 'poses.csv', loop)
    out = tmp_path / 'site.vpr'
    assert main(command(walks, out, '--source', loop, '--radius-m', 4)) == 0
    assert read_model(out).calibration.fitted_on.startswith('loop (own site; ')


def test_a_loop_without_poses_calibrates_a_model(walks: Path, tmp_path: Path) -> None:
    """Where the recording itself shows beyond doubt that it comes back."""
    out = tmp_path / 'site.vpr'
    assert main(command(walks, out, '--source', walks / 'loop')) == 0
    assert read_model(out).calibration.fitted_on.startswith('loop (own site; ')


def test_a_recipe_calibrates_a_model(walks: Path, tmp_path: Path) -> None:
    """Its groups are named; with a cache the network is not asked a second time."""
    recipe = tmp_path / 'mine.yaml'
    recipe.write_text("""\
sites:
  monday: {images: monday}
  elsewhere: {images: elsewhere}
walks:
  - {group: town, reference: {site: monday, every: 2}, query: {site: monday, every: 2, start: 1},
     right: 1, wrong: 4, crossed: true}
  - {group: others, reference: {site: elsewhere}, query: {site: elsewhere}, crossed: true}
""", encoding='utf-8')
    words = ('--recipe', recipe, '--data', walks, '--cache', tmp_path / 'cache')
    first, second = tmp_path / 'first.vpr', tmp_path / 'second.vpr'
    assert main(command(walks, first, *words)) == 0
    kept = sorted((tmp_path / 'cache').iterdir())
    assert kept
    assert main(command(walks, second, *words)) == 0
    assert sorted((tmp_path / 'cache').iterdir()) == kept
    found = read_model(second).calibration
    assert found == read_model(first).calibration
    assert found.fitted_on.startswith('recipe mine (others, town; ')


def test_nothing_is_overwritten_without_being_told(
    walks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the model nor a picture; it is said before any work."""
    words = ('--reference', walks / 'monday', '--query', walks / 'tuesday', '--radius-m', 4)
    for name in ('site.vpr', 'site_reliability.png'):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(b'precious')
        assert main(command(walks, folder / 'site.vpr', *words)) == 1
        assert f'{name} exists already; replace it with --overwrite' in capsys.readouterr().err
        assert [path.read_bytes() for path in folder.iterdir()] == [b'precious']
        assert main(command(walks, folder / 'site.vpr', *words, '--overwrite')) == 0
        assert (folder / name).read_bytes() != b'precious'


def test_an_interrupted_calibration_leaves_nothing(
    walks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it was doing; descriptors in the cache stay."""
    def interrupted(*_arguments: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session, 'observe', interrupted)
    assert main(command(walks, tmp_path / 'out' / 'site.vpr', '--cache', tmp_path / 'cache',
                        '--source', walks / 'elsewhere')) == 130
    assert not (tmp_path / 'out').exists()
    assert any((tmp_path / 'cache').iterdir())


@pytest.mark.parametrize(('words', 'message'), [
    ([], 'say what to fit to'),
    (['--source', 'loop', '--recipe', 'r.yaml', '--data', '.'], 'say what to fit to'),
    (['--recipe', 'r.yaml'], '--recipe and --data belong together'),
    (['--source', 'loop', '--data', '.'], '--recipe and --data belong together'),
    (['--source', 'loop', '--tolerance-frames', '1'], 'judged by --radius-m or by itself'),
    (['--source', 'loop', '--pose-topic', '/odom'], 'say with --radius-m'),
    (['--source', 'nowhere'], 'nowhere does not exist'),
    (['--reference', 'monday'], 'say what to evaluate'),
    (['--reference', 'monday', '--query', 'tuesday'], 'what counts as a right answer'),
    (['--source', 'elsewhere', '--radius-m', '3'], 'has no positions'),
    (['--source', 'elsewhere'], 'comes back to 0 of its 40 images'),
    (['--recipe', 'r.yaml', '--data', '.', '--unknown', 'loop'], 'leave --unknown out'),
])
def test_mistakes_are_one_clear_line(
    words: list[str], message: str, walks: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is needed, and nothing is written."""
    monkeypatch.chdir(walks)
    out = tmp_path / 'out' / 'site.vpr'
    assert main(command(walks, out, *words)) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not out.parent.exists()


def test_too_few_images_are_refused_with_what_to_add(
    walks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many right, wrong and unknown ones there are, and are needed."""
    short = write_places(tmp_path / 'short', 8, seed=0)
    assert main(command(walks, tmp_path / 'site.vpr', '--reference', short, '--query', short,
                        '--tolerance-frames', 0)) == 1
    said = capsys.readouterr().err
    assert 'nothing is written: ' in said
    assert 'needed 30' in said
    assert 'add a recording of other places' in said
