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

"""The made-up town: its packaged frames, and the plan that pictures are drawn on."""

from __future__ import annotations

from pathlib import Path

Box = tuple[float, float, float, float]

#: Two laps as image folders with poses, rendered by ``python -m tools.made_up_town``.
FRAMES = Path(__file__).with_name('frames')
REFERENCE, QUERY = FRAMES / 'reference', FRAMES / 'query'
#: A match is right within so many metres.
RADIUS_M = 8.0
#: Outer limits of the streets and the two blocks: west, south, east, north in metres.
RING: Box = (-12.0, -12.0, 92.0, 42.0)
BLOCKS: tuple[Box, ...] = ((0.0, 0.0, 40.0, 30.0), (52.0, 0.0, 80.0, 30.0))
HOUSE_DEPTH_M = 7.0
