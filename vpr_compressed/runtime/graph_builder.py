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

"""Build the graph of a model for an engine and leave it in the cache; run as a program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import sys

from vpr_compressed.errors import VprError
from vpr_compressed.model_file import read_model
from vpr_compressed.runtime import as_run_by
from vpr_compressed.runtime.graph_cache import graph_bytes
from vpr_compressed.runtime.graph_cache import takes_trunk_only


def main(arguments: Sequence[str]) -> int:
    """
    Do it.

    :param arguments: model file and name of the engine
    :returns: 0, or 1 with the reason on stderr
    """
    path, engine = Path(arguments[0]), arguments[1]
    try:
        model = as_run_by(engine, read_model(path))
        graph_bytes(model, trunk_only=takes_trunk_only(engine), keep=True)
    except VprError as error:
        sys.stderr.write(f'{error}\n')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
