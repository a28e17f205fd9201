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

"""Images are described once, by night as well, and remembered on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_compressed.errors import SourceError
from vpr_compressed.offline.calibration.describing import Described
from vpr_compressed.offline.calibration.describing import Describer
from vpr_compressed.offline.calibration.describing import route_of
from vpr_compressed.offline.calibration.describing import Wanted
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.sources import FolderSource


class Brightness:
    """Describes an image by its mean colour, and counts."""

    descriptor_id, engine_name, input_size = 'feed', 'none', (8, 8)

    def __init__(self) -> None:
        self.calls = 0

    def describe(self, image: ImageArray) -> DescriptorArray:
        """Return the mean of each channel, unit norm."""
        self.calls += 1
        colour = image.reshape(-1, 3).mean(axis=0) + np.arange(1.0, 4.0)
        return np.asarray(colour / np.linalg.norm(colour), np.float32)


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> FolderSource:
    """Return six images, two a second."""
    for number in range(6):
        cv2.imwrite(str(tmp_path / f'{number}.png'), rng.integers(0, 256, (8, 8, 3), np.uint8))
    return FolderSource(tmp_path)


def test_only_what_is_wanted_is_described_and_once(source: FolderSource) -> None:
    """In any order; night is another image, and the same one each time."""
    network, ticks = Brightness(), []
    wanted = [Wanted(4), Wanted(1), Wanted(4, dark=True), Wanted(4)]
    found = Describer(network).describe(source, wanted, lambda: ticks.append(1))
    assert set(found) == {Wanted(4), Wanted(1), Wanted(4, dark=True)}
    assert (network.calls, len(ticks)) == (3, 3)
    assert found[Wanted(4)].stamp_ns == 2_000_000_000
    again = Describer(network).describe(source, [Wanted(4, dark=True)], lambda: None)
    night, day = again[Wanted(4, dark=True)].descriptor, found[Wanted(4)].descriptor
    np.testing.assert_array_equal(night, found[Wanted(4, dark=True)].descriptor)
    assert not np.array_equal(night, day)


def test_a_cache_spares_the_network(source: FolderSource, tmp_path: Path) -> None:
    """Until the model is another one."""
    wanted = [Wanted(number) for number in range(6)]
    first, second, other = Brightness(), Brightness(), Brightness()
    found = Describer(first, tmp_path / 'cache').describe(source, wanted, lambda: None)
    again = Describer(second, tmp_path / 'cache').describe(source, wanted, lambda: None)
    other.descriptor_id = 'beef'
    Describer(other, tmp_path / 'cache').describe(source, wanted, lambda: None)
    assert (first.calls, second.calls, other.calls) == (6, 0, 6)
    for each in wanted:
        np.testing.assert_array_equal(again[each].descriptor, found[each].descriptor)


def test_an_interrupted_description_goes_on_where_it_was(
    source: FolderSource, tmp_path: Path
) -> None:
    """What was described stays in the cache."""
    wanted = [Wanted(number) for number in range(6)]

    def interrupt_at_the_third() -> None:
        if first.calls == 3:
            raise KeyboardInterrupt

    first, second = Brightness(), Brightness()
    with pytest.raises(KeyboardInterrupt):
        Describer(first, tmp_path / 'cache').describe(source, wanted, interrupt_at_the_third)
    Describer(second, tmp_path / 'cache').describe(source, wanted, lambda: None)
    assert second.calls == 3


def test_a_source_that_ends_early_is_refused(source: FolderSource) -> None:
    """Labels would belong to other images."""
    with pytest.raises(SourceError, match='ended before image 6'):
        Describer(Brightness()).describe(source, [Wanted(0), Wanted(6)], lambda: None)


def test_time_goes_on_along_a_route() -> None:
    """Also where a recording is walked backwards; else the robot would start anew each time."""
    images = {Wanted(number): Described(np.eye(4, dtype=np.float32)[number], number, None)
              for number in range(4)}
    route = route_of(images, [Wanted(3), Wanted(1), Wanted(2)])
    assert route.stamps_ns == (3, 5, 6)
    even = route_of(images, [Wanted(3), Wanted(1), Wanted(2)], rate_hz=4.0)
    assert even.stamps_ns == (0, 250_000_000, 500_000_000)
    np.testing.assert_array_equal(route.descriptors.argmax(axis=1), [3, 1, 2])
