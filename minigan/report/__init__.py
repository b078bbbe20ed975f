"""Pictures: image grids, interpolation strips, loss plots."""

from .callbacks import SampleGrid
from .images import image_grid, interpolation, save_grid, slerp
from .plots import plot_losses, smooth

__all__ = ["SampleGrid", "image_grid", "interpolation", "plot_losses", "save_grid", "slerp", "smooth"]
