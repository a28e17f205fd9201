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

"""Recipes of labelled walks: which images, in which walks, and what is right."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_compressed.errors import VprError
from vpr_compressed.offline.calibration.chains import chains
from vpr_compressed.offline.calibration.describing import Described
from vpr_compressed.offline.calibration.describing import Wanted
from vpr_compressed.offline.calibration.evidence import LabelledWalk
from vpr_compressed.offline.calibration.evidence import RIGHT
from vpr_compressed.offline.calibration.evidence import UNCLEAR
from vpr_compressed.offline.calibration.evidence import WRONG
from vpr_compressed.offline.calibration.labelling import Plan
from vpr_compressed.offline.calibration.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[3]
SITES = """\
sites:
  clips:
    images: clips
    pattern: (?P<clip>\\w+)_(?P<frame>\\d+)
    table: clips.csv
    walk: clip
    number: frame
    place: floor
  spots:
    images: spots
    pattern: (?P<spot>\\d+)_(?P<heading>\\d)
    table: spots.csv
    key: spot
    heading: heading
  other: {images: other}
walks:
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return three clips of two floors, four spots with two headings, and five other images."""
    names = [f'clips/{clip}_{frame:03}.png' for clip, frames in (('a', 12), ('b', 4), ('c', 6))
             for frame in range(1, frames + 1)]
    names += [f'spots/{spot}_{heading}.png' for spot in range(4) for heading in (0, 1)]
    names += [f'other/{number}.png' for number in range(5)]
    pixel = np.zeros((1, 1, 3), np.uint8)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), pixel)
    floors = {'a': '1', 'b': '1', 'c': '2'}
    lines = [f'{Path(name).name},{floors[Path(name).name[0]]}' for name in names
             if name.startswith('clips')]
    (tmp_path / 'clips.csv').write_text('\n'.join(['file,floor', *lines]), encoding='utf-8')
    (tmp_path / 'spots.csv').write_text(
        'spot,x_m,y_m\n0,0,0\n1,10,0\n2,30,0\n3,,\n', encoding='utf-8')
    return tmp_path


def planned(data: Path, walks: str) -> Plan:
    """Return the plan of a recipe with these walks."""
    path = data / 'recipe.yaml'
    path.write_text(SITES + walks, encoding='utf-8')
    return Plan(load_recipe(path), data)


def labelled(plan: Plan) -> list[LabelledWalk]:
    """Return the walks of a plan; a descriptor holds the index of its image."""
    images = {site: {each: Described(
        np.array([each.index, each.dark], np.float32), 1_000_000_000 * each.index, None)
        for each in wanted} for site, wanted in plan.wanted().items()}
    return list(plan.labelled(images))


def numbers(walk: LabelledWalk) -> list[int]:
    """Return the indices of the images that are asked."""
    return [int(each[0]) for each in walk.asked.descriptors]


def test_walks_are_told_apart_and_taken_in_steps(data: Path) -> None:
    """Every second image of each clip, short clips left out, each clip a session and a walk."""
    walks = labelled(planned(data, """\
  - group: clips
    reference: {site: clips, every: 2, least: 3}
    query: [{site: clips, every: 2, start: 1, least: 3}, {site: clips, where: {clip: c},
             reverse: true, dark: true}]
"""))
    assert [len(route) for route in walks[0].mapped] == [6, 3]
    assert [numbers(walk) for walk in walks] == [
        [1, 3, 5, 7, 9, 11], [17, 19, 21], [21, 20, 19, 18, 17, 16]]
    assert [bool(walk.asked.descriptors[0, 1]) for walk in walks] == [False, False, True]
    assert all(walk.mapped is walks[0].mapped for walk in walks), 'the map is made once'
    for walk in walks:  # also backwards, and where images are left out
        assert np.diff(walk.asked.stamps_ns).tolist() == [500_000_000] * (len(walk.asked) - 1)


def test_numbers_tell_right_from_wrong_within_a_walk_and_places_between_them(data: Path) -> None:
    """Clips of one floor may overlap; those of another floor do not."""
    first, *_ = labelled(planned(data, """\
  - {group: clips, reference: {site: clips}, query: {site: clips, where: {clip: a}}, right: 1,
     wrong: 3}
"""))
    assert first.labels[5].tolist() == (
        [WRONG] * 2 + [UNCLEAR] * 2 + [RIGHT] * 3 + [UNCLEAR] * 2 + [WRONG] * 3
        + [UNCLEAR] * 4 + [WRONG] * 6)


def test_a_cut_takes_places_out_of_the_map(data: Path) -> None:
    """By their numbers; what is asked there is unknown."""
    first, *_ = labelled(planned(data, """\
  - {group: clips, reference: {site: clips, where: {clip: a}, cut: [4, 8]},
     query: {site: clips, where: {clip: a}}, right: 1}
"""))
    assert len(first.mapped[0]) == 7
    assert (first.labels[4:7] == WRONG).all()
    assert (first.labels[0] == RIGHT).any()


def test_metres_and_heading_tell_right_from_wrong(data: Path) -> None:
    """Another heading at the place is neither, and so is an image without a position."""
    walk, = labelled(planned(data, """\
  - {group: spots, reference: {site: spots}, query: {site: spots}, by: metres, right: 12,
     wrong: 25}
"""))
    assert walk.labels[0].tolist() == [
        RIGHT, UNCLEAR, RIGHT, UNCLEAR, WRONG, WRONG, UNCLEAR, UNCLEAR]
    assert (walk.labels[6] == UNCLEAR).all()


def test_a_file_of_answers_counts_over_all_walks(data: Path) -> None:
    """Rows beside a listed one are as the walk says."""
    (data / 'truth.json').write_text('{"0": [2], "7": [0, 4]}', encoding='utf-8')
    first, second = labelled(planned(data, """\
  - {group: o, reference: {site: other}, query: [{site: other}, {site: clips, where: {clip: b}}],
     by: file, ground_truth: truth.json, right: 0, wrong: 1}
"""))
    assert first.labels[0].tolist() == [WRONG, UNCLEAR, RIGHT, UNCLEAR, WRONG]
    assert (first.labels[1:] == WRONG).all()
    assert second.labels[2].tolist() == [RIGHT, UNCLEAR, WRONG, UNCLEAR, RIGHT]


def test_crossed_walks_are_asked_in_each_others_maps(data: Path) -> None:
    """And nothing is right there; a walk of the same site or group is not asked."""
    plan = planned(data, """\
  - {group: clips, reference: {site: clips}, query: {site: clips, where: {clip: c}}, crossed: true}
  - {group: other, reference: {site: other}, query: {site: other}, crossed: true}
  - {group: other, reference: {site: spots}, query: {site: spots}, by: nothing}
""")
    walks = labelled(plan)
    assert [(walk.group, len(walk.asked), walk.labels.shape[1]) for walk in walks] == [
        ('clips', 6, 22), ('other', 5, 5), ('other', 8, 8), ('clips', 5, 22), ('other', 6, 5)]
    assert all((walk.labels == WRONG).all() for walk in walks[2:])


def test_a_walk_without_reference_is_asked_in_its_own_past(data: Path) -> None:
    """Where nothing is right, every closure is wrong."""
    walk, = labelled(planned(data, '  - {group: o, query: {site: other}, by: nothing}\n'))
    assert walk.mapped == ()
    assert walk.labels.tolist() == [[WRONG] * 5] * 5


def test_an_image_is_described_once_for_all_walks(data: Path) -> None:
    """By night it is another one; sites that no walk names are not opened."""
    plan = planned(data, """\
  - {group: o, reference: {site: other}, query: [{site: other}, {site: other, dark: true}]}
  - {group: o, reference: {site: other}, query: {site: other, reverse: true}}
""")
    assert {site: sorted(images, key=str) for site, images in plan.wanted().items()} == {
        'other': sorted([Wanted(n, dark) for n in range(5) for dark in (False, True)], key=str)}


@pytest.mark.parametrize(('walks', 'message'), [
    ('  - {group: o, reference: {site: clip}, query: {site: other}}', "did you mean 'clips'"),
    ('  - {group: o, refrence: {site: clips}, query: {site: other}}', "did you mean 'reference'"),
    ('  - {group: o, query: {site: clips, where: {flor: 1}}}', "has no column 'flor'"),
    ('  - {group: o, query: {site: clips, where: {floor: 7}}}', 'takes no image of site'),
    ('  - {group: o, query: {site: other}, by: file}', 'give "ground_truth" with by: file'),
    ('  - {group: o, reference: {site: other}, query: {site: other}, by: metres}',
     'has images without a position'),
    ('  - {group: o, reference: {site: other}, query: {site: other}, crossed: true}',
     'no other crossed walk'),
    ('  - {group: o, query: {site: other}, crossed: true}', 'recognised in its own past'),
    ('  - nonsense', 'must have keys and values'),
    ('', 'must have "sites"'),
])
def test_mistakes_are_named(data: Path, walks: str, message: str) -> None:
    """Before any image is decoded."""
    with pytest.raises(VprError, match=message):
        planned(data, walks)


@pytest.mark.parametrize(('change', 'message'), [
    (('clips_', 'nothing_'), 'fits none of the'), (('number: frame', 'number: floor'), ''),
    (('walk: clip', 'walk: klip'), 'has no column klip'),
    (('number: frame', 'number: clip'), "is 'a', a number is needed"),
    (('(?P<clip>', '(?P<clip'), 'no regular expression'),
    (('images: other', 'images: nowhere'), 'nowhere')])
def test_sites_that_do_not_fit_their_images_are_named(
    data: Path, change: tuple[str, str], message: str
) -> None:
    """With what there is."""
    text = SITES.replace('(?P<clip>\\w+)_', '(?P<clip>\\w+)_').replace(*change)
    if change[0] == 'clips_':
        text = text.replace('(?P<clip>\\w+)_', 'x(?P<clip>\\w+)_')
    path = data / 'recipe.yaml'
    path.write_text(f'{text}  - {{group: c, query: [{{site: clips}}, {{site: other}}]}}\n',
                    encoding='utf-8')
    if not message:
        Plan(load_recipe(path), data)
        return
    with pytest.raises(VprError, match=message):
        Plan(load_recipe(path), data)


def test_scattered_positions_become_long_straight_ways() -> None:
    """Two crossing streets and a lonely spot; each looks where it goes."""
    east = np.column_stack([np.arange(0, 300, 10.0), np.zeros(30)])
    north = np.column_stack([np.full(25, 155.0), np.arange(-125, 125, 10.0)])
    order = np.random.default_rng(0).permutation(56)
    places = np.concatenate([east, north, [[900.0, 900.0]]])[order]
    first, second = chains(places, 16.0)
    assert sorted(order[[place for place, _ in first]].tolist()) == [*range(30)]
    assert {heading for _, heading in first} in ({1}, {3})
    assert sorted(order[[place for place, _ in second]].tolist()) == [*range(30, 55)]
    assert {heading for _, heading in second} in ({0}, {2})
    assert chains(places, 5.0) == []


def test_the_recipe_of_the_packaged_models_is_read() -> None:
    """Its groups and sites are complete."""
    recipe = load_recipe(ROOT / 'config' / 'recipes' / 'calibration.yaml')
    assert {walk.group for walk in recipe.walks} >= {'corridor', 'floors', 'tower', 'streets'}
    assert not any('gardens' in site.images for site in recipe.sites.values())
    floors = recipe.sites['floors'].where['seq']
    assert floors == ['floor1', 'floor2', 'floor3'], 'floor 4 is kept for the report'
