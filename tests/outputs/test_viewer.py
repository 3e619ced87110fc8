import dataclasses
import os
import re
import signal
import sys
import threading
import urllib.request

import numpy as np
import pytest

from da3jax.outputs import ExportOptions, view, viewer

ALL = ExportOptions(conf_thresh_percentile=0)


@pytest.fixture
def started():
    """`viewer.start` on a free port; what is started ends with the test."""
    pytest.importorskip("viser")
    servers = []

    def start(prediction, options=ALL):
        server, shown = viewer.start(prediction, options, port=0)
        servers.append(server)
        return server, shown

    yield start
    for server in servers:
        viewer.stop(server)


def test_the_page_is_served_to_this_machine(prediction, started, capsys):
    server, _ = started(prediction)
    assert server.get_host() == "127.0.0.1"
    with urllib.request.urlopen(f"http://127.0.0.1:{server.get_port()}/") as page:
        assert page.status == 200
        assert b"<html" in page.read()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "localhost"), ("::", "localhost"), ("::1", "[::1]"), ("lab.example", "lab.example")],
)
def test_the_address_of_the_page_is_one_that_a_browser_opens(prediction, monkeypatch, host, address):
    class Server:
        def get_port(self):
            return 8080

    class OpenedError(Exception):
        pass

    def ready(found):
        raise OpenedError(found)

    monkeypatch.setattr(viewer, "start", lambda *arguments, **options: (Server(), {}))
    monkeypatch.setattr(viewer, "stop", lambda server: None)
    with pytest.raises(OpenedError, match=f"^{re.escape(f'http://{address}:8080')}$"):
        view(prediction, ALL, host=host, ready=ready)


def test_points_and_colours_are_those_of_the_world(scene, started):
    prediction, points = scene
    _, shown = started(prediction)
    np.testing.assert_allclose(shown["points"].points, points.reshape(-1, 3), atol=1e-5)
    np.testing.assert_array_equal(shown["points"].colors, prediction.processed_images.reshape(-1, 3))


def test_a_browser_is_sent_the_points(prediction, started):
    client = pytest.importorskip("websockets.sync.client")
    import viser

    server, shown = started(prediction)
    wanted, found = np.ascontiguousarray(shown["points"].points, np.float32).tobytes(), b""
    with client.connect(f"ws://127.0.0.1:{server.get_port()}", subprotocols=[f"viser-v{viser.__version__}"], max_size=None) as socket:
        while wanted not in found:
            found += socket.recv(timeout=30)


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_lines_of_frusta_are_thin_in_a_scene_of_any_size(prediction, started, scale):
    poses = prediction.extrinsics.copy()
    poses[:, :, 3] *= scale
    _, shown = started(dataclasses.replace(prediction, depth=prediction.depth * np.float32(scale), extrinsics=poses))
    for camera in (shown["camera_0"], shown["camera_1"]):
        assert camera.thickness == pytest.approx(0.04 * camera.scale)
    assert tuple(shown["camera_0"].color) != tuple(shown["camera_1"].color)


def test_frusta_stand_where_the_cameras_do_and_open_as_far(prediction, started):
    _, shown = started(prediction)
    for number, (pose, matrix) in enumerate(zip(prediction.extrinsics, prediction.intrinsics, strict=True)):
        frustum = shown[f"camera_{number}"]
        np.testing.assert_allclose(frustum.position, -pose[:, :3].T @ pose[:, 3], atol=1e-6)
        w, x, y, z = frustum.wxyz
        forward = [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)]
        np.testing.assert_allclose(forward, pose[2, :3], atol=1e-6)
        assert np.tan(frustum.fov / 2) == pytest.approx(20 / 2 / matrix[1, 1])
        assert frustum.aspect == pytest.approx((30 / matrix[0, 0]) / (20 / matrix[1, 1]))


def test_frusta_of_photographs_of_several_sizes_are_those_of_their_own(prediction, started):
    sizes = np.array([[20, 18], [12, 30]])
    _, shown = started(dataclasses.replace(prediction, from_image=np.tile(np.eye(3), (2, 1, 1)), image_sizes=sizes))
    for number, ((height, width), matrix) in enumerate(zip(sizes, prediction.intrinsics, strict=True)):
        frustum = shown[f"camera_{number}"]
        assert np.tan(frustum.fov / 2) == pytest.approx(height / 2 / matrix[1, 1])
        assert frustum.aspect == pytest.approx((width / matrix[0, 0]) / (height / matrix[1, 1]))


def test_cameras_can_be_left_out_and_far_worlds_are_brought_near(prediction, started):
    moved = prediction.extrinsics.astype(np.float64)
    moved[:, :, 3] -= moved[:, :, :3] @ np.array([4e5, 5e6, 100.0])
    _, near = started(prediction)
    _, far = started(dataclasses.replace(prediction, extrinsics=moved), dataclasses.replace(ALL, show_cameras=False))
    assert list(far) == ["points"]
    apart = far["points"].points - near["points"].points
    np.testing.assert_allclose(apart - apart[0], 0, atol=1e-4)
    assert np.abs(far["points"].points).max() < 100


def test_it_runs_until_it_is_interrupted(prediction):
    pytest.importorskip("viser")
    addresses = []

    def ready(address):
        addresses.append(address)
        with urllib.request.urlopen(address) as page:
            assert page.status == 200
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    view(prediction, ALL, port=0, ready=ready)
    (address,) = addresses
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address)


def test_an_interruption_as_early_as_the_address_is_told_ends_it_too(prediction):
    pytest.importorskip("viser")

    def interrupted(address):
        raise KeyboardInterrupt

    view(prediction, ALL, port=0, ready=interrupted)


def test_an_address_of_another_machine_is_refused(prediction):
    with pytest.raises(OSError, match=r"nothing can listen at 203\.0\.113\.1 here \(.*\); the host is an address of this machine, such as"):
        view(prediction, host="203.0.113.1")


def test_without_images_or_anything_to_show_there_is_no_view(prediction):
    pytest.importorskip("viser")
    with pytest.raises(ValueError, match=r"^looking at a prediction needs its processed_images, and it has none$"):
        view(dataclasses.replace(prediction, processed_images=None))
    empty = dataclasses.replace(prediction, depth=np.zeros((2, 20, 30)))
    with pytest.raises(ValueError, match=r"^the view would be empty: no pixel .*, and cameras are not shown$"):
        view(empty, dataclasses.replace(ALL, show_cameras=False))


def test_a_missing_viser_is_said_with_its_remedy(prediction, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ModuleNotFoundError, match=r'needs viser: pip install "da3jax\[view\]"'):
        view(prediction)
