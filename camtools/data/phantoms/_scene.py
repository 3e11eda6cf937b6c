"""A stack of slices to paint on: coordinates in mm, tubes of ellipses, soft edges and smooth noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camtools.data.phantoms.phantom import FloatArray


@dataclass(frozen=True)
class Scene:
    """The picture being painted and where its voxels lie.

    Attributes:
        image: tissue signal ``(X, Y, Z)``, float32, about 0 (air) to 1 (fluid); painted in place.
        x: first in-plane coordinate of every voxel in mm from the centre of the field of view, ``(X, Y, Z)``.
        y: second in-plane coordinate, like ``x``.
        z: position of every slice in mm from the middle of the stack, ``(Z,)``.
    """

    image: FloatArray
    x: FloatArray
    y: FloatArray
    z: FloatArray


def warp(scene: Scene, rng: np.random.Generator) -> Scene:
    """Bend the coordinates of every slice by about 2 mm, so that nothing painted keeps the outline of an ellipse."""
    shape = scene.image.shape
    x, y = (
        axis + 1.4 * smooth_noise(rng, shape, (18, 18, 2)) + 0.5 * smooth_noise(rng, shape, (7, 7, 1))
        for axis in (scene.x, scene.y)
    )
    return Scene(scene.image, x, y, scene.z)


@dataclass(frozen=True)
class Tube:
    """An object as one ellipse per slice.

    Attributes:
        centre: in-plane centre per slice in mm, ``(Z, 2)``.
        radii: semi-axes per slice in mm, ``(Z, 2)``; a slice with a radius <= 0 does not show the object.
        angle: rotation of the first semi-axis per slice in radians, ``(Z,)``.
    """

    centre: FloatArray
    radii: FloatArray
    angle: FloatArray

    @property
    def slices(self) -> slice:
        """Range of slices that show the object (empty when none does)."""
        shown = np.flatnonzero((self.radii > 0).all(axis=1))
        return slice(int(shown[0]), int(shown[-1]) + 1) if shown.size else slice(0, 0)


@dataclass(frozen=True)
class TubeFrame:
    """A tube's own coordinates on the slices that show it (``K`` of them).

    Attributes:
        slices: which slices of the scene.
        u: coordinate along the first semi-axis in mm, ``(X, Y, K)``.
        v: coordinate along the second semi-axis in mm, ``(X, Y, K)``.
        distance: signed in-plane distance to the outline in mm (first order), ``(X, Y, K)``, negative inside.
        radii: semi-axes in mm, ``(K, 2)``.
    """

    slices: slice
    u: FloatArray
    v: FloatArray
    distance: FloatArray
    radii: FloatArray

    @property
    def polar(self) -> FloatArray:
        """Angle around the centre in radians after scaling the ellipse to a circle, ``(X, Y, K)``."""
        return np.arctan2(self.v / self.radii[:, 1], self.u / self.radii[:, 0])


def empty_scene(shape: tuple[int, int, int], spacing: float, motion: FloatArray) -> Scene:
    """Build a black scene whose coordinates include the motion between slices.

    Args:
        shape: voxels ``(X, Y, Z)``; pixels are 1 mm wide.
        spacing: distance between slices in mm.
        motion: shift in mm along x and y and rotation in radians of every slice, ``(Z, 3)``.

    Returns:
        A scene of zeros.
    """
    size_x, size_y, size_z = shape
    x = np.arange(size_x, dtype=np.float32)[:, None, None] - np.float32((size_x - 1) / 2)
    y = np.arange(size_y, dtype=np.float32)[None, :, None] - np.float32((size_y - 1) / 2)
    z = (np.arange(size_z, dtype=np.float32) - np.float32((size_z - 1) / 2)) * np.float32(spacing)
    cos, sin = np.cos(motion[:, 2]), np.sin(motion[:, 2])
    moved_x = cos * x - sin * y + motion[:, 0]
    moved_y = sin * x + cos * y + motion[:, 1]
    return Scene(np.zeros(shape, np.float32), moved_x, moved_y, z)


def tube_frame(scene: Scene, tube: Tube) -> TubeFrame:
    """Evaluate a tube's coordinates on the slices that show it.

    The distance is the first-order one, ``k0 (k0 - 1) / k1`` with ``k0 = |p / r|`` and ``k1 = |p / r^2|``: exact for a
    circle and on the outline, which is where edges are drawn.
    """
    shown = tube.slices
    centre, radii, angle = (part[shown].astype(np.float32) for part in (tube.centre, tube.radii, tube.angle))
    cos, sin = np.cos(angle), np.sin(angle)
    x: FloatArray = scene.x[:, :, shown] - centre[:, 0]
    y: FloatArray = scene.y[:, :, shown] - centre[:, 1]
    u, v = cos * x + sin * y, cos * y - sin * x
    return TubeFrame(shown, u, v, _outline_distance(u, v, radii[:, 0], radii[:, 1]), radii)


def ellipse(frame: TubeFrame, u: float | FloatArray, v: float | FloatArray, *radii: float | FloatArray) -> FloatArray:
    """Signed distance in mm to an ellipse at ``(u, v)`` in a tube's own coordinates, ``(X, Y, K)``.

    Centre and the two semi-axes are in mm, each one number or one per slice, ``(K,)``.
    """
    return _outline_distance(frame.u - u, frame.v - v, *radii)


def _outline_distance(
    u: FloatArray, v: FloatArray, radius_u: float | FloatArray, radius_v: float | FloatArray
) -> FloatArray:
    """First-order signed distance to an ellipse around the origin."""
    ratio_u, ratio_v = u / radius_u, v / radius_v
    k0 = np.hypot(ratio_u, ratio_v)
    k1 = np.hypot(ratio_u / radius_u, ratio_v / radius_v) + np.float32(1e-6)
    distance: FloatArray = k0 * (k0 - 1) / k1
    return distance


def inside(distance: FloatArray, edge: float = 0.6) -> FloatArray:
    """Turn a signed distance in mm into a weight: 1 inside, 0 outside, a ramp of ``2 * edge`` mm across the outline."""
    weight: FloatArray = np.clip(np.float32(0.5) - distance / np.float32(2 * edge), 0, 1)
    return weight


def band(distance: FloatArray, inner: float, outer: float) -> FloatArray:
    """Weight of the shell where the signed distance lies between ``inner`` and ``outer`` mm."""
    return inside(distance - outer) * (1 - inside(distance - inner))


def paint(image: FloatArray, weight: FloatArray, value: float | FloatArray) -> None:
    """Blend ``value`` into ``image`` in place, by a weight from 0 (keep) to 1 (replace)."""
    image += weight * (value - image)


def profile(z: FloatArray, centre: float, half_length: float, power: float = 2.5) -> FloatArray:
    """Scale of an object's cross-section along the slices: 1 at ``centre``, 0 beyond ``half_length`` (all in mm)."""
    fraction = np.clip(np.abs(z - centre) / half_length, 0, 1)
    scale: FloatArray = (1 - fraction**power) ** (1 / power)
    return scale.astype(np.float32)


def random_tube(
    scene: Scene, rng: np.random.Generator, half_mm: tuple[float, float], radius_mm: tuple[float, float], bend: float
) -> Tube:
    """Draw a tube anywhere in the stack.

    Args:
        scene: gives the field of view; not painted.
        rng: random generator.
        half_mm: range of half its length along the slices.
        radius_mm: range of each semi-axis.
        bend: largest slope of its axis, mm in plane per mm along the slices.

    Returns:
        The tube.
    """
    centre = rng.uniform(-0.5, 0.5, 2) * scene.image.shape[:2]
    middle = rng.uniform(scene.z[0], scene.z[-1])
    slope = rng.uniform(-bend, bend, 2)
    scale = profile(scene.z, middle, rng.uniform(*half_mm))
    angle = np.full(scene.z.shape, rng.uniform(0, np.pi))
    return Tube(centre + (scene.z - middle)[:, None] * slope, scale[:, None] * rng.uniform(*radius_mm, 2), angle)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], wavelength: tuple[float, ...]) -> FloatArray:
    """Draw Gaussian noise that varies over about ``wavelength`` voxels along each axis (zero mean, unit variance).

    Coarse white noise is spread along one axis after the other by a short Gaussian kernel, which is far cheaper than
    filtering the full grid. Plain sums rather than a matrix product: the latter rounds differently with each number
    of threads, and a seed must always give the same voxels.
    """
    noise: FloatArray = rng.standard_normal(
        [int(np.ceil(size / step)) + 4 for size, step in zip(shape, wavelength, strict=True)], dtype=np.float32
    )
    for axis, (size, step) in enumerate(zip(shape, wavelength, strict=True)):
        position = np.arange(size, dtype=np.float32) / np.float32(step) + np.float32(1.5)
        taps = np.floor(position).astype(np.intp) + np.arange(-1, 3)[:, None]
        weights = np.exp(-0.5 * ((position - taps) / 0.6) ** 2)
        weights = (weights / np.sqrt((weights**2).sum(axis=0))).astype(np.float32)
        along = [size if other == axis else 1 for other in range(len(shape))]
        noise = sum(w.reshape(along) * noise.take(tap, axis) for tap, w in zip(taps, weights, strict=True))
    return noise
