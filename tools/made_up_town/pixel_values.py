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


"""Conversions between colours, brightness and stored pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def rgb(colour: Sequence[float]) -> NDArray[np.float32]:
    """Return a colour as float32 ``(3,)``."""
    return np.array(colour, np.float32)


def to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return values as uint8, those outside 0 to 255 cut off."""
    return np.asarray(np.clip(values, 0, 255), np.float32).astype(np.uint8)
