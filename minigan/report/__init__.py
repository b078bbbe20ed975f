"""Pictures: image grids, interpolation strips, samples of points, plots of a run."""

from .callbacks import SampleGrid, SamplePoints
from .images import image_grid, interpolation, save_grid, slerp
from .plots import figure, plot_critic, plot_diagnostics, plot_gradient_flow, plot_losses, plot_points, save, smooth

__all__ = [
    "SampleGrid",
    "SamplePoints",
    "figure",
    "image_grid",
    "interpolation",
    "plot_critic",
    "plot_diagnostics",
    "plot_gradient_flow",
    "plot_losses",
    "plot_points",
    "save",
    "save_grid",
    "slerp",
    "smooth",
]
