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

"""What is said of a decision."""

from __future__ import annotations

import pytest

from vpr_compressed.decision.words import reason
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Status


@pytest.mark.parametrize(('views', 'words'), [
    (None, 'by one image'), (1, 'after 1 view'), (12, 'after 12 views')])
def test_an_accepted_place_says_what_it_rests_on(views: int | None, words: str) -> None:
    """Where the map is no route there is no walk whose views could be counted."""
    said = reason(
        Status.ACCEPTED, Keyframe(keyframe_id=7, session=1, stamp_ns=0), None, confidence=0.99,
        threshold=0.98, views=views)
    assert said == f'place 7 accepted, confidence 0.99 {words}'
