"""Cameras as functions of arrays with any leading axes. Axes follow OpenCV: x right, y down, z forward."""

from da3jax.geometry.pose_encoding import decode_pose, encode_pose
from da3jax.geometry.rigid import invert_rigid
from da3jax.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix

__all__ = ["decode_pose", "encode_pose", "invert_rigid", "matrix_from_quaternion", "quaternion_from_matrix"]
