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

"""One family of errors: each text says what was found, what is needed and what to do."""


class VprError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(VprError):
    """A configuration value, key or combination makes no sense."""


class ImageFormatError(VprError):
    """An image message or file cannot be decoded into colour pixels."""


class ModelFileError(VprError):
    """A model file is missing, damaged, or from another format version."""


class EngineError(VprError):
    """An inference engine is not installed or cannot run the network."""


class MapFileError(VprError):
    """A map file is missing, damaged, not writable, or made with another model."""


class SourceError(VprError):
    """An image folder or bag is missing, empty, or has no usable image topic."""


class DatasetError(VprError):
    """A data set's folder has no known layout, or lacks what its layout promises."""


class GroundTruthError(VprError):
    """A ground truth is missing, malformed, or does not fit the images."""


class TrainingError(VprError):
    """Training data, weights or a checkpoint cannot be used, or the loss is not finite."""
