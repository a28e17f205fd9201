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


"""The made-up town: true perspective, the same town twice, two laps that differ as promised."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
import pytest
from tools.made_up_town.backdrop import Backdrop
from tools.made_up_town.backdrop import pyramid
from tools.made_up_town.camera import Camera
from tools.made_up_town.facades import draw_style
from tools.made_up_town.facades import paint_facade
from tools.made_up_town.laps import drive
from tools.made_up_town.laps import first_lap
from tools.made_up_town.laps import FIRST_WAY
from tools.made_up_town.laps import rounded_way
from tools.made_up_town.laps import second_lap
from tools.made_up_town.laps import write_world
from tools.made_up_town.light import HeightMap
from tools.made_up_town.light import MORNING
from tools.made_up_town.renderer import Piece
from tools.made_up_town.renderer import Scene

from vpr_compressed.sources import open_source

EYE = (0.0, 0.0, 1.5)
SEED = 3
RED, GREEN = (250, 0, 0, 255), (0, 250, 0, 255)


class World(NamedTuple):
    """Two rendered laps, and how many images were reported while they were made."""

    first: Path
    second: Path
    counts: list[int]


def plain_backdrop() -> Backdrop:
    """Return a grey ground under a grey sky without haze."""
    grey = np.full((64, 64, 3), 90, np.uint8)
    return Backdrop(
        ground=pyramid(grey), ground_box=(-50, -50, 50, 50), sky=grey,
        grain=np.full((16, 16), 128, np.uint8), haze_rgb=(0, 0, 0), haze_per_m=0.0)


def board(x_m: float, colour: tuple[int, int, int, int], size_m: float = 2.0) -> Piece:
    """Return a square board that stands across the x axis and looks back along it."""
    texture = np.full((64, 64, 4), colour, np.uint8)
    return Piece(
        origin=np.array([x_m, size_m / 2, 1.5 + size_m / 2]),
        right=np.array([0.0, -size_m, 0.0]), down=np.array([0.0, 0.0, -size_m]),
        levels=pyramid(texture))


def mask_of(image: NDArray[np.uint8], channel: int) -> NDArray[np.bool_]:
    """Return the pixels that are mainly red (0) or green (1)."""
    return image[..., channel].astype(int) > image.astype(int).sum(axis=2) * 0.8


@pytest.mark.parametrize('distance_m', [2.0, 5.0, 20.0])
def test_size_in_the_picture_is_focal_length_times_size_by_distance(distance_m: float) -> None:
    """A board of two metres, straight ahead, is as large as a pinhole camera sees it."""
    camera = Camera(position_m=EYE, yaw_rad=0.0)
    image = Scene([board(distance_m, RED)], plain_backdrop()).render(camera)
    rows, columns = np.nonzero(mask_of(image, 0))
    expected = camera.focal_px * 2.0 / distance_m
    assert abs(np.ptp(columns) + 1 - expected) <= 2
    assert abs(np.ptp(rows) + 1 - min(expected, camera.height)) <= 2
    assert abs(columns.mean() - (camera.width - 1) / 2) <= 1


def test_a_step_to_the_left_moves_near_things_more_than_far_ones() -> None:
    """Parallax: the shift to the right is focal length times step by distance."""
    scene = Scene([board(5.0, RED, 1.0), board(20.0, GREEN, 8.0)], plain_backdrop())
    camera = Camera(position_m=EYE, yaw_rad=0.0)
    stepped = replace(camera, position_m=(0.0, 1.0, 1.5))
    for channel, distance_m in ((0, 5.0), (1, 20.0)):
        before, after = (
            np.nonzero(mask_of(scene.render(c), channel))[1].max() for c in (camera, stepped))
        assert abs((after - before) - camera.focal_px / distance_m) <= 2


def test_near_pieces_hide_far_ones_in_any_order_of_the_list() -> None:
    """The depth buffer decides, not the order."""
    camera = Camera(position_m=EYE, yaw_rad=0.0)
    pieces = [board(10.0, GREEN), board(5.0, RED)]
    one, other = (Scene(p, plain_backdrop()).render(camera) for p in (pieces, pieces[::-1]))
    np.testing.assert_array_equal(one, other)
    assert mask_of(one, 0).any()
    assert not mask_of(one, 1).any()


def test_the_back_of_a_piece_is_not_seen() -> None:
    """Houses are seen from the street only."""
    camera = Camera(position_m=(10.0, 0.0, 1.5), yaw_rad=math.pi)
    assert not mask_of(Scene([board(5.0, RED)], plain_backdrop()).render(camera), 0).any()


def test_shadow_ends_where_the_height_of_the_sun_says() -> None:
    """A wall of 8 m throws a shadow as long as its height by the tangent of the elevation."""
    heights = np.zeros((80, 400), np.float32)
    heights[:, 200:208] = 8.0
    plan = HeightMap(heights, 0.0, 0.0)
    light = replace(MORNING, sun_azimuth_rad=math.pi, sun_elevation_rad=math.atan(0.5))
    x = np.arange(55.0, 80.0, 1.0)
    edge = plan.shadow_height_m(x, np.full(len(x), 10.0), light)
    expected = np.maximum(8.0 - 0.5 * (x - 52.0), 0)
    assert np.abs(edge - expected).max() < 0.5


def test_no_two_facades_are_alike() -> None:
    """Every seed paints another house; the same seed paints the same."""
    def paint(seed: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng(seed)
        return paint_facade(draw_style(rng), 8.0, 9.0, rng)[0]

    pictures = [paint(seed) for seed in range(8)]
    np.testing.assert_array_equal(pictures[3], paint(3))
    for number, picture in enumerate(pictures):
        for other in pictures[:number]:
            assert np.abs(picture.astype(int) - other).mean() > 5


def test_way_round_the_block_is_closed_and_even() -> None:
    """Every step has the same length, also from the last point to the first."""
    way = rounded_way(FIRST_WAY)
    steps = np.linalg.norm(np.roll(way[:, :2], -1, axis=0) - way[:, :2], axis=1)
    assert steps.max() < 0.12
    assert np.median(steps) == pytest.approx(0.05, abs=1e-6)


def test_second_lap_is_shifted_sideways_and_partly_elsewhere() -> None:
    """On the common streets it is one to one and a half metres beside the first one."""
    laps = [first_lap(120), second_lap(150)]
    first, second = (
        np.array([c.position_m[:2] for c in drive(lap, np.random.default_rng(1))])
        for lap in laps)
    way = rounded_way(FIRST_WAY)[:, :2]
    aside = np.linalg.norm(second[:, None] - way[None], axis=2).min(axis=1)
    common = aside[second[:, 0] < 36]  # west of where the ways part
    assert common.min() > 0.9
    assert common.max() < 1.7
    gaps = np.linalg.norm(second[:, None] - first[None], axis=2).min(axis=1)
    assert 0.25 < (gaps > 8.0).mean() < 0.5


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a short world, written into a folder where a longer one had been."""
    folder = tmp_path_factory.mktemp('world')
    (folder / 'query').mkdir()
    (folder / 'query' / '0099.webp').write_bytes(b'old')
    counts: list[int] = []
    first, second = write_world(
        folder, first_frames=2, second_frames=3, seed=SEED, progress=counts.append)
    return World(first, second, counts)


def test_world_replaces_an_older_one_and_reports_its_progress(world: World) -> None:
    """A shorter world leaves no image of a longer one behind."""
    names = [[file.name for file in sorted(folder.glob('*.webp'))]
             for folder in (world.first, world.second)]
    assert names == [['0000.webp', '0001.webp'], ['0000.webp', '0001.webp', '0002.webp']]
    assert world.counts[-1] == 5
    assert world.counts == sorted(world.counts)


def test_lap_is_a_source_with_poses_in_the_order_of_driving(world: World) -> None:
    """What is written can be played: images, one pose each, stamps in order."""
    lap = second_lap(3)
    frames = list(open_source(world.second))
    assert np.diff([frame.stamp_ns for frame in frames]).tolist() == [lap.period_ns] * 2
    assert frames[0].load().shape == (480, 640, 3)
    cameras = drive(lap, np.random.default_rng((SEED, lap.parking_seed)))
    for frame, camera in zip(frames, cameras):
        assert frame.pose is not None
        assert frame.pose.position_m[:2] == pytest.approx(camera.position_m[:2], abs=1e-3)
        yaw = 2 * math.atan2(frame.pose.orientation_xyzw[2], frame.pose.orientation_xyzw[3])
        assert math.cos(yaw - camera.yaw_rad) > 0.9999


def test_evening_is_dimmer_and_warmer_than_morning(world: World) -> None:
    """The light of the second lap differs in brightness and in colour."""
    (red, _, blue), (late_red, _, late_blue) = (
        np.mean([frame.load().mean(axis=(0, 1)) for frame in open_source(folder)], axis=0)
        for folder in (world.first, world.second))
    assert late_red + late_blue < red + blue
    assert late_red / late_blue > 1.15 * red / blue
