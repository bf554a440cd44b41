"""One walk over a figure for all its formats: what is drawn is recorded in points, then drawn again on any canvas.

Most of the time of a small figure goes into finding out what to draw (ticks, legends, text sizes), and ``savefig`` does
that twice a format. Here it is done once. Only matplotlib's public renderer interface is used. An
image (``imshow``) is kept in its own pixels where its interpolation is "none", and scaled by whoever draws it.
"""

from __future__ import annotations

from typing import Any

from matplotlib.artist import Artist
from matplotlib.backend_bases import FigureCanvasBase, GraphicsContextBase, RendererBase
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.transforms import Affine2D, Bbox, TransformedBbox, TransformedPath

POINTS_PER_INCH = 72.0


class Recorder(RendererBase):
    """A renderer that keeps its calls, in points, y upwards."""

    def __init__(self, width: float, height: float):
        super().__init__()
        self.size = width, height
        self.calls: list[tuple[str, GraphicsContextBase, tuple]] = []

    def flipy(self) -> bool:
        """Whether y grows downwards."""
        return False

    def get_canvas_width_height(self) -> tuple[float, float]:
        """In points."""
        return self.size

    def draw_path(self, gc, path, transform, rgbFace=None) -> None:  # noqa: N803 - matplotlib's name
        """A path."""
        self._keep("draw_path", gc, path, transform.frozen(), rgbFace)

    def draw_markers(self, gc, marker_path, marker_trans, path, trans, rgbFace=None) -> None:  # noqa: N803
        """One marker at each vertex of a path."""
        self._keep("draw_markers", gc, marker_path, marker_trans.frozen(), path, trans.frozen(), rgbFace)

    def draw_path_collection(
        self, gc, master_transform, paths, all_transforms, offsets, offset_trans, *looks, **more
    ) -> None:
        """Several paths."""
        transforms = master_transform.frozen(), offset_trans.frozen()
        self._keep("draw_path_collection", gc, paths, all_transforms, offsets, transforms, looks, more)

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None) -> None:
        """A line of text."""
        self._keep("draw_text", gc, x, y, s, prop.copy(), angle, ismath)

    def option_scale_image(self) -> bool:
        """Images are to come as they are, with the transform that places them."""
        return True

    def draw_image(self, gc, x, y, im, transform=None) -> None:
        """An image: its place in points."""
        if transform is None:  # an interpolated one, at the 72 dots per inch of this canvas
            transform = Affine2D().scale(im.shape[1], im.shape[0])
        self._keep("draw_image", gc, im.copy(), (transform + Affine2D().translate(x, y)).frozen())

    def open_group(self, s: str, gid: str | None = None) -> None:
        """The names that SVG gives to parts."""
        self.calls.append(("open_group", self.new_gc(), (s, gid)))

    def close_group(self, s: str) -> None:
        """Ends `open_group`."""
        self.calls.append(("close_group", self.new_gc(), (s,)))

    def _keep(self, name: str, gc: GraphicsContextBase, *arguments: Any) -> None:
        own = self.new_gc()  # the caller goes on to change its own
        own.copy_properties(gc)
        self.calls.append((name, own, arguments))


class _Canvas(FigureCanvasBase):
    """A canvas whose layout engine measures with the renderer that will draw, which remembers what it measured."""

    def __init__(self, figure: Figure, renderer: Recorder):
        super().__init__(figure)
        self._renderer = renderer

    def get_renderer(self) -> Recorder:
        """What layout engines ask for."""
        return self._renderer


class _Recording(Artist):
    """Recorded calls as one artist, drawn at whatever resolution its figure has."""

    def __init__(self, recorder: Recorder):
        super().__init__()
        self._recorder = recorder

    def draw(self, renderer: RendererBase) -> None:
        """Every call again, on `renderer`."""
        factor = self.get_figure().dpi / POINTS_PER_INCH
        scale, top = Affine2D().scale(factor), self._recorder.size[1] * factor
        for name, kept, arguments in self._recorder.calls:
            if name in ("open_group", "close_group"):
                getattr(renderer, name)(*arguments)
                continue
            gc = renderer.new_gc()
            gc.copy_properties(kept)
            if (box := kept.get_clip_rectangle()) is not None:
                gc.set_clip_rectangle(TransformedBbox(box, scale))
            path, transform = kept.get_clip_path()
            if path is not None:
                gc.set_clip_path(TransformedPath(path, transform + scale))
            if name == "draw_path":
                path, transform, face = arguments
                renderer.draw_path(gc, path, transform + scale, face)
            elif name == "draw_markers":
                marker, marker_transform, path, transform, face = arguments
                renderer.draw_markers(gc, marker, marker_transform + scale, path, transform + scale, face)
            elif name == "draw_image":
                _draw_image(self, renderer, gc, *arguments, scale)
            elif name == "draw_path_collection":
                paths, transforms, offsets, (master, offset), looks, more = arguments
                renderer.draw_path_collection(
                    gc, master + scale, paths, transforms, offsets, offset + scale, *looks, **more
                )
            else:
                x, y, *text = arguments
                renderer.draw_text(gc, x * factor, top - y * factor if renderer.flipy() else y * factor, *text)
            gc.restore()


def _draw_image(
    owner: Artist, renderer: RendererBase, gc: GraphicsContextBase, pixels: Any, transform: Any, scale: Affine2D
) -> None:
    """An image in the box that a transform of the unit square gives, at the renderer's own resolution."""
    if renderer.option_scale_image():  # the format keeps its pixels
        renderer.draw_image(gc, 0, 0, pixels, transform + scale)
        return
    box = TransformedBbox(Bbox.unit(), transform + scale)
    image = BboxImage(box, interpolation="antialiased", origin="upper")
    image.set_data(pixels)
    image.set_figure(owner.get_figure())
    image.draw(renderer)


def record(figure: Figure, dpi: float) -> Figure:
    """Lay out and draw a figure once; returns one that draws the same without finding it out again.

    Args:
        figure: laid out by its own engine; its resolution becomes 72 dots per inch.
        dpi: of the figure returned.
    """
    figure.dpi = POINTS_PER_INCH
    width, height = figure.get_size_inches()
    recorder = Recorder(width * POINTS_PER_INCH, height * POINTS_PER_INCH)
    _Canvas(figure, recorder)
    figure.draw(recorder)
    recorded = Figure((width, height), dpi=dpi, layout="none")
    recorded.patch.set_visible(False)
    recorded.add_artist(_Recording(recorder))
    return recorded
