"""Printed ArUco markers as a camera sees them."""

import numpy as np


def draw_marker(image, quad, number, dictionary="DICT_4X4_50"):
    """Draws into `image` (H, W, 3) a marker on a white sheet; `quad` (4, 2) are the corners of its black square, (0, 0) the image's."""
    import cv2

    cell, fine = 40, 4  # pixels a cell of the sheet; drawn so many times larger, then averaged
    marker = cv2.aruco.generateImageMarker(cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary)), number, 6 * cell)
    sheet = np.pad(marker, cell, constant_values=255)
    height, width = image.shape[:2]
    corners = cell + 6 * cell * np.float32([[0, 0], [1, 0], [1, 1], [0, 1]])
    # OpenCV's first pixel has its centre at (0, 0).
    change = cv2.getPerspectiveTransform(np.float32(corners - 0.5), np.float32(fine * np.asarray(quad) - 0.5))
    drawn, covered = (cv2.warpPerspective(x, change, (fine * width, fine * height)) for x in (sheet, np.full_like(sheet, 255)))
    drawn, covered = (x.reshape(height, fine, width, fine).mean(axis=(1, 3))[..., None] for x in (drawn, covered))
    image[...] = np.rint(drawn + (1 - covered / 255) * image)
