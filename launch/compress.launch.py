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

"""Compress a model for the robot's own images; an argument left empty keeps the YAML value."""

from launch import LaunchContext
from launch import LaunchDescription
from launch import LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.actions import Shutdown
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare('vpr_compressed')
#: name: (default, description, further arguments)
ARGUMENTS = {
    'namespace': ('', 'namespace of the node', {}),
    'params_file': (PathJoinSubstitution([SHARE, 'config', 'compress.yaml']),
                    'YAML file with the parameters of the node', {}),
    'autostart': ('true', 'start at once; false waits for ~/start',
                  {'choices': ['true', 'false']}),
    'log_level': ('info', 'log level of the node', {}),
    'recipe': (PathJoinSubstitution([SHARE, 'config', 'recipes', 'site.yaml']),
               'compression recipe (YAML)', {}),
    'images': ('', 'image folder or ROS bag, without labels', {}),
    'topic': ('', 'image topic inside a bag; empty when there is only one', {}),
    'data': ('', 'folder the paths of a recipe with labels are relative to', {}),
    'model': ('', 'float model (.vpr) to start from', {}),
    'out': ('', 'folder for the model, the report and the checkpoints', {}),
    'seed': ('', 'seed of everything random', {}),
    'threads': ('', 'CPU threads, 0 for all cores', {}),
    'overrides': ('', 'values that replace those of the recipe: KEY=VALUE KEY=VALUE', {}),
    'nice': ('', 'how far it stands back behind the other processes, 0 to 19', {}),
}


def compress_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return the node, with the arguments that were given on top of the YAML file."""
    kinds = {'seed': int, 'threads': int, 'nice': int}
    given = {name: ParameterValue(LaunchConfiguration(name), value_type=kinds.get(name, str))
             for name in ('recipe', 'images', 'topic', 'data', 'model', 'out', 'overrides',
                          *kinds)
             if context.launch_configurations[name]}
    flags = {'autostart': ParameterValue(LaunchConfiguration('autostart'), value_type=bool)}
    return [Node(
        package='vpr_compressed', executable='compress', name='compress',
        namespace=LaunchConfiguration('namespace'), output='screen',
        parameters=[LaunchConfiguration('params_file'), {**flags, **given}],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        # The node saves a checkpoint after ctrl-C: give it the time.
        sigterm_timeout='60', sigkill_timeout='60',
        on_exit=Shutdown(reason='the compression has ended'))]


def generate_launch_description() -> LaunchDescription:
    """Start the compression, and end with it."""
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=text, **more)
          for name, (default, text, more) in ARGUMENTS.items()),
        OpaqueFunction(function=compress_node),
    ])
