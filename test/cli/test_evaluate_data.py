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

"""What evaluate is told: two recordings, or a data set, and what counts as right."""

from __future__ import annotations

from argparse import ArgumentParser
import json
from pathlib import Path

from bag_maker import bag_maker
from bag_maker import SECOND
from bag_maker import START
from bag_maker import STORAGES
import cv2
import dataset_trees as trees
import pytest

from vpr_compressed.cli.evaluate import add_data_arguments
from vpr_compressed.cli.evaluate import open_pair
from vpr_compressed.cli.options import HelpLayout
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import DatasetError
from vpr_compressed.errors import GroundTruthError
from vpr_compressed.offline.datasets.dataset import Dataset
from vpr_compressed.offline.datasets.layouts import LAYOUTS

IMAGES = '/camera/image_raw/compressed'
FIX = '/gps/fix'
ODOMETRY = 'nav_msgs/msg/Odometry'


def parser() -> ArgumentParser:
    """Return a parser with these options and nothing else."""
    made = ArgumentParser(prog='evaluate', formatter_class=HelpLayout, allow_abbrev=False)
    add_data_arguments(made)
    return made


def opened(*arguments: str | Path) -> Dataset:
    """Return what a command line names."""
    return open_pair(parser().parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def walks(tmp_path: Path) -> Path:
    """Return two folders of six images each, with positions."""
    for name in ('day', 'night'):
        rows = []
        for place in range(6):
            file = trees.write_image(tmp_path / name / f'{place}.jpg', place)
            rows.append({'name': file.name, 'x_m': 10.0 * place, 'y_m': 0.0})
        trees.write_table(tmp_path / name / 'poses.csv', rows)
    return tmp_path


def two(walks: Path) -> tuple[str | Path, ...]:
    """Return the options that name two recordings."""
    return '--reference', walks / 'day', '--query', walks / 'night'


def test_recordings_with_each_kind_of_answers(walks: Path) -> None:
    """By index, by position, and listed."""
    truth = walks / 'truth.json'
    truth.write_text(json.dumps({'0': [5]}))
    found = opened(*two(walks), '--tolerance-frames', '1')
    assert (found.name, found.layout) == ('night -> day', 'recordings')
    assert (found.reference.path.name, found.query.path.name) == ('day', 'night')
    assert found.truth.positives[2] == {1, 2, 3}
    assert opened(*two(walks), '--radius-m', '25').truth.positives[2] == {0, 1, 2, 3, 4}
    assert opened(*two(walks), '--ground-truth', truth).truth.positives[0] == {5}


def test_rate_and_topics_reach_the_sources(walks: Path, tmp_path: Path) -> None:
    """Folders get the rate, bags their topics."""
    (walks / 'day/poses.csv').unlink()
    found = opened(*two(walks), '--tolerance-frames', '1', '--rate-hz', '10')
    assert [frame.stamp_ns for frame in found.reference][1] == SECOND // 10
    data = bytes(cv2.imencode('.jpg', trees.picture(0))[1])
    for name in ('one', 'two'):
        with bag_maker(tmp_path / name) as maker:
            for topic in ('/left', '/right'):
                maker.jpeg(topic, data, START, START)
            maker.pose(ODOMETRY, START, 4.0)
    found = opened(
        '--reference', tmp_path / 'one', '--query', tmp_path / 'two', '--reference-topic',
        '/left', '--query-topic', '/right', '--pose-topic', '/odom', '--radius-m', '1')
    assert [frame.name for frame in found.reference] == ['/left[0]']
    assert [frame.name for frame in found.query] == ['/right[0]']
    assert found.truth.positives == ({0},)


@pytest.mark.parametrize('storage', STORAGES)
@pytest.mark.parametrize('zone', [None, '31N'])
def test_two_bags_with_fixes_share_a_grid(
    storage: str, zone: str | None, tmp_path: Path
) -> None:
    """Both cross the border of zones 31 and 32, from opposite sides."""
    pytest.importorskip('utm')
    street = [(50.0, 5.9994 + 0.0003 * step) for step in range(5)]
    paths = []
    for name, places in (('east', street), ('west', street[::-1])):
        with bag_maker(tmp_path / name, storage) as maker:
            for number, place in enumerate(places):
                stamp = START + number * SECOND
                data = bytes(cv2.imencode('.jpg', trees.picture(number))[1])
                maker.jpeg(IMAGES, data, stamp, stamp)
                maker.fix(FIX, stamp, place)
        paths.append(maker.path)
    chosen = [] if zone is None else ['--utm-zone', zone]
    found = opened('--reference', paths[0], '--query', paths[1], '--pose-topic', FIX,
                   '--radius-m', '25', *chosen)
    assert found.truth.positives == ({3, 4}, {2, 3, 4}, {1, 2, 3}, {0, 1, 2}, {0, 1})
    frames = {frame.pose.frame_id for frame in (*found.reference, *found.query) if frame.pose}
    assert frames == {'utm_31N'}


def test_recordings_need_one_kind_of_answers(walks: Path) -> None:
    """The three are named with what each is for."""
    with pytest.raises(GroundTruthError, match=r'--tolerance-frames .*--radius-m .*--ground-tr'):
        opened(*two(walks))
    with pytest.raises(SystemExit):
        opened(*two(walks), '--radius-m', '5', '--tolerance-frames', '1')


def test_data_set_brings_its_answers_and_takes_others(tmp_path: Path) -> None:
    """Where the layout has a radius or a tolerance."""
    utm = trees.write_utm(tmp_path / 'utm', range(6), range(6))
    assert opened('--dataset', utm).truth.positives[0] == {0, 1, 2}
    assert opened('--dataset', utm, '--radius-m', '11').truth.positives[0] == {0, 1}
    assert opened('--dataset', utm, '--layout', 'utm', '--split', 'test').name == 'utm test'
    seasons = trees.write_aligned(tmp_path / 'rail', range(6), range(6))
    found = opened('--dataset', seasons, '--tolerance-frames', '0', '--split', 'winter/summer')
    assert found.truth.positives[0] == {0}
    assert found.reference.path.name == 'winter'
    with pytest.raises(DatasetError, match='no tolerance to choose'):
        opened('--dataset', utm, '--tolerance-frames', '1')


@pytest.mark.parametrize(('option', 'value'), [
    ('--reference', 'x'), ('--query', 'x'), ('--reference-topic', '/t'), ('--query-topic', '/t'),
    ('--pose-topic', '/t'), ('--utm-zone', '32N'), ('--ground-truth', 'x.json')])
def test_data_set_and_recording_together_are_refused(
    option: str, value: str, tmp_path: Path
) -> None:
    """One of them would be ignored."""
    with pytest.raises(ConfigError, match=f'{option}: a data set brings its own'):
        opened('--dataset', trees.write_utm(tmp_path, (0,), (0,)), option, value)


@pytest.mark.parametrize(('option', 'value'), [('--layout', 'utm'), ('--split', 'test')])
def test_option_of_a_data_set_without_one_is_refused(
    option: str, value: str, walks: Path
) -> None:
    """It would be ignored too."""
    with pytest.raises(ConfigError, match=f'{option}: they choose a part of a data set'):
        opened(*two(walks), '--tolerance-frames', '1', option, value)


@pytest.mark.parametrize('arguments', [[], ['--reference', 'a'], ['--query', 'a']])
def test_nothing_or_half_of_it_is_explained(arguments: list[str]) -> None:
    """Both ways are named."""
    with pytest.raises(ConfigError, match=r'--reference SRC and --query SRC .*--dataset DIR'):
        opened(*arguments)


def test_help_teaches_every_layout() -> None:
    """What the tree looks like, in lines that fit."""
    text = parser().format_help()
    for name, layout in LAYOUTS.items():
        assert f'  {name}' in text
        assert layout.tree.split()[0] in text
    assert max(map(len, text.splitlines())) <= 99


def test_unknown_layout_is_refused_by_the_parser(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The known ones are listed."""
    with pytest.raises(SystemExit):
        opened('--dataset', tmp_path, '--layout', 'pitts')
    assert 'dbstruct' in capsys.readouterr().err
