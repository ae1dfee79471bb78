"""Placement of points' labels without overlaps."""

from __future__ import annotations

import numpy as np

from augury.report.canvas import Box, extent


def place_labels(
    px: np.ndarray, py: np.ndarray, labels: list[str], frame: Box
) -> list[tuple[float, float, bool, str]]:
    """Each label's position: (x, y, whether a leader line is needed, alignment), without overlaps.

    Greedy: near positions are tried first. A label without space goes where it overlaps least.
    """
    left, top, right, bottom = frame
    boxes = [(x - 6, y - 6, x + 6, y + 6) for x, y in zip(px, py, strict=True)]
    offsets = [(9, 0, "left"), (-9, 0, "right"), (0, -13, "center"), (0, 14, "center")]
    for distance in (18, 30, 44, 60):
        offsets += [
            (distance * dx, distance * dy, "left" if dx > 0 else "right")
            for dx, dy in ((0.6, -0.8), (0.6, 0.8), (-0.6, -0.8), (-0.6, 0.8))
        ]
    places: list[tuple[float, float, bool, str]] = []
    for x, y, label in zip(px, py, labels, strict=True):
        wide = extent(label)
        options: list[tuple[float, int, Box]] = []
        for k, (dx, dy, ha) in enumerate(offsets):
            start = x + dx - {"left": 0, "center": wide / 2, "right": wide}[ha]
            box = (start, y + dy - 8, start + wide, y + dy + 8)
            outside = max(left - box[0], box[2] - right - 8, top - 14 - box[1], box[3] - bottom, 0)
            options.append((outside * 100 + sum(_overlap(box, t) for t in boxes), k, box))
        _, k, box = min(options)
        dx, dy, ha = offsets[k]
        boxes.append(box)
        places.append((x + dx, y + dy, k > 3, ha))
    return places


def _overlap(a: Box, b: Box) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
