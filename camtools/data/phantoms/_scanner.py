"""What the scanner adds: slice geometry, motion between slices, bias field, intensity jumps and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from camtools.data.phantoms._scene import smooth_noise
from camtools.data.phantoms.phantom import FloatArray

SLICE_SPACING_MM = 6.5
_MAX_TILT_RADIANS = 0.4
_SIGNAL_OF_FLUID = 700.0
_BLUR_PIXELS = 0.7


def random_affine(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Draw an oblique affine: a base orientation (axes permuted and flipped), a tilt of up to 23 degrees, an offset.

    Args:
        rng: random generator.
        shape: voxels ``(X, Y, Z)``.

    Returns:
        Affine ``(4, 4)`` in mm with in-plane pixels of 1 mm and slices 6.5 mm apart along the last axis.
    """
    base = np.eye(3)[rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)
    axis = rng.standard_normal(3)
    angle = rng.uniform(0.2, 1.0) * _MAX_TILT_RADIANS
    tilt = Rotation.from_rotvec(axis * (angle / np.linalg.norm(axis))).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = tilt @ base * np.array([1.0, 1.0, SLICE_SPACING_MM])
    centre = (np.array(shape) - 1) / 2
    affine[:3, 3] = rng.uniform(-40, 40, 3) - affine[:3, :3] @ centre
    return affine


def random_motion(rng: np.random.Generator, slices: int, shift_mm: float, degrees: float) -> FloatArray:
    """Draw how far every slice moved in its plane.

    Slices are acquired interleaved, so odd and even slices each share a drift, in addition to the jitter of each slice.

    Args:
        rng: random generator.
        slices: number of slices Z.
        shift_mm: standard deviation of the shift along x and y in mm.
        degrees: standard deviation of the rotation in degrees.

    Returns:
        Shift along x and y in mm and rotation in radians, ``(Z, 3)``.
    """
    scale = np.array([shift_mm, shift_mm, np.deg2rad(degrees)], np.float32)
    jitter: FloatArray = rng.standard_normal((slices, 3), dtype=np.float32)
    jitter[1::2] += rng.standard_normal(3, dtype=np.float32)
    return jitter * scale


def acquire(rng: np.random.Generator, signal: FloatArray) -> NDArray[np.int16]:
    """Turn tissue signal into the voxels of a T2-weighted single-shot stack.

    Args:
        rng: random generator.
        signal: tissue signal ``(X, Y, Z)``, about 0 (air) to 1 (fluid).

    Returns:
        int16 voxels >= 0: signal times a smooth bias field times one factor per slice, with Rician noise.
    """
    size_x, size_y, size_z = signal.shape
    bias = np.exp(np.float32(0.12) * smooth_noise(rng, signal.shape, (size_x / 1.5, size_y / 1.5, size_z / 1.5)))
    per_slice: FloatArray = np.exp(np.float32(0.04) * rng.standard_normal(size_z, dtype=np.float32))
    per_slice[1::2] *= 1 + rng.uniform(-0.12, 0.12)
    level = rng.uniform(0.02, 0.035)
    blurred = gaussian_filter(signal, (_BLUR_PIXELS, _BLUR_PIXELS, 0))
    real = blurred * bias * per_slice
    real += np.float32(level) * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(level) * rng.standard_normal(signal.shape, dtype=np.float32)
    scale = np.float32(_SIGNAL_OF_FLUID * rng.uniform(0.7, 1.4))
    voxels: NDArray[np.int16] = np.rint(scale * np.hypot(real, imaginary)).astype(np.int16)
    return voxels
