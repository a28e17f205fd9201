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

"""
Make ROS parameters out of configuration dataclasses, once, with descriptions and ranges.

The fields and their ``option()`` metadata are the only place where a parameter is described;
``ros2 param describe`` shows the same words as the code. A wrong start value is not thrown out
of the constructor, it is kept for ``configure``, where a lifecycle node can report it.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import TypeVar

from rcl_interfaces.msg import FloatingPointRange
from rcl_interfaces.msg import IntegerRange
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from vpr_compressed.config import check_range
from vpr_compressed.config import config_from_mapping
from vpr_compressed.config import suggest
from vpr_compressed.errors import ConfigError

ConfigT = TypeVar('ConfigT')

#: Overrides that belong to rclpy itself, not to a configuration.
_FOREIGN_PREFIX = 'qos_overrides.'
_FOREIGN_NAMES = ('use_sim_time', 'start_type_description_service')
#: The end of a range that has none.
_UNBOUNDED = 1 << 62


@dataclasses.dataclass(frozen=True)
class ParameterGroup:
    """
    One configuration dataclass as a group of parameters.

    :param config_type: frozen dataclass; every field is a bool, number or text, with a default
        and ``metadata['doc']``
    :param prefix: put before the field names, with its dot: ``'decision.'``, or ``''``
    :param changeable: whether fields may change while the node runs; ``metadata['runtime']``
        of a field overrules it
    """

    config_type: type[Any]
    prefix: str = ''
    changeable: bool = False

    def fields(self) -> dict[str, dataclasses.Field[Any]]:
        """Return parameter name -> dataclass field."""
        return {f'{self.prefix}{field.name}': field
                for field in dataclasses.fields(self.config_type)}

    def descriptor(self, field: dataclasses.Field[Any]) -> ParameterDescriptor:
        """Return what ``ros2 param describe`` shows, ranges included."""
        facts = field.metadata
        descriptor = ParameterDescriptor(
            description=facts['doc'], read_only=not facts.get('runtime', self.changeable))
        if 'choices' in facts:
            descriptor.additional_constraints = f'one of: {", ".join(facts["choices"])}'
        low = facts.get('minimum', facts.get('above', -_UNBOUNDED))
        high = facts.get('maximum', _UNBOUNDED)
        if (low, high) != (-_UNBOUNDED, _UNBOUNDED):
            if isinstance(field.default, float):
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=float(low), to_value=float(high))]
            else:
                descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        return descriptor

    def config(self, values: Mapping[str, Any]) -> Any:
        """
        Build the configuration from parameter values.

        :param values: full parameter name -> value; names of other groups are ignored
        :raises ConfigError: naming the parameter
        """
        names = self.fields()
        own = {names[name].name: value for name, value in values.items() if name in names}
        try:
            return config_from_mapping(self.config_type, own)
        except ConfigError as error:
            raise ConfigError(f'parameters {self.prefix}*: {error}' if self.prefix
                              else str(error)) from error


class ParameterSet:
    """All parameters of a node, declared once, read as configurations at every configure."""

    def __init__(self, node: Node, groups: Sequence[ParameterGroup]) -> None:
        """
        Declare one parameter per field.

        :param node: owner of the parameters; its overrides are read here
        :param groups: the configurations; names must not collide
        """
        self._node = node
        self._groups = tuple(groups)
        #: Names of all parameters of the groups.
        self.names = {name for group in groups for name in group.fields()}
        # rclpy has no public way to see start values of parameters that nobody declared
        self._overrides: dict[str, Parameter[Any]] = node._parameter_overrides  # noqa: SLF001
        self._problems: list[str] = []
        for group in groups:
            for name, field in group.fields().items():
                node.declare_parameter(
                    name, self._start_value(name, field), group.descriptor(field),
                    ignore_override=True)

    def _start_value(self, name: str, field: dataclasses.Field[Any]) -> Any:
        """Return the override of a parameter, or its default when there is none or is refused."""
        default, override = field.default, self._overrides.get(name)
        if override is None or override.type_ is Parameter.Type.NOT_SET:
            return default
        value = override.value
        if isinstance(default, float) and type(value) is int:
            value = float(value)  # rclpy's own override would refuse "1" for a double
        if type(value) is not type(default):
            self._problems.append(f'parameter {name} must be {type(default).__name__}, got '
                                  f'{type(value).__name__} {value!r}')
            return default
        try:
            check_range(f'parameter {name}', value, field.metadata)
        except ConfigError as error:
            self._problems.append(str(error))
            return default
        return value

    def values(self) -> dict[str, Any]:
        """Return name -> present value."""
        return {name: self._node.get_parameter(name).value for name in sorted(self.names)}

    def configs(self) -> tuple[Any, ...]:
        """
        Return one configuration per group, in the order given.

        :raises ConfigError: a start value was refused or an override has an unknown name
        """
        self._refuse_unknown_names()
        if self._problems:
            raise ConfigError('; '.join(self._problems))
        values = self.values()
        return tuple(group.config(values) for group in self._groups)

    def changed(self, parameters: Sequence[Parameter[Any]]) -> tuple[Any, ...]:
        """
        Return the configurations as they would be after a change.

        :param parameters: the requested change; parameters of others are ignored
        :raises ConfigError: the change makes no sense
        """
        values = self.values()
        values.update({p.name: p.value for p in parameters if p.name in values})
        return tuple(group.config(values) for group in self._groups)

    def summary(self) -> str:
        """Return every parameter and its value, one per line, for the log."""
        return '\n'.join(f'  {name}: {value!r}' for name, value in self.values().items())

    def _refuse_unknown_names(self) -> None:
        """Raise for an override from YAML or the command line that no parameter takes."""
        for name in self._overrides:
            foreign = name in _FOREIGN_NAMES or name.startswith(_FOREIGN_PREFIX)
            if not foreign and not self._node.has_parameter(name):
                raise ConfigError(
                    f'{self._node.get_name()} has no parameter {name!r}'
                    f'{suggest(name, self.names)}; correct the YAML file or the command line')


def read_config(node: Node, config_type: type[ConfigT]) -> ConfigT:
    """
    Declare the fields of one configuration as parameters and return the start values.

    :param node: owner of the parameters, which cannot change later
    :raises ConfigError: a start value was refused or an override has an unknown name
    """
    config: ConfigT = ParameterSet(node, [ParameterGroup(config_type)]).configs()[0]
    return config
