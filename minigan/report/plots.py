"""Plots of a run."""

import math

import numpy as np


def smooth(values, window):
    """The running mean over at most ``window`` values on either side's half, as long as ``values``."""
    kernel = np.ones(min(window, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def plot_losses(records, path, title="", equilibrium=None):
    """Draw both losses and what D thinks of real and generated samples, over the steps, into a PNG file.

    records: dicts with "step", "loss/…" and further readings. equilibrium: {column: its value where neither player can
    improve}, drawn dotted. Raises ``ValueError`` for no records.
    """
    if not records:
        raise ValueError("there is nothing to plot: no step has been logged")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [r["step"] for r in records]
    names = [name for name in records[0] if name != "step"]
    panels = [[n for n in names if n.startswith("loss/")], [n for n in names if not n.startswith("loss/")]]
    labels = ["loss", "mean probability of “real”"]
    figure = Figure(figsize=(9, 6 if panels[1] else 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(2 if panels[1] else 1, 1, sharex=True))
    for axis, columns, label in zip(axes, panels, labels):
        for i, name in enumerate(columns):
            colour = f"C{i}"
            values = np.array([r.get(name, math.nan) for r in records])
            axis.plot(steps, values, color=colour, alpha=0.25, linewidth=0.7)
            legend = name.removeprefix("loss/")
            axis.plot(steps, smooth(values, max(1, len(steps) // 40)), color=colour, linewidth=1.8, label=legend)
            if equilibrium and name in equilibrium:
                axis.axhline(equilibrium[name], color=colour, linestyle=":", linewidth=1.2)
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        axis.legend(loc="upper right", framealpha=0.9)
    if equilibrium:
        axes[0].plot([], [], "k:", linewidth=1.2, label="at equilibrium")
        axes[0].legend(loc="upper right", framealpha=0.9)
    axes[-1].set_xlabel("step")
    axes[-1].set_xlim(steps[0], max(steps[-1], steps[0] + 1))
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
