"""A view's depth, confidence and sky at the size of its photograph, with edges where the photograph has them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

METHODS = ("edge_aware", "bilinear", "nearest")
"""How `upsample` fills in what lies between the pixels that it is given."""

JUMP = 0.1
"""Depths that differ by more than this share are not of one surface."""
BEND = 0.25
"""Steps of inverse depth from pixel to pixel are equal on a plane; at an edge they differ by more than this share of the largest."""
LIKE = 20.0
"""Grey levels: the standard deviation of colours of one thing (their distance in RGB)."""
REACH = 1.0
"""Pixels of the processed image: the standard deviation of the weight by distance."""
ROWS_AT_A_TIME = 64
PIXELS_AT_A_TIME = 1 << 14
"""So many pixels at edges stay in a core's cache with their 16 neighbours."""

_NEIGHBOURS = [(row, column) for row in range(-1, 3) for column in range(-1, 3)]
_APART = 1000.0
"""More than logarithms of depths differ by."""


def upsample(
    depth: np.ndarray,
    conf: np.ndarray | None,
    sky: np.ndarray | None,
    guide: np.ndarray | None,
    picture: np.ndarray | None,
    from_image: np.ndarray,
    size: tuple[int, int],
    method: str = METHODS[0],
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """One view at another size.

    The centre (x + 0.5, y + 0.5) of a pixel of the picture lies at `from_image` times it in the processed image, in a cell between the
    centres of four of its pixels. Inverse depth is bilinear there, so that planes stay planes, and beyond the last centres goes on as it
    came; confidence is bilinear.

    `edge_aware` does otherwise where the four are not of one surface: depths more than `JUMP` apart that are not on a plane, or a border of
    the sky or of what has a depth. A mixture would hang in the air between the two. Instead the 4 × 4 pixels around vote. Each counts by
    its nearness, by the likeness of its colour to the picture's (joint bilateral upsampling; Kopf, Cohen, Lischinski and Uyttendaele,
    2007), and by the square of the share of its own 3 × 3 neighbourhood that agrees with it: networks blur edges, and a pixel on such a
    ramp is of no surface and has few friends. Depths within `JUMP` of each other agree; the result is the mean of those that agree with
    the one that has most votes.

    `bilinear` mixes across edges, though not across borders of the sky or of what has a depth; `nearest` takes one pixel.
    `benchmarks/native.py` compares them.

    Args:
        depth: (h, w) along the camera's z axis; what is not finite and positive is no depth.
        conf: (h, w), or None.
        sky: (h, w) bool, or None.
        guide: (h, w, 3) uint8, the picture as it was processed; None where colours are not to be used.
        picture: (H, W, 3) uint8, the picture at its own size; None likewise.
        from_image: (3, 3) from pixels of the picture to those of `depth`; it scales and moves along the axes.
        size: H and W.
        method: one of `METHODS`.

    Returns:
        Depth and confidence (H, W), float32, and sky (H, W) bool; None for what was None. Depth is 0 where there is none. All are 0 where
        a pixel of the picture lies outside of the processed image, as crops leave some.
    """
    rows, columns = (_Places(from_image[axis, axis], from_image[axis, 2], depth.shape[1 - axis], size[1 - axis]) for axis in (1, 0))
    source = _Source(depth, conf, sky, guide, np.log1p(JUMP) if method == "edge_aware" else _APART / 2)
    results = [None if x is None else np.zeros(size, kind) for x, kind in ((depth, np.float32), (conf, np.float32), (sky, bool))]
    span = slice(columns.first, columns.end)
    j, s = columns.cells[span], columns.within[span]
    for first in range(rows.first, rows.end, ROWS_AT_A_TIME):
        strip = slice(first, min(first + ROWS_AT_A_TIME, rows.end))
        i, t = rows.cells[strip], rows.within[strip]
        # Where all four are sky or none is, any of them says which.
        nearest = (np.clip(i + (t >= 0.5), 1, depth.shape[0]), np.clip(j + (s >= 0.5), 1, depth.shape[1]))
        if method == "nearest":
            values = [None if x is None else _taken(x, *nearest) for x in source.layers]
        else:
            inverse, sure, in_sky = source.layers
            values = [_bilinear(inverse, i, t, j, s), None if sure is None else _bilinear(sure, i, t, j, s)]
            values.append(None if in_sky is None else _taken(in_sky, *nearest))
            colours = picture[strip, span] if picture is not None and source.guide is not None and method == "edge_aware" else None
            for r, c in _parts(_taken(source.edge, i, j)):
                voted = source.vote(i[r], t[r], j[c], s[c], None if colours is None else colours[r, c])
                for whole, part in zip(values, voted, strict=True):
                    if whole is not None:
                        whole[r, c] = part
        inverse = values[0]
        values[0] = np.divide(1, inverse, out=np.zeros_like(inverse), where=inverse > 0)
        if conf is not None:
            np.maximum(values[1], source.least_conf, out=values[1])  # rounding
        for result, value in zip(results, values, strict=True):
            if result is not None:
                result[strip, span] = value
    return tuple(results)


class _Places:
    """Along one axis: in which cells, and where in them, the centres of the picture's pixels lie.

    Cell k reaches from the centre of the margin's or the image's pixel k, with a margin of one around the image, to the next.
    """

    def __init__(self, scale: float, move: float, have: int, want: int):
        at = scale * (np.arange(want) + 0.5) + move
        inside = np.flatnonzero((at >= 0) & (at <= have))
        self.first, self.end = (inside[0], inside[-1] + 1) if len(inside) else (0, 0)
        at += 0.5
        self.cells = np.clip(np.floor(at), 0, have).astype(np.intp)
        self.within = np.clip(at - self.cells, 0, 1).astype(np.float32)


class _Source:
    """A processed view with a margin of one pixel (h + 2, w + 2), and who agrees with whom in it."""

    def __init__(self, depth: np.ndarray, conf: np.ndarray | None, sky: np.ndarray | None, guide: np.ndarray | None, tolerance: float):
        valid = np.isfinite(depth) & (depth > 0)
        self.tolerance = np.float32(tolerance)
        inverse = np.where(valid, 1 / np.where(valid, depth, 1), 0).astype(np.float32)
        inverse = _go_on(_go_on(inverse, tolerance).T, tolerance).T
        conf = None if conf is None else np.pad(conf.astype(np.float32), 1, mode="edge")
        sky = None if sky is None else np.pad(sky.astype(bool), 1, mode="edge")
        self.layers = inverse, conf, sky
        self.least_conf = None if conf is None else np.fmin.reduce(conf, axis=None)
        self.guide = None if guide is None else np.pad(guide, ((1, 1), (1, 1), (0, 0)), mode="edge").astype(np.float32)
        label = np.pad(valid, 1, mode="edge").astype(np.float32)
        if sky is not None:
            label += 2 * sky
        # One number says who agrees: what is sky, or has no depth, is far from all else.
        self.key = np.log(np.where(inverse > 0, inverse, 1)) + np.float32(_APART) * label
        agree = sum(np.abs(window - self.key) <= self.tolerance for window in _windows(np.pad(self.key, 1, mode="edge"), 3))
        self.standing = (agree / np.float32(9)) ** 2
        self.edge = self._edges()

    def _edges(self) -> np.ndarray:
        """(h + 1, w + 1) bool, the cells whose four corners are not of one surface."""
        inverse = self.layers[0]
        around = np.pad(inverse, 1, mode="reflect", reflect_type="odd")
        bend = np.maximum(np.abs(np.diff(around, 2, axis=0))[:, 1:-1], np.abs(np.diff(around, 2, axis=1))[1:-1])
        range_of_keys, range_of_inverse = (_most(x) + _most(-x) for x in (self.key, inverse))
        bent = _most(bend) > BEND * range_of_inverse
        return (range_of_keys > _APART / 2) | ((range_of_keys > self.tolerance) & bent)

    def vote(self, i: np.ndarray, t: np.ndarray, j: np.ndarray, s: np.ndarray, colours: np.ndarray | None) -> list[np.ndarray | None]:
        """The layers (n,) at n places (t, s) within the cells (i, j), where the picture has those colours (n, 3)."""
        height, width = self.key.shape
        weights, places = [], []
        for row, column in _NEIGHBOURS:
            places.append((np.clip(i + row, 0, height - 1), np.clip(j + column, 0, width - 1)))
            weight = np.exp(((t - row) ** 2 + (s - column) ** 2) / np.float32(-2 * REACH**2)) * self.standing[places[-1]]
            if colours is not None:
                apart = self.guide[places[-1]] - colours
                weight *= np.exp(np.einsum("nc,nc->n", apart, apart) / np.float32(-2 * LIKE**2)) + np.float32(1e-6)  # if none is alike
            weights.append(weight)
        weights = np.stack(weights)
        keys = np.stack([self.key[place] for place in places])
        votes = weights.copy()
        for one in range(1, len(keys)):
            together = np.abs(keys[:one] - keys[one]) <= self.tolerance
            votes[one] += (weights[:one] * together).sum(axis=0)
            votes[:one] += weights[one] * together
        chosen = votes.argmax(axis=0)[None]
        weights *= np.abs(keys - np.take_along_axis(keys, chosen, axis=0)) <= self.tolerance
        weights /= weights.sum(axis=0)
        inverse, conf, sky = (None if x is None else np.stack([x[place] for place in places]) for x in self.layers)
        return [
            (weights * inverse).sum(axis=0),
            None if conf is None else (weights * conf).sum(axis=0),
            None if sky is None else np.take_along_axis(sky, chosen, axis=0)[0],
        ]


def _go_on(inverse: np.ndarray, tolerance: float) -> np.ndarray:
    """A row more at the top and the bottom: as a plane would go on, or the same again where there is an edge."""

    def beyond(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
        step = first - second
        jumps = np.maximum(first, second) > np.exp(tolerance) * np.minimum(first, second)
        bends = np.abs(step - (second - third)) > BEND * np.abs(step)
        return np.where(jumps & bends, first, np.clip(first + step, first / 2, first * 2))

    inward = np.minimum(np.arange(3), len(inverse) - 1)  # of fewer rows the last counts as those that are not there
    return np.concatenate([beyond(*inverse[inward])[None], inverse, beyond(*inverse[::-1][inward])[None]])


def _windows(x: np.ndarray, size: int) -> list[np.ndarray]:
    """What `size` × `size` neighbours hold, one array for each place in the square."""
    height, width = (side - size + 1 for side in x.shape)
    return [x[row : row + height, column : column + width] for row in range(size) for column in range(size)]


def _most(x: np.ndarray) -> np.ndarray:
    """The largest of each cell's four corners."""
    return np.maximum.reduce(_windows(x, 2))


def _taken(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.take(x[rows], columns, axis=1)


def _bilinear(x: np.ndarray, i: np.ndarray, t: np.ndarray, j: np.ndarray, s: np.ndarray) -> np.ndarray:
    x = x[i] + t[:, None] * (x[i + 1] - x[i])
    left = np.take(x, j, axis=1)
    return left + s * (np.take(x, j + 1, axis=1) - left)


def _parts(mask: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of what is true, some at a time."""
    rows, columns = np.nonzero(mask)
    for start in range(0, len(rows), PIXELS_AT_A_TIME):
        part = slice(start, start + PIXELS_AT_A_TIME)
        yield rows[part], columns[part]
