"""Images of a batch: grids, and the strip that walks from one latent vector to another."""

import math

import numpy as np


def image_grid(images, columns=None, border=1, scale=2):
    """Images side by side in one array, for saving or showing.

    images: (n, h, w, 1 or 3) in [−1, 1] → uint8 (H, W, 3). ``columns``: per row (default ⌈√n⌉). ``border``: pixels
    between them. ``scale``: every pixel shown this often in each direction.

    Raises ``ValueError`` for another shape or for values that are not finite.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not len(images):
        raise ValueError(f"images must be (n, h, w, 1 or 3) with n >= 1, got shape {images.shape}")
    if not np.isfinite(images).all():
        raise ValueError("images hold NaN or infinity: the generator has diverged")
    n, h, w, c = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    cells = np.full((rows * columns, h + border, w + border, c), 1.0)
    cells[:n, :h, :w] = np.clip((images + 1) / 2, 0, 1)
    grid = cells.reshape(rows, columns, h + border, w + border, c).swapaxes(1, 2)
    grid = grid.reshape(rows * (h + border), columns * (w + border), c)[: -border or None, : -border or None]
    grid = np.pad(grid, ((border, border), (border, border), (0, 0)), constant_values=1.0)
    pixels = np.rint(255 * grid).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()


def save_grid(path, images, **options):
    """Write `image_grid` of ``images`` to a PNG file."""
    from matplotlib.image import imsave

    imsave(path, image_grid(images, **options))


def slerp(a, b, t):
    """Spherical interpolation between vectors a and b (…, d) at 0 ≤ t ≤ 1 (White 2016): keeps a Gaussian latent's
    length.

    Near-parallel vectors are interpolated linearly.
    """
    a, b = np.asarray(a), np.asarray(b)
    cosine = np.sum(a * b, -1, keepdims=True)
    cosine = cosine / (np.linalg.norm(a, axis=-1, keepdims=True) * np.linalg.norm(b, axis=-1, keepdims=True))
    angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.sin(angle)
    near = sine < 1e-6
    safe = np.where(near, 1, sine)
    wa = np.where(near, 1 - t, np.sin((1 - t) * angle) / safe)
    wb = np.where(near, t, np.sin(t * angle) / safe)
    return (wa * a + wb * b).astype(a.dtype)


def interpolation(sample, z_from, z_to, steps=10):
    """Images along the way from each row of ``z_from`` (n, d) to that of ``z_to``: (n·steps, h, w, c), row by row.

    ``sample``: latents → images, `GAN.sample`.
    """
    path = np.stack([slerp(z_from, z_to, t) for t in np.linspace(0, 1, steps)], 1)
    return sample(path.reshape(-1, path.shape[-1]))
