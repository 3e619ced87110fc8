"""What a user has: photographs, a video, a COLMAP folder and Nerfstudio's, all of the same pictures."""

import json
import pathlib

import av
import numpy as np
from PIL import Image

VIEWS, HEIGHT, WIDTH = 3, 42, 56
INTRINSICS = (50.0, 51.0, 27.0, 22.0)
"""fx, fy, cx, cy of every view."""


def pictures():
    """(N, H, W, 3): a texture that moves."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    large = np.asarray(Image.fromarray(noise).resize((WIDTH + 8 * VIEWS, HEIGHT), Image.Resampling.BICUBIC))
    return np.stack([large[:, 8 * view : 8 * view + WIDTH] for view in range(VIEWS)])


def centres():
    """(N, 3) of the cameras, all of which look along z."""
    return np.array([[0.3 * view, 0.1 * view**2, 0.0] for view in range(VIEWS)])


def furnish(place: pathlib.Path) -> None:
    """Writes `a.jpg`, `b.jpg`, `photos/`, `walk.mp4`, `model/` (COLMAP) and `nerf/` (Nerfstudio) into a folder."""
    for folder in ("photos", "model/images", "model/sparse/0", "nerf/images"):
        (place / folder).mkdir(parents=True)
    images, frames = [], []
    for view, (picture, centre) in enumerate(zip(pictures(), centres(), strict=True)):
        for folder in ("photos", "model/images", "nerf/images"):
            Image.fromarray(picture).save(place / folder / f"{view}.png")
        x, y, z = -centre
        images.append(f"{view + 1} 1 0 0 0 {x} {y} {z} 1 {view}.png\n\n")
        pose = np.eye(4)
        pose[:3] = np.column_stack([np.diag([1, -1, -1]), centre])
        frames.append({"file_path": f"images/{view}.png", "transform_matrix": pose.tolist()})
    fx, fy, cx, cy = INTRINSICS
    (place / "model/sparse/0/cameras.txt").write_text(f"1 PINHOLE {WIDTH} {HEIGHT} {fx} {fy} {cx} {cy}\n")
    (place / "model/sparse/0/images.txt").write_text("".join(images))
    (place / "model/sparse/0/points3D.txt").write_text("")
    shared = {"w": WIDTH, "h": HEIGHT, "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}
    (place / "nerf/transforms.json").write_text(json.dumps({**shared, "frames": frames}))
    with av.open(str(place / "walk.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 4_000_000
        for picture in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    for name, picture in zip("ab", pictures(), strict=False):
        Image.fromarray(picture).save(place / f"{name}.jpg", quality=95)
