"""Images and cameras -> a batch of normalised views."""

from da3jax.inputs.cameras import check_extrinsics, check_intrinsics
from da3jax.inputs.colmap import read_scene_colmap
from da3jax.inputs.exif import intrinsics_from_exif
from da3jax.inputs.images import lazy_images, list_images, read_image, several
from da3jax.inputs.known_views import KnownViews
from da3jax.inputs.nerfstudio import read_nerfstudio
from da3jax.inputs.preprocess import preprocess
from da3jax.inputs.video import video_frames

__all__ = [
    "KnownViews",
    "check_extrinsics",
    "check_intrinsics",
    "intrinsics_from_exif",
    "lazy_images",
    "list_images",
    "preprocess",
    "read_image",
    "read_nerfstudio",
    "read_scene_colmap",
    "several",
    "video_frames",
]
