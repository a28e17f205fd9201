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

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vpr_compressed.cli.main import main
from vpr_compressed.model_file.calibration import ConfidenceCurve
from vpr_compressed.model_file.model import read_model
from vpr_compressed.offline.calibration import own_site
from vpr_compressed.offline.calibration import session
from vpr_compressed.offline.calibration.evidence import Judged
from vpr_compressed.offline.calibration.evidence import LabelledWalk
from vpr_compressed.place_map.place_map import PlaceMap

#: Images of a walk, of which a lap comes back to all.
COUNT = 48


def write_walk(folder: Path, places: list[int], *, noise: int = 0) -> Path:
    """Write a picture of each place, with sensor noise."""
    folder.mkdir(parents=True)
    for number, place in enumerate(places):
        blocks = np.random.default_rng(place).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        image = cv2.resize(blocks, (64, 48)).astype(np.int64)
        grain = np.random.default_rng(1000 * noise + number).integers(-6, 7, image.shape)
        cv2.imwrite(str(folder / f'{number:03}.png'),
                    np.clip(image + grain, 0, 255).astype(np.uint8))
    return folder


def write_poses(folder: Path, places: list[int]) -> Path:
    """Say where each picture was taken: ten metres from one place to the next, one a second."""
    lines = ['name,stamp_ns,x_m,y_m']
    lines += [f'{number:03}.png,{number}000000000,{10 * place},0'
              for number, place in enumerate(places)]
    (folder / 'poses.csv').write_text('\n'.join(lines), encoding='utf-8')
    return folder


@pytest.fixture(scope='module')
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a walk, the same again, a loop with poses, and another place."""
    folder = tmp_path_factory.mktemp('walks')
    places = list(range(COUNT))
    write_walk(folder / 'monday', places)
    write_walk(folder / 'tuesday', places, noise=1)
    write_walk(folder / 'elsewhere', [500 + place for place in places])
    write_poses(write_walk(folder / 'loop', places * 2, noise=2), places * 2)
    return folder


def command(tiny_model_path: Path, out: Path, *words: object) -> list[str]:
    """Return a command line of the verb."""
    return ['calibrate', '--model', str(tiny_model_path), '--out', str(out), '--threads', '1',
            '--engine', 'onnxruntime', *map(str, words)]


def test_two_recordings_calibrate_a_model(
    walks: Path, tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file says what it was fitted on, and the maps of the model still fit it."""
    site_map = tmp_path / 'site.vprmap'
    assert main(['build-map', str(walks / 'monday'), '--out', str(site_map), '--model',
                 str(tiny_model_path)]) == 0
    out = tmp_path / 'new' / 'site.vpr'
    capsys.readouterr()
    assert main(command(
        tiny_model_path, out, '--reference', walks / 'monday', '--query', walks / 'tuesday',
        '--tolerance-frames', 0, '--unknown', walks / 'elsewhere')) == 0
    said = capsys.readouterr().out
    for text in ('min_precision: 0.9', 'min_precision: 0.99', 'confidence needed', f'wrote {out}',
                 'from one image: kept as it was'):
        assert text in said
    before, after = read_model(tiny_model_path), read_model(out)
    assert after.calibration.fitted_on.startswith('tuesday in monday (own site; ')
    assert after.calibration.walk != before.calibration.walk
    assert after.calibration.single == before.calibration.single
    assert after.descriptor_id == before.descriptor_id
    assert after.provenance == before.provenance
    with PlaceMap.open(site_map, descriptor_id=after.descriptor_id) as place_map:
        assert len(place_map) == COUNT
    for name in ('reliability', 'precision_recall'):
        assert cv2.imread(str(out.with_name(f'site_{name}.png'))) is not None


def test_a_loop_with_poses_calibrates_a_model(
    walks: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    """In its own past, as a robot that maps while it goes."""
    out = tmp_path / 'site.vpr'
    assert main(command(tiny_model_path, out, '--source', walks / 'loop', '--radius-m', 3)) == 0
    assert read_model(out).calibration.fitted_on.startswith('loop (own site; ')


def test_a_loop_without_poses_must_say_itself_where_it_comes_back(
    walks: Path, tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked with what the decision says on a first pass, every image of it."""
    bare = tmp_path / 'loop'
    bare.mkdir()
    for path in (walks / 'loop').glob('*.png'):
        (bare / path.name).write_bytes(path.read_bytes())

    def told(
        recording: own_site.Recording, judged: Judged, curve: ConfidenceCurve
    ) -> list[LabelledWalk]:
        assert recording.positions_m is None
        assert (judged.rows[:30] == -1).all()
        assert (judged.rows[COUNT:] >= 0).mean() > 0.8
        assert curve == read_model(tiny_model_path).calibration.walk
        where = np.array([[10.0 * place, 0.0, 0.0] for place in [*range(COUNT)] * 2])
        return own_site.with_positions(replace(recording, positions_m=where), 3.0)

    monkeypatch.setattr(own_site, 'by_itself', told)
    out = tmp_path / 'site.vpr'
    assert main(command(tiny_model_path, out, '--source', bare, '--rate-hz', 1)) == 0
    assert read_model(out).calibration.fitted_on.startswith('loop (own site; ')


def test_a_recipe_calibrates_a_model(walks: Path, tiny_model_path: Path, tmp_path: Path) -> None:
    """Its groups are named; with a cache the network is not asked a second time."""
    recipe = tmp_path / 'mine.yaml'
    recipe.write_text("""\
sites:
  monday: {images: monday}
  tuesday: {images: tuesday}
  elsewhere: {images: elsewhere}
walks:
  - {group: rooms, reference: {site: monday}, query: {site: tuesday}, crossed: true}
  - {group: others, reference: {site: elsewhere}, query: {site: elsewhere}, crossed: true}
""", encoding='utf-8')
    words = ('--recipe', recipe, '--data', walks, '--cache', tmp_path / 'cache')
    first, second = tmp_path / 'first.vpr', tmp_path / 'second.vpr'
    assert main(command(tiny_model_path, first, *words)) == 0
    kept = sorted((tmp_path / 'cache').iterdir())
    assert kept
    assert main(command(tiny_model_path, second, *words)) == 0
    assert sorted((tmp_path / 'cache').iterdir()) == kept
    found = read_model(second).calibration
    assert found == read_model(first).calibration
    assert found.fitted_on == 'recipe mine (others, rooms; 192 images)'


def test_nothing_is_overwritten_without_being_told(
    walks: Path, tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the model nor a picture; it is said before any work."""
    words = ('--source', walks / 'loop', '--radius-m', 3)
    for name in ('site.vpr', 'site_reliability.png'):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(b'precious')
        assert main(command(tiny_model_path, folder / 'site.vpr', *words)) == 1
        assert f'{name} exists already; replace it with --overwrite' in capsys.readouterr().err
        assert [path.read_bytes() for path in folder.iterdir()] == [b'precious']
        assert main(command(tiny_model_path, folder / 'site.vpr', *words, '--overwrite')) == 0
        assert (folder / name).read_bytes() != b'precious'


def test_an_interrupted_calibration_leaves_nothing(
    walks: Path, tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it was doing; descriptors in the cache stay."""
    def interrupted(*_arguments: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session, 'observe', interrupted)
    assert main(command(tiny_model_path, tmp_path / 'out' / 'site.vpr', '--cache',
                        tmp_path / 'cache', '--source', walks / 'loop', '--radius-m', 3)) == 130
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
    (['--source', 'monday', '--radius-m', '3'], 'has no positions'),
    (['--source', 'monday'], 'comes back to 0 of its 48 images'),
    (['--recipe', 'r.yaml', '--data', '.', '--unknown', 'loop'], 'leave --unknown out'),
])
def test_mistakes_are_one_clear_line(
    words: list[str], message: str, walks: Path, tiny_model_path: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is needed, and nothing is written."""
    monkeypatch.chdir(walks)
    out = tmp_path / 'out' / 'site.vpr'
    assert main(command(tiny_model_path, out, *words)) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not out.parent.exists()


def test_too_few_images_are_refused_with_what_to_add(
    walks: Path, tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many right, wrong and unknown ones there are, and are needed."""
    short = write_walk(tmp_path / 'short', list(range(8)))
    again = write_walk(tmp_path / 'again', list(range(8)), noise=3)
    assert main(command(tiny_model_path, tmp_path / 'site.vpr', '--reference', short, '--query',
                        again, '--tolerance-frames', 0)) == 1
    said = capsys.readouterr().err
    assert 'nothing is written; on a walk there is too little to fit it to' in said
    assert 'needed 30' in said
    assert 'add a recording of other places' in said
