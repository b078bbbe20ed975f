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

    names = [name for name in records[0] if name != "step"]
    losses, readings = [n for n in names if n.startswith("loss/")], [n for n in names if not n.startswith("loss/")]
    figure = Figure(figsize=(9, 6 if readings else 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(2 if readings else 1, 1, sharex=True))
    _draw(axes[0], records, losses, "loss", equilibrium or {})
    if readings:
        _draw(axes[1], records, readings, "mean probability of “real”", equilibrium or {})
    first, last = records[0]["step"], records[-1]["step"]
    axes[-1].set(xlabel="step", xlim=(first, max(last, first + 1)))
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _draw(axis, records, columns, label, equilibrium):
    """One panel: every column pale as it was and bold smoothed, its equilibrium dotted; rare spikes leave the frame."""
    steps = [r["step"] for r in records]
    highest = 0.0
    for i, name in enumerate(columns):
        values = np.array([r.get(name, math.nan) for r in records])
        axis.plot(steps, values, color=f"C{i}", alpha=0.25, linewidth=0.7)
        bold = smooth(values, max(1, len(steps) // 40))
        axis.plot(steps, bold, color=f"C{i}", linewidth=1.8, label=name.removeprefix("loss/"))
        if name in equilibrium:
            axis.axhline(equilibrium[name], color=f"C{i}", linestyle=":", linewidth=1.2)
        finite = values[np.isfinite(values)]
        if finite.size:
            highest = max(highest, np.quantile(finite, 0.995), equilibrium.get(name, 0.0))
    if any(name in equilibrium for name in columns):
        axis.plot([], [], "k:", linewidth=1.2, label="at equilibrium")
    if highest > 0:
        axis.set_ylim(top=1.05 * highest)
    axis.set_ylabel(label)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)  # above: covers no curve
