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

"""Map a walk: place_recognition.launch.py in mode mapping with its YAML file."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare('vpr_compressed')
#: name: (default, description)
ARGUMENTS = {
    'map_path': ('', 'map file to write; an existing map gets a new session'),
    'pose_source': ('', 'none, topic_pose or tf; empty keeps the YAML value'),
    'pose_topic': ('pose', 'topic with the poses of the robot base'),
    'params_file': (PathJoinSubstitution([SHARE, 'config', 'mapping.yaml']),
                    'YAML file with the parameters of the node'),
    'image_topic': ('/camera/image_raw', 'image topic, without the suffix /compressed'),
    'image_transport': ('', 'raw or compressed; empty keeps the YAML value'),
    'model_path': ('', 'model file (.vpr); empty keeps the YAML value'),
    'namespace': ('', 'namespace of the node'),
    'use_sim_time': ('false', 'take the time from /clock'),
    'autostart': ('true', 'configure and activate at once'),
    'log_level': ('info', 'log level of the node'),
    'use_respawn': ('false', 'start the node again when it ends'),
    'rviz': ('false', 'start RViz as well'),
}


def generate_launch_description() -> LaunchDescription:
    """Start the node in mode mapping."""
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=text)
          for name, (default, text) in ARGUMENTS.items()),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(
                PathJoinSubstitution([SHARE, 'launch', 'place_recognition.launch.py'])),
            launch_arguments={
                'mode': 'mapping',
                **{name: LaunchConfiguration(name) for name in ARGUMENTS}}.items()),
    ])
