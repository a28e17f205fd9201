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

"""Run the command line with ``python -m vpr_compressed``."""

import os
import sys

from vpr_compressed.cli.main import main

status = main()
if int(os.environ.get('WORLD_SIZE', '1')) > 1:
    # One of several processes of torchrun: under load, taking its threads apart was seen to
    # abort it after all work was done.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
sys.exit(status)
