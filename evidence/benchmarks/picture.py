"""Draw evidence/reports/performance.png: cold starts, warm deliveries, and deliveries after a pause."""

from pathlib import Path

from matplotlib import pyplot

from evidence.benchmarks.tables import Results, first_delivery

PICTURE = Path(__file__).parents[1] / "reports/performance.png"

# The palette of Okabe and Ito, which color-blind readers can distinguish.
COLORS = ("#999999", "#56B4E9", "#0072B2", "#009E73", "#E69F00")


def draw(found: Results) -> None:
    names = [name for name in found["phases_ms"] if name != "no_aws"]
    pyplot.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    figure, (start, delivery, paused) = pyplot.subplots(1, 3, figsize=(15, 3.6), layout="constrained")
    left = [0.0] * len(names)
    of_phases = {
        phase: [found["phases_ms"][name][phase] for name in names] for phase in found["phases_ms"][names[0]]
    } | {"first delivery": [first_delivery(found, name) for name in names]}
    for (phase, widths), color in zip(of_phases.items(), COLORS, strict=True):
        start.barh(names, widths, left=left, color=color, label=phase)
        left = [one + more for one, more in zip(left, widths, strict=True)]
    start.set(title="Cold start, with `make build`", xlabel="CPU ms to the first 200")
    start.legend(frameon=False, fontsize=9)
    warmed = list(found["warm"])
    delivery.barh(warmed, [found["warm"][name]["accepted"]["cpu_us"]["p50"] / 1e3 for name in warmed], color=COLORS[2])
    delivery.set(title="Accepted delivery, warm process", xlabel="CPU ms, median")
    after = list(found["after_pauses"])
    paused.barh(after, [found["after_pauses"][name]["cpu_us"]["p50"] / 1e3 for name in after], color=COLORS[2])
    paused.set(title="Accepted delivery, after a pause", xlabel="CPU ms, median")
    for axes in (start, delivery, paused):
        axes.invert_yaxis()
    figure.savefig(PICTURE, dpi=150)
    pyplot.close(figure)
