"""Cameras as functions of arrays with any leading axes, in float32 or float64, for `jit`, `vmap` and `grad`.

Conventions, everywhere in this project unless a name says otherwise:

- Extrinsics are world-to-camera, (..., 3, 4) or (..., 4, 4): x_camera = R x_world + t. Poses are camera-to-world; their last column is the
  camera's centre.
- A camera's axes follow OpenCV: x right, y down, z forward. Depth is along z, not along the ray.
- Intrinsics (..., 3, 3) are in pixels. The image spans 0 to width and 0 to height, so the centre of its first pixel is (0.5, 0.5) and the
  image's centre is (width / 2, height / 2). (OpenCV's own calibration puts the first pixel's centre at (0, 0): add 0.5 to its cx and cy.)
- Half image sizes measure focal lengths and principal points without pixels: the image spans −1 to 1 on both axes.
- Sizes are height before width, coordinates x before y. Quaternions are xyzw unless said, angles in radians.
- A ray map holds a direction R_camera-to-world K⁻¹ (u, v, 1), not normalised, and then the centre: a point is origin + depth · direction.

`conventions` has the ways to and from camera-to-world, OpenGL and COLMAP. Degenerate input of a solver is data, not an exception:
its result says what could not be determined. Products keep float32 on every accelerator.
"""

from da3jax.geometry.alignment import Alignment, align_poses, umeyama
from da3jax.geometry.conventions import (
    camera_to_world_from_extrinsics,
    colmap_from_extrinsics,
    extrinsics_from_camera_to_world,
    extrinsics_from_colmap,
    extrinsics_from_opengl,
    opengl_from_extrinsics,
)
from da3jax.geometry.gaussians import gaussians_from_raw
from da3jax.geometry.length_scale import LengthScale, LengthScaleResult, scale_from_lengths
from da3jax.geometry.pinhole import (
    fov_from_intrinsics,
    half_sizes_from_intrinsics,
    intrinsics_from_fov,
    intrinsics_from_half_sizes,
    invert_intrinsics,
    project,
    unproject,
)
from da3jax.geometry.pose_encoding import decode_pose, encode_pose
from da3jax.geometry.pose_normalization import normalize_poses
from da3jax.geometry.procrustes import project_to_rotation
from da3jax.geometry.ray_solver import Solution, cameras_from_rays
from da3jax.geometry.rays import points_from_rays, rays_from_cameras, resample_rays
from da3jax.geometry.rigid import compose_rigid, invert_rigid, relative_rounding, rotation_defect, to_homogeneous, transform_points
from da3jax.geometry.rotations import (
    axis_angle_from_rotation,
    matrix_from_quaternion,
    multiply_quaternions,
    quaternion_from_matrix,
    rotation_angle,
    rotation_between,
    rotation_from_axis_angle,
)
from da3jax.geometry.scale_shift import ScaleShift, ScaleShiftResult, align_scale_shift
from da3jax.geometry.similarity import Similarity
from da3jax.geometry.spherical_harmonics import harmonic_terms, rotate_harmonics

__all__ = [
    "Alignment",
    "LengthScale",
    "LengthScaleResult",
    "ScaleShift",
    "ScaleShiftResult",
    "Similarity",
    "Solution",
    "align_poses",
    "align_scale_shift",
    "axis_angle_from_rotation",
    "camera_to_world_from_extrinsics",
    "cameras_from_rays",
    "colmap_from_extrinsics",
    "compose_rigid",
    "decode_pose",
    "encode_pose",
    "extrinsics_from_camera_to_world",
    "extrinsics_from_colmap",
    "extrinsics_from_opengl",
    "fov_from_intrinsics",
    "gaussians_from_raw",
    "half_sizes_from_intrinsics",
    "harmonic_terms",
    "intrinsics_from_fov",
    "intrinsics_from_half_sizes",
    "invert_intrinsics",
    "invert_rigid",
    "matrix_from_quaternion",
    "multiply_quaternions",
    "normalize_poses",
    "opengl_from_extrinsics",
    "points_from_rays",
    "project",
    "project_to_rotation",
    "quaternion_from_matrix",
    "rays_from_cameras",
    "relative_rounding",
    "resample_rays",
    "rotate_harmonics",
    "rotation_angle",
    "rotation_between",
    "rotation_defect",
    "rotation_from_axis_angle",
    "scale_from_lengths",
    "to_homogeneous",
    "transform_points",
    "umeyama",
    "unproject",
]
