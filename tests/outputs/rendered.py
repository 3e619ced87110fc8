"""A scene with a known truth at every pixel: a slanted card before a slanted wall, and sky over it, ray by ray in NumPy.

The four pictures differ in size, and the processed images are a scaled crop of each, as `process_res_method="upper_bound_crop"` makes them.
"""

import dataclasses

import numpy as np

from da3jax.types import LazyImage, Prediction

HEIGHT, WIDTH = 42, 56
SIZES = np.array([[97, 121], [97, 121], [130, 140], [84, 113]])

# Parallelograms: a corner and two edges.
WALL = np.array([[-6.0, -1.2, 5.5], [12.0, 0.4, -1.0], [0.3, 7.0, -1.5]])
CARD = np.array([[-0.6, 0.0, 2.8], [1.2, 0.1, 0.25], [-0.1, 0.9, -0.2]])


@dataclasses.dataclass(frozen=True)
class Rendered:
    """The prediction that a perfect network would make, and the truth that it is made of."""

    prediction: Prediction
    images: list[LazyImage]
    """The pictures at their own size."""
    intrinsics: np.ndarray
    """(N, 3, 3) pixels of the pictures."""
    extrinsics: np.ndarray
    """(N, 3, 4) world-to-camera, float64."""
    sky: np.ndarray
    """(N, H, W) processed pixels whose ray meets nothing."""
    wrong: np.ndarray
    """(N, H, W) processed pixels whose depth is wrong and whose confidence is low."""

    def depth(self, view, pixels):
        """Along z, (P,), of the first surface behind pixels (P, 2) of a view's picture; NaN in the sky."""
        return self._cast(view, pixels)[0]

    def surface(self, view, pixels):
        """0 for the wall, 1 for the card, -1 for the sky."""
        return self._cast(view, pixels)[1]

    def colours(self, view, pixels):
        """(P, 3) float, the same from everywhere."""
        depth, surface = self._cast(view, pixels)
        points = np.nan_to_num(self._points(view, pixels, depth))
        painted = 128 + 90 * np.sin(points @ np.array([[0.9, 0.2, 0.4], [0.3, 1.1, -0.2], [0.1, 0.5, 0.8]]).T + surface[:, None])
        return np.where(surface[:, None] < 0, [150, 180, 250], painted)

    def project(self, view, points):
        """Pixels (P, 2) of a view's picture, and depths (P,), of points (P, 3) in the world."""
        camera = points @ self.extrinsics[view, :, :3].T + self.extrinsics[view, :, 3]
        pixels = camera @ self.intrinsics[view].T
        return pixels[:, :2] / pixels[:, 2:], camera[:, 2]

    def points(self, view, pixels):
        """(P, 3) in the world, where the rays through pixels (P, 2) of a view's picture end."""
        return self._points(view, pixels, self.depth(view, pixels))

    def _points(self, view, pixels, depth):
        rotation, translation = self.extrinsics[view, :, :3], self.extrinsics[view, :, 3]
        return (self._rays(view, pixels) * depth[:, None] - translation) @ rotation

    def _rays(self, view, pixels):
        return np.concatenate([pixels, np.ones((len(pixels), 1))], axis=-1) @ np.linalg.inv(self.intrinsics[view]).T

    def _cast(self, view, pixels):
        rotation, translation = self.extrinsics[view, :, :3], self.extrinsics[view, :, 3]
        directions, centre = self._rays(view, pixels) @ rotation, -rotation.T @ translation
        depth, surface = np.full(len(pixels), np.nan), np.full(len(pixels), -1)
        for number, (corner, right, down) in enumerate((WALL, CARD)):
            # centre + depth · direction = corner + a · right + b · down
            system = np.stack([directions, *np.broadcast_to([[-right], [-down]], (2, len(pixels), 3))], axis=-1)
            along, a, b = np.linalg.solve(system, np.broadcast_to(corner - centre, (len(pixels), 3))[..., None])[..., 0].T
            hit = (along > 0) & (a >= 0) & (a <= 1) & (b >= 0) & (b <= 1) & ~(along > depth)
            depth[hit], surface[hit] = along[hit], number
        return depth, surface


def pixel_centres(height, width):
    """(height · width, 2)"""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.stack([columns, rows], axis=-1).reshape(-1, 2)


def transform(matrix, pixels):
    """Pixels (P, 2) under a (3, 3) whose last row is 0 0 1."""
    return pixels @ matrix[:2, :2].T + matrix[:2, 2]


def render():
    """The scene seen by four cameras."""
    angles = np.radians([[4, 12, 3], [-2, 3, -20], [3, -14, 8], [0, 6, 91]])  # about x, y, z: the last one lies on its side
    centres = np.array([[-1.0, -0.1, 0.2], [0.1, 0.2, -0.3], [1.1, 0.0, 0.4], [0.4, 0.5, 0.1]])
    rotations = np.stack([_turn(2, z) @ _turn(0, x) @ _turn(1, y) for x, y, z in angles])
    extrinsics = np.concatenate([rotations, -np.einsum("nij,nj->ni", rotations, centres)[..., None]], axis=-1)
    focal = np.array([[101.0, 99], [101, 99], [122, 125], [93, 95]])
    intrinsics, from_image = np.tile(np.eye(3), (4, 1, 1)), np.tile(np.eye(3), (4, 1, 1))
    for view, (height, width) in enumerate(SIZES):
        intrinsics[view, :2] = [[focal[view, 0], 0, width / 2 + 1.3], [0, focal[view, 1], height / 2 - 0.7]]
        scale = max(HEIGHT / height, WIDTH / width) + 0.031
        scaled = np.round(np.array([width, height]) * scale)
        from_image[view, :2] = np.array([[1.0, 0, 0], [0, 1, 0]]) * (scaled / (width, height))[:, None]
        from_image[view, :2, 2] = -((scaled - (WIDTH, HEIGHT)) // 2)

    scene = Rendered(None, [], intrinsics, extrinsics, None, None)
    shape = (4, HEIGHT, WIDTH)
    depth, pictures = np.zeros(shape), np.zeros((*shape, 3), np.uint8)
    for view in range(4):
        pixels = transform(np.linalg.inv(from_image[view]), pixel_centres(HEIGHT, WIDTH))
        depth[view] = scene.depth(view, pixels).reshape(HEIGHT, WIDTH)
        pictures[view] = np.rint(scene.colours(view, pixels)).reshape(HEIGHT, WIDTH, 3)
    sky = np.isnan(depth)
    wrong = np.zeros(shape, bool)
    wrong[:, 30:34, 6:12] = True
    prediction = Prediction(
        depth=np.where(sky, 50, np.where(wrong, 1.1 * depth, depth)).astype(np.float32),
        conf=np.where(wrong, 1.2, 3.0).astype(np.float32),
        extrinsics=extrinsics.astype(np.float32),
        intrinsics=(from_image @ intrinsics).astype(np.float32),
        sky=sky,
        processed_images=pictures,
        from_image=from_image,
        image_sizes=SIZES,
    )
    images = [
        LazyImage(f"/data/walk/{view:04d}.{'png' if view % 2 else 'jpg'}", lambda view=view: _picture(scene, view)) for view in range(4)
    ]
    return dataclasses.replace(scene, prediction=prediction, images=images, sky=sky, wrong=wrong)


def _picture(scene, view):
    height, width = SIZES[view]
    return np.rint(scene.colours(view, pixel_centres(height, width))).reshape(height, width, 3).astype(np.uint8)


def _turn(axis, angle):
    rest = [other for other in range(3) if other != axis]
    matrix = np.eye(3)
    matrix[np.ix_(rest, rest)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix
