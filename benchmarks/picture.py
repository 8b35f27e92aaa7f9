"""docs/performance.png: cold starts by phase, warm deliveries, and those after a pause, by contender."""

from matplotlib import pyplot

from benchmarks.performance import Figures, first_delivery
from proof import ROOT

PICTURE = ROOT / "docs/performance.png"

# Okabe and Ito's, which all eyes tell apart.
COLOURS = ("#999999", "#56B4E9", "#0072B2", "#009E73", "#E69F00")


def draw(figures: Figures) -> None:
    names = [name for name in figures["phases_ms"] if name != "bare"]
    pyplot.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    figure, (start, delivery, paused) = pyplot.subplots(1, 3, figsize=(15, 3.6), layout="constrained")
    left = [0.0] * len(names)
    of_phases = {
        phase: [figures["phases_ms"][name][phase] for name in names] for phase in figures["phases_ms"][names[0]]
    } | {"first delivery": [first_delivery(figures, name) for name in names]}
    for (phase, widths), colour in zip(of_phases.items(), COLOURS, strict=True):
        start.barh(names, widths, left=left, color=colour, label=phase)
        left = [one + more for one, more in zip(left, widths, strict=True)]
    start.set(title="Cold start, by `make build`", xlabel="CPU ms to the first 200")
    start.legend(frameon=False, fontsize=9)
    warmed = list(figures["warm"])
    delivery.barh(
        warmed, [figures["warm"][name]["accepted"]["cpu_us"]["p50"] / 1e3 for name in warmed], color=COLOURS[2]
    )
    delivery.set(title="Warm accepted delivery", xlabel="CPU ms, median")
    after = list(figures["after_pauses"])
    paused.barh(after, [figures["after_pauses"][name]["cpu_us"]["p50"] / 1e3 for name in after], color=COLOURS[2])
    paused.set(title="Accepted after a pause", xlabel="CPU ms, median")
    for axes in (start, delivery, paused):
        axes.invert_yaxis()
    figure.savefig(PICTURE, dpi=150)
    pyplot.close(figure)
