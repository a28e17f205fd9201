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

"""Play an image folder or bag into the node; everything ends when the source does."""

import os

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import IncludeLaunchDescription
from launch.actions import SetEnvironmentVariable
from launch.actions import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare('vpr_compressed')
#: Fast DDS reads its profile from a variable that was renamed after Jazzy.
PROFILE_VARIABLE = ('FASTRTPS_DEFAULT_PROFILES_FILE'
                    if os.environ.get('ROS_DISTRO') in ('humble', 'iron', 'jazzy')
                    else 'FASTDDS_DEFAULT_PROFILES_FILE')
#: name: (default, description) of the player's parameters
PLAYER = {
    'source': (None, 'image folder or ROS bag to play'),
    'source_topic': ('', 'image topic inside a bag that has several'),
    'source_pose_topic': ('', 'pose topic inside a bag, for mapping'),
    'source_rate_hz': ('2.0', 'images per second of a folder without poses.csv'),
    'rate': ('1.0', 'speed relative to the stamps; 0 is as fast as possible'),
    'hz': ('0.0', 'images per second whatever their stamps say; 0 follows the stamps'),
    'wait_for_answer': ('true', 'publish the next image only after the answer to the last'),
    'record_path': ('', 'file for the answers, one JSON object per image; beside it .node.json '
                    'with the counts of the node: evaluate --live-record compares both'),
    'image_transport': ('raw', 'raw or compressed'),
}
NUMBERS = {'source_rate_hz': float, 'rate': float, 'hz': float, 'wait_for_answer': bool}
#: name: (default, description) of what the node gets
RECOGNITION = {
    'mode': ('localization', 'localization, mapping or slam'),
    'map_path': ('', 'map file to search, or to write while mapping'),
    'model_path': ('', 'model file (.vpr); empty takes the one in the package'),
    'pose_source': ('none', 'topic_pose when the source has poses and the node maps'),
    'params_file': (PathJoinSubstitution([SHARE, 'config', 'replay.yaml']),
                    'YAML file with the parameters of the node'),
    'namespace': ('', 'namespace of both nodes'),
    'log_level': ('info', 'log level of the recognition node'),
    'rviz': ('false', 'start RViz as well'),
}


def generate_launch_description() -> LaunchDescription:
    """Start the node and the player, stop the node when the player is done."""
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=text)
          for name, (default, text) in {**PLAYER, **RECOGNITION}.items()),
        SetEnvironmentVariable(
            PROFILE_VARIABLE, PathJoinSubstitution([SHARE, 'config', 'fastdds_large_images.xml'])),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(
                PathJoinSubstitution([SHARE, 'launch', 'place_recognition.launch.py'])),
            launch_arguments={
                'image_topic': 'image',
                **{name: LaunchConfiguration(name)
                   for name in (*RECOGNITION, 'image_transport')}}.items()),
        Node(package='vpr_compressed', executable='player', name='player', output='screen',
             namespace=LaunchConfiguration('namespace'),
             parameters=[{name: ParameterValue(LaunchConfiguration(name),
                                               value_type=NUMBERS.get(name, str))
                          for name in PLAYER}],
             on_exit=Shutdown(reason='the source was played')),
    ])
