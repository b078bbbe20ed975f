"""The plot: a step's time against the batch size and against the channels, both axes logarithmic."""

from benchmarks.libraries import title
from benchmarks.scaling import series
from minigan.report.plots import figure, save

COLOURS = {"minigan": "tab:blue", "floor": "0.55", "torch channels_last": "tab:orange"}
SLOPES = {"batch": [1], "channels": [1, 2]}


def plot(workloads, results, path):
    """Draw the scaling workloads into a PNG file; returns whether there was anything to draw."""
    axes_points = series(workloads, results)
    if not any(len(points) > 1 for points in axes_points.values()):
        return False
    made, axes = figure(1, 2, (10, 4.4), sharey=True)
    fixed = {"batch": f"{workloads[0].width} channels", "channels": f"batch {workloads[-1].batch}"}
    for axis, (name, points) in zip(axes, axes_points.items()):
        _panel(axis, name, points)
        axis.set_title(f"against the {name if name == 'channels' else 'batch size'}, {fixed[name]}")
    axes[0].set_ylabel("milliseconds per step")
    axes[0].legend(fontsize=9)
    axes[1].legend(fontsize=9)
    made.suptitle("One training step of the DCGAN")
    save(made, path)
    return True


def _panel(axis, name, points):
    sizes = [size for size, _, _ in points]
    for candidate, colour in COLOURS.items():
        known = [(size, 1e3 * times[candidate]) for size, times, _ in points if candidate in times]
        if known:
            axis.plot(*zip(*known), "o-", color=colour, label=title(candidate))
    last = [1e3 * seconds for seconds in points[-1][1].values()]
    for slope, dashes, end in zip(SLOPES[name], ("--", ":"), (1.5 * max(last), 0.8 * min(last))):  # clear of the curves
        line = [end * (size / sizes[-1]) ** slope for size in sizes]
        axis.plot(sizes, line, dashes, color="0.25", linewidth=1, label=f"slope {slope}, for reference")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.set_yticks(ticks := _ticks(axis.get_ylim()), [f"{tick:g}" for tick in ticks])
    axis.set_xlabel("images in a batch" if name == "batch" else "channels of the first convolution")
    axis.grid(alpha=0.3)


def _ticks(limits):
    """1, 2 and 5 times the powers of ten between two numbers."""
    every = [m * 10.0**e for e in range(-4, 7) for m in (1, 2, 5)]
    return [tick for tick in every if limits[0] <= tick <= limits[1]]
