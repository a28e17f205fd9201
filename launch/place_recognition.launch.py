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

"""Recognise places in the images of one camera; an argument left empty keeps the YAML value."""

from launch import LaunchContext
from launch import LaunchDescription
from launch import LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare('vpr_compressed')
#: name: (default, description, further arguments)
ARGUMENTS = {
    'namespace': ('', 'namespace of the node', {}),
    'params_file': (PathJoinSubstitution([SHARE, 'config', 'place_recognition.yaml']),
                    'YAML file with the parameters of the node', {}),
    'use_sim_time': ('false', 'take the time from /clock', {'choices': ['true', 'false']}),
    'autostart': ('true', 'configure and activate at once', {'choices': ['true', 'false']}),
    'log_level': ('info', 'log level of the node', {}),
    'use_respawn': ('false', 'start the node again when it ends',
                    {'choices': ['true', 'false']}),
    'image_topic': ('/camera/image_raw', 'image topic, without the suffix /compressed', {}),
    'image_transport': ('', 'raw or compressed', {'choices': ['', 'raw', 'compressed']}),
    'mode': ('', 'localization, mapping or slam',
             {'choices': ['', 'localization', 'mapping', 'slam']}),
    'map_path': ('', 'map file to search, or to write while mapping', {}),
    'model_path': ('', 'model file (.vpr); the one in the package when nothing names one', {}),
    'pose_source': ('', 'poses of keyframes when it maps: none, topic_pose or tf',
                    {'choices': ['', 'none', 'topic_pose', 'tf']}),
    'pose_topic': ('pose', 'topic with poses of the robot base, used when it maps', {}),
    'odom_topic': ('odom', 'topic with odometry, used when it localises', {}),
    'rviz': ('false', 'start RViz as well', {'choices': ['true', 'false']}),
}


def recognition_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return the node, with the arguments that were given on top of the YAML file."""
    given = {name: ParameterValue(value, value_type=str)
             for name in ('image_transport', 'mode', 'map_path', 'model_path', 'pose_source')
             if (value := context.launch_configurations[name])}
    flags = {name: ParameterValue(LaunchConfiguration(name), value_type=bool)
             for name in ('use_sim_time', 'autostart')}
    return [Node(
        package='vpr_compressed', executable='place_recognition', name='place_recognition',
        namespace=LaunchConfiguration('namespace'), output='screen',
        parameters=[LaunchConfiguration('params_file'), {**flags, **given}],
        remappings=[('image', LaunchConfiguration('image_topic')),
                    ('pose', LaunchConfiguration('pose_topic')),
                    ('odom', LaunchConfiguration('odom_topic')),
                    ('/tf', 'tf'), ('/tf_static', 'tf_static')],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        respawn=context.launch_configurations['use_respawn'] == 'true', respawn_delay=2.0)]


def generate_launch_description() -> LaunchDescription:
    """Start place recognition on one camera topic."""
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=text, **more)
          for name, (default, text, more) in ARGUMENTS.items()),
        OpaqueFunction(function=recognition_node),
        Node(package='rviz2', executable='rviz2', name='rviz', output='screen',
             arguments=['-d', PathJoinSubstitution([SHARE, 'rviz', 'place_recognition.rviz'])],
             condition=IfCondition(LaunchConfiguration('rviz'))),
    ])
