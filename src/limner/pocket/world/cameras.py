"""Where a camera is and which way it looks."""

from __future__ import annotations

import numpy as np

from .graph import Camera


def camera_axes(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Where the camera is [3], and rows right, up (each times tan(fov / 2)) and forward [3, 3]."""
    around, above = camera.azimuth, camera.elevation
    back = np.array([np.sin(around) * np.cos(above), np.sin(above), np.cos(around) * np.cos(above)])
    right = np.array([np.cos(around), 0.0, -np.sin(around)])
    up = np.cross(back, right)
    lens = np.tan(camera.fov / 2)
    return np.asarray(camera.target) + camera.distance * back, np.stack([right * lens, up * lens, -back])
