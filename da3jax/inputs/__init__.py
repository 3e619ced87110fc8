"""Images and cameras -> a batch of normalised views."""

from da3jax.inputs.cameras import check_extrinsics, check_intrinsics
from da3jax.inputs.exif import intrinsics_from_exif
from da3jax.inputs.images import lazy_images, list_images, read_image, several
from da3jax.inputs.preprocess import preprocess
from da3jax.inputs.video import video_frames

__all__ = [
    "check_extrinsics",
    "check_intrinsics",
    "intrinsics_from_exif",
    "lazy_images",
    "list_images",
    "preprocess",
    "read_image",
    "several",
    "video_frames",
]
