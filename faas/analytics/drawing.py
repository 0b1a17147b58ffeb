"""The only file that needs matplotlib: a figure that shows itself in notebooks, whether or not pyplot is loaded."""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class Drawing(Figure):
    """A matplotlib figure outside of pyplot: nothing to close, no window, made in any thread."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=110)
        return picture.getvalue()


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure of this size in inches."""
    figure = Drawing(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
