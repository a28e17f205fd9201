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

"""What the tests of the pages share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text
import pytest

from vpr_compressed.offline.reports import figures


@pytest.fixture
def drawn_words(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Return a function that returns all words in the last picture, legend and ticks included."""
    finish, places = figures.finish, []

    def keep(*args: Any, **look: Any) -> Any:
        places.append(args[3])
        return finish(*args, **look)

    def words() -> list[str]:
        place = places[-1]
        figure = place if isinstance(place, Figure) else place.figure
        texts = [each.get_text() for each in figure.findobj(Text) if each.get_visible()]
        return [each for each in texts if each]

    monkeypatch.setattr(figures, 'finish', keep)
    return words
