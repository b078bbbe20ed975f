"""Plots of a run. Real data are grey, generated ones blue; the discriminator is blue, the generator orange."""

import math

import numpy as np


def smooth(values, window):
    """The running mean over at most ``window`` values on either side's half, as long as ``values``."""
    kernel = np.ones(min(window, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def figure(rows=1, columns=1, size=(9, 4), mosaic=None, **options):
    """A Matplotlib figure that needs no display, and its axes, as ``pyplot.subplots`` gives them; with a ``mosaic``, as
    ``pyplot.subplot_mosaic`` does.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(made)
    axes = made.subplots(rows, columns, **options) if mosaic is None else made.subplot_mosaic(mosaic, **options)
    return made, axes


def save(made, path):
    """Write a `figure` to a PNG file."""
    made.savefig(path, dpi=110)


def _records(source):
    """Records as they are, or those of a `games.Trajectory`, without what was not measured."""
    if not hasattr(source, "columns"):
        return source
    return [
        {name: column[i] for name, column in source.columns.items() if not math.isnan(column[i])}
        for i in range(len(source))
    ]


def plot_losses(records, path, title="", equilibrium=None):
    """Draw both losses and the discriminator's mean outputs, over the steps, into a PNG file.

    records: a `games.Trajectory`, or dicts with "step", "loss/…" and perhaps "D(real)", "D(fake)". equilibrium:
    {column: its value where neither player can improve}, drawn dotted. Raises ``ValueError`` for no records.
    """
    records = _records(records)
    if not records:
        raise ValueError("there is nothing to plot: no step has been logged")
    losses = [n for n in records[0] if n.startswith("loss/")]
    outputs = [n for n in ("D(real)", "D(fake)") if n in records[0]]
    made, axes = figure(2 if outputs else 1, 1, (9, 6 if outputs else 3.4), sharex=True, squeeze=False)
    _draw(axes[0, 0], records, losses, "loss", equilibrium or {})
    if outputs:
        values = [r[n] for r in records for n in outputs if n in r]
        unit = min(values) >= 0 and max(values) <= 1
        _draw(axes[1, 0], records, outputs, "mean probability of “real”" if unit else "mean output", equilibrium or {})
    first, last = records[0]["step"], records[-1]["step"]
    axes[-1, 0].set(xlabel="step", xlim=(first, max(last, first + 1)))
    made.suptitle(title)
    save(made, path)


PANELS = (  # title, columns by their beginning, logarithmic
    ("gradient length", "diagnostics/gradient/", True),
    ("share of right answers of D", "diagnostics/accuracy/", False),
    ("samples' spread / data's", "diagnostics/variety", False),
    ("objective and penalties, absolute", ("diagnostics/objective/", "diagnostics/penalty/"), True),
    ("number of modes with a high-quality sample", "diagnostics/modes", False),
    ("share of high-quality samples", "diagnostics/high quality", False),
    ("metrics", "metric/", False),
)


def plot_diagnostics(records, path, title=""):
    """Draw what `games.Diagnostics` and `games.Metrics` have logged, a panel for each kind, into a PNG file.

    records: a `games.Trajectory` or a run's records.
    Nothing is drawn if nothing was logged; returns whether there was anything.
    """
    records = _records(records)
    names = dict.fromkeys(name for r in records for name in r if name.startswith(("diagnostics/", "metric/")))
    panels = [(t, [n for n in names if n.startswith(begin)], log) for t, begin, log in PANELS]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        return False
    made, axes = figure((len(panels) + 1) // 2, 2, (10, 2.4 * ((len(panels) + 1) // 2) + 0.6), squeeze=False)
    for axis, (label, columns, log) in zip(axes.flat, panels):
        for name in columns:
            pairs = [(r["step"], r[name]) for r in records if name in r]
            short = name.split("/", 1)[1].replace("gradient/", "").replace("accuracy/", "")
            axis.plot(*zip(*pairs), ".-", markersize=3, linewidth=1.2, label=short)
        if log and all(r[n] > 0 for n in columns for r in records if n in r):
            axis.set_yscale("log")
        elif not log:
            axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
        axis.set(title=label, xlabel="step")
        axis.grid(alpha=0.3)
        if len(columns) > 1:
            axis.legend(frameon=False)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    made.suptitle(title)
    save(made, path)
    return True


DISTANCES = {  # column: how it is drawn, what it is
    "exact": ("k-", "exact W₁, generated to real"),
    "floor": ("k:", "exact W₁, real to real"),
    "estimate": ("C0-", "the critic's estimate"),
    "lower_bound": ("C2-", "its lower bound, estimate / Lipschitz constant"),
}


def plot_critic(records, path, title=""):
    """Draw what `games.CriticWatch` has logged, the critic against exact optimal transport, into a PNG file.

    records: a `games.Trajectory` or a run's records.
    Nothing is drawn if nothing was logged; returns whether there was anything.
    """
    seen = [r for r in _records(records) if "critic/exact" in r]
    if not seen:
        return False
    steps = [r["step"] for r in seen]
    column = {name: [r.get(f"critic/{name}", math.nan) for r in seen] for name in (*DISTANCES, "lipschitz", "cosine")}
    made, (left, middle, right) = figure(1, 3, (13, 4), width_ratios=(2, 1, 1))
    for name, (style, label) in DISTANCES.items():
        left.plot(steps, column[name], style, linewidth=1.6, label=label)
    left.set(
        title="the distance, in units of the data",
        ylim=(min(0, 1.05 * min(column["estimate"] + column["lower_bound"])), None),
    )
    left.legend(fontsize=8)
    middle.plot(steps, column["lipschitz"], "C3-")
    middle.axhline(1, color="k", linestyle=":", linewidth=1)
    middle.set(title="the critic's Lipschitz constant", ylim=(0, None))
    right.plot(steps, column["cosine"], "C4-")
    right.axhline(1, color="k", linestyle=":", linewidth=1)
    right.set(title="cosine of ∇f and the optimal ∇f*", ylim=(min(-0.05, *column["cosine"]), 1.05))
    for axis in (left, middle, right):
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    made.suptitle(title)
    save(made, path)
    return True


FLOW = {  # column: how its panels are titled, what it is
    "gradient": ("gradient", "root mean square of the gradient"),
    "update": ("update to weight, dotted: 1e-3", "‖Δw‖ / ‖w‖ of one round"),
}
HEALTHY = 1e-3  # the update-to-weight ratio of Karpathy's rule of thumb


def plot_gradient_flow(records, path, title=""):
    """Draw what `inspect.GradientFlow` has logged into a PNG file: a column for each player, its layers from the
    first (dark) to the last (light); their gradients above, their update-to-weight ratios below.

    Both are logarithmic. What has no place there gets a grey strip, in which each layer has a line of its own: exact
    zeros below, marked "0", and what is not finite above. records: a `games.Trajectory` (in which NaN is what was not
    measured) or a run's records. Nothing is drawn if nothing was logged; returns whether there was anything.
    """
    records, players = _records(records), {}
    for name in dict.fromkeys(n.split("/", 2)[2] for r in records for n in r if n.startswith("flow/")):
        players.setdefault(name.partition(".")[0], []).append(name)
    if not players:
        return False
    made, axes = figure(2, len(players), (5.5 * len(players) + 1, 7.5), sharex=True, sharey="row", squeeze=False)
    for row, (kind, (short, label)) in zip(axes, FLOW.items()):
        lines = {}
        for name in (name for names in players.values() for name in names):
            pairs = [(r["step"], r[f"flow/{kind}/{name}"]) for r in records if f"flow/{kind}/{name}" in r]
            lines[name] = np.array(pairs, dtype=float).reshape(-1, 2).T
        frame = _Frame([values for _, values in lines.values()], shown=[HEALTHY] if kind == "update" else [])
        for axis, (player, names) in zip(row, players.items()):
            for i, name in enumerate(names):
                frame.draw(axis, *lines[name], i, len(names), name.partition(".")[2] or name)
            axis.set_title(f"{player}: {short}", fontsize=10)
            axis.grid(alpha=0.3)
        frame.finish(row)
        row[0].set_ylabel(label)
    for (above, below), names in zip(axes.T, players.values()):
        where = {"loc": "upper left", "bbox_to_anchor": (1, 1), "ncols": 1 + len(names) // 20}
        above.legend(title="layer", fontsize=8, frameon=False, **where)
        below.axhline(HEALTHY, color="k", linestyle=":", linewidth=1.2)
        below.set_xlabel("step")
    made.suptitle(title)
    save(made, path)
    return True


class _Frame:
    """A row of panels with one logarithmic scale, and strips for what has no logarithm: zeros below, NaN and infinity
    above.
    """

    def __init__(self, series, shown):
        values = np.concatenate(series)
        regular = np.log10(np.append(values[np.isfinite(values) & (values > 0)], shown))
        self.low, self.high = (regular.min() - 0.2, regular.max() + 0.2) if regular.size else (-1.0, 1.0)
        self.strip = max(0.15 * (self.high - self.low), 0.3)
        self.zeros, self.broken = bool((values == 0).any()), not np.isfinite(values).all()

    def draw(self, axis, steps, values, i, n, label):
        """Layer i of n: its line, and its own line inside each strip."""
        from matplotlib import colormaps

        zero, broken, share = values == 0, ~np.isfinite(values), (i + 1) / (n + 1) * self.strip
        style = {"color": colormaps["viridis"](0.85 * i / max(1, n - 1)), "linewidth": 1.4}
        axis.plot(steps, np.where(zero | broken, math.nan, values), ".-", label=label, **style)
        axis.plot(steps, np.where(zero, 10 ** (self.low - share), math.nan), "o:", markersize=3, **style)
        axis.plot(steps, np.where(broken, 10 ** (self.high + share), math.nan), "x:", markersize=5, **style)

    def finish(self, row):
        """The scale, and the strips that are used."""
        bottom, top = self.low - self.zeros * self.strip, self.high + self.broken * self.strip
        first = row[0]
        first.set_yscale("log")
        first.set_ylim(10**bottom, 10**top)
        ticks = [t for t in first.get_yticks() if self.low <= math.log10(t) <= self.high]
        if len(ticks) > 1:
            first.set_yticks(ticks)
        else:  # hardly a decade
            decades = range(math.floor(self.low), math.ceil(self.high) + 1)
            ticks = [m * 10.0**k for k in decades for m in (1, 2, 5) if self.low <= math.log10(m) + k <= self.high]
            first.set_yticks(ticks, [f"{t:g}" for t in ticks])
        first.minorticks_off()
        place = {"transform": first.get_yaxis_transform(), "ha": "right", "va": "center", "fontsize": 9}
        for used, label, a, b in ((self.zeros, "0", bottom, self.low), (self.broken, "not\nfinite", self.high, top)):
            if used:
                first.text(-0.015, 10 ** ((a + b) / 2), label, **place)
                for axis in row:
                    axis.axhspan(10**a, 10**b, color="0.92", zorder=0)


def plot_points(real, fake, path=None, title="", axis=None):
    """Draw points in the plane, real (n, 2) grey below generated (m, 2) blue, into a PNG file or a Matplotlib axis.

    The frame is that of the data, a quarter wider; how many generated points lie outside is said.
    """
    made = None
    if axis is None:
        made, axis = figure(size=(5, 5.2))
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    low, high = real.min(axis=0), real.max(axis=0)
    margin = 0.25 * (high - low).max() + 1e-9
    axis.scatter(*real.T, s=14, color="0.75", linewidths=0, label="data", rasterized=True)
    axis.scatter(*fake.T, s=3, color="C0", alpha=0.5, linewidths=0, label="generated", rasterized=True)
    axis.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin), aspect="equal")
    outside = int(((fake < low - margin) | (fake > high + margin)).any(axis=1).sum())
    axis.set_title(title + (f"\n{outside} of {len(fake)} outside the frame" if outside else ""), fontsize=10)
    if made is not None:
        axis.legend(loc="upper right", markerscale=2, fontsize=8)
        save(made, path)


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
