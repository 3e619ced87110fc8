"""A page on this machine that shows points and cameras, served by viser, which is an extra."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Callable
from types import ModuleType

import jax
import numpy as np

from da3jax.outputs.cameras import view_sizes
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.scene import make_scene
from da3jax.types import Prediction

_POINT_SIZE = 0.002
"""Of a point, as a share of the scene's diagonal."""

_LINE = 0.04
"""Thickness of a frustum's lines, as a share of its depth."""
_THUMBNAIL = 256
"""Pixels of the longer side of the pictures in the frusta."""


def view(
    prediction: Prediction,
    options: ExportOptions | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Shows a prediction in the browser until Ctrl-C.

    The page and all that it loads come from this process. Who may open it follows from `host`: by default this machine's users alone.

    Args:
        prediction: depth and processed images; the rest as far as it is there. Numpy or device arrays.
        options: those of points and `show_cameras`, as for `glb`.
        host: the address to listen at; `0.0.0.0`, or `::` with IPv6, lets in whoever reaches the machine.
        port: where; if it is taken, the next that is free.
        ready: called with the page's address when it can be opened.

    Raises:
        ModuleNotFoundError: viser is not installed; the message says how.
        ValueError: no images, a camera that cannot be inverted, or nothing to show.
        OSError: nothing can listen there.
    """
    server, _ = start(prediction, options, host=host, port=port)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            if ready is not None:
                ready(f"http://{_address(host)}:{server.get_port()}")
            threading.Event().wait()
    finally:
        stop(server)


def _address(host: str) -> str:
    """What a browser on this machine calls it."""
    if host in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host


def import_viser() -> ModuleType:
    """viser, which is an extra.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how.
    """
    try:
        import viser
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('looking at a prediction in the browser needs viser: pip install "da3jax[view]"', name="viser") from error
    return viser


def check_host(host: str) -> None:
    """Makes sure that a page can be served at an address, where viser would wait for ever.

    Raises:
        OSError: nothing can listen there.
    """
    try:
        with socket.create_server((host, 0), family=socket.getaddrinfo(host, 0)[0][0]):
            pass
    except OSError as error:
        raise OSError(
            f"nothing can listen at {host} here ({error.strerror}); the host is an address of this machine, such as 127.0.0.1, or 0.0.0.0 "
            f"for all of them"
        ) from error


def start(prediction: Prediction, options: ExportOptions | None = None, *, host: str = "127.0.0.1", port: int = 8080) -> tuple:
    """As `view`, but returns at once: the `viser.ViserServer` and the handles of what is in the scene, by name.

    `points` are those of `write_glb`; `camera_I` are frusta with a small picture in them, drawn about the image's middle whatever the
    principal point. The frame is the prediction's world; where known cameras stand so far from the origin that float32 does not do, whole
    units are taken off. Up is what is up for the cameras on average.
    """
    viser = import_viser()
    check_host(host)
    from viser import transforms

    options = ExportOptions() if options is None else options
    prediction = jax.tree.map(np.asarray, prediction)
    if prediction.processed_images is None:
        raise ValueError("looking at a prediction needs its processed_images, and it has none")
    scene = make_scene(prediction, options, "the view")
    points, poses, size = (scene.points - scene.origin).astype(np.float32), scene.poses.copy(), scene.diagonal
    poses[:, :3, 3] -= scene.origin

    with _silent():
        server = viser.ViserServer(host=host, port=port, label="da3jax", verbose=False)
    up = -poses[:, :3, 1].mean(axis=0)
    up = up / np.linalg.norm(up) if np.linalg.norm(up) > 1e-3 else np.array([0.0, -1.0, 0.0])
    server.scene.set_up_direction(tuple(up.tolist()))
    forward, centre = poses[0, :3, 2], poses[0, :3, 3]
    server.initial_camera.position = centre - 0.2 * size * forward
    server.initial_camera.look_at = np.median(points, axis=0).astype(np.float64) if len(points) else centre + size * forward
    server.initial_camera.up = up

    shown = {}
    if len(points):
        cloud = server.scene.add_point_cloud("points", points, scene.colours, point_size=_POINT_SIZE * size, precision="float32")
        slider = server.gui.add_slider("point size", min=0.1, max=5.0, step=0.1, initial_value=1.0)
        slider.on_update(lambda _: setattr(cloud, "point_size", slider.value * _POINT_SIZE * size))
        shown["points"] = cloud
    if options.show_cameras:
        sizes = view_sizes(prediction)
        for number, (pose, matrix, image) in enumerate(zip(poses, scene.intrinsics, prediction.processed_images, strict=True)):
            name, (height, width) = f"camera_{number}", sizes[number]
            across, down = width / matrix[0, 0], height / matrix[1, 1]
            shown[name] = server.scene.add_camera_frustum(
                name,
                fov=float(2 * np.arctan(down / 2)),
                aspect=float(across / down),
                scale=scene.camera_size,
                thickness=_LINE * scene.camera_size,
                color=tuple(scene.camera_colours[number].tolist()),
                image=_thumbnail(image[:height, :width]),
                format="jpeg",
                wxyz=transforms.SO3.from_matrix(pose[:3, :3]).wxyz,
                position=pose[:3, 3],
            )
    return server, shown


def stop(server) -> None:
    """Ends what `start` began."""
    with _silent():
        server.stop()


def _thumbnail(image: np.ndarray) -> np.ndarray:
    from PIL import Image

    small = Image.fromarray(image)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return np.asarray(small)


def _silent() -> contextlib.redirect_stdout:
    """Keeps what viser has to say off the standard output, which belongs to the command line."""
    return contextlib.redirect_stdout(io.StringIO())
