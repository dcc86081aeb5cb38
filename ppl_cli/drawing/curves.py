"""curves.png: the losses and the health of a run over its steps, from metrics.csv."""

from pathlib import Path

from ppl_cli.drawing.save import save_png


def save_curves(path: Path, rows: list[dict[str, float]]) -> None:
    """`rows` as `read_metrics` returns them."""
    from matplotlib.figure import Figure

    panels = {
        "reconstruction": "reconstruction loss",
        "configuration": "memory loss (log)",
        "keypoint_spread": "spread of the keypoints (0: collapsed)",
        "bank_perplexity": "vectors in use per bank",
    }
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True).flat
    steps = [row["step"] for row in rows]
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        values = [row[column] for row in rows]
        axis.plot(steps, values, color="#2a6f97", linewidth=1.5)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
        if column == "configuration" and all(value > 0 for value in values):
            axis.set_yscale("log")
        elif column != "reconstruction":
            axis.set_ylim(0, 1.1 * max([*values, 1e-9]))
    for axis in figure.axes[2:]:
        axis.set_xlabel("step")
    save_png(path, figure)
