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


# Everything a fresh clone needs: python3 (3.10 to 3.13), make and git. `make` lists the targets.
# No ROS 2 has to be installed: `.venv` gets a real rclpy with Fast DDS from PyPI wheels.

PYTHON ?= python3
VENV ?= .venv
JAZZY_VENV ?= .venv-jazzy
REFERENCE ?=
QUERY ?=
DEMO_ARGS ?=
PYTEST_ARGS ?=

DEMO_SOURCES = $(if $(REFERENCE),--reference '$(REFERENCE)') $(if $(QUERY),--query '$(QUERY)')
BIN := $(VENV)/bin
RUN_READY := $(VENV)/.run-ready
TEST_READY := $(VENV)/.test-ready
JAZZY_READY := $(JAZZY_VENV)/.ready
PACKAGE := setup.py setup.cfg

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# A sourced ROS 2, or a shell inside another environment of these wheels, must not leak into
# this one: its libraries and Python packages are those of another distribution.
unexport PYTHONPATH LD_LIBRARY_PATH AMENT_PREFIX_PATH ROS_DISTRO RMW_IMPLEMENTATION
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

.DEFAULT_GOAL := help
.PHONY: help demo setup test test-jazzy lint types clean distclean
# A recipe that fails half-way must not leave its stamp behind.
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(RUN_READY) ## map one walk, localise on another; REFERENCE=path QUERY=path for own images
	$(strip $(BIN)/python -m vpr_compressed demo $(DEMO_SOURCES) $(DEMO_ARGS))

setup: $(RUN_READY) $(TEST_READY) ## install all that run time, training and tests need

test: $(TEST_READY) ## run all tests; PYTEST_ARGS='-k images' for some of them
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-jazzy: $(JAZZY_READY) ## run the node tests against ROS 2 Jazzy
	$(JAZZY_VENV)/bin/python -m pytest test/ros $(PYTEST_ARGS)

lint: $(TEST_READY) ## check style and complexity
	$(BIN)/ruff check .
	$(BIN)/flake8 vpr_compressed test launch benchmarks tools setup.py

types: $(TEST_READY) ## check types (mypy --strict)
	$(BIN)/mypy

clean: ## remove build products and caches
	rm -rf build install log dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find vpr_compressed test launch benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## also remove the virtual environments
	rm -rf '$(VENV)' '$(JAZZY_VENV)'

$(RUN_READY): $(PACKAGE) | $(BIN)/python
	@echo 'installing what run time needs into $(VENV), once: one or two minutes'
	@$(BIN)/python -m pip install --quiet -e '.[ros-kilted,offline]'
	@touch $@

$(TEST_READY): $(RUN_READY)
	@echo 'installing PyTorch and the tools into $(VENV), once: two to five minutes'
	@$(BIN)/python -m pip install --quiet -e '.[ros-kilted,train,dev]'
	@touch $@

$(JAZZY_READY): $(PACKAGE) | $(JAZZY_VENV)/bin/python
	@echo 'installing ROS 2 Jazzy into $(JAZZY_VENV), once: one or two minutes'
	@$(JAZZY_VENV)/bin/python -m pip install --quiet -e '.[ros-jazzy,test]'
	@touch $@

$(BIN)/python $(JAZZY_VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "error: '$(PYTHON)' is missing or not Python 3.10 to 3.13;" \
			"name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "error: '$(PYTHON)' cannot make virtual environments;" \
			"on Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv '$(@:/bin/python=)' || { rm -rf '$(@:/bin/python=)'; exit 1; }
