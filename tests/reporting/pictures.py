"""What tests of figures share: a figure's bytes, its panels' titles, and where its texts stand."""

import itertools

import matplotlib.text

from adclick.reporting.style import save


def saved(figure, path):
    save(figure, path, stamp={})
    return path.read_bytes()


def labels(figure):
    return [axes.get_title() for axes in figure.axes]


def undrawn_ticks(figure):
    """Labels of ticks that lie outside their axis: they exist, but are not drawn."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not low <= tick.get_loc() <= high:
                    yield from (tick.label1, tick.label2)


def text_boxes(figure):
    """Where each drawn text stands on the page, in pixels."""
    figure.draw_without_rendering()
    hidden = set(undrawn_ticks(figure))
    texts = [
        text
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_visible() and text.get_text()
    ]
    return {text: text.get_window_extent() for text in texts if text not in hidden}


def assert_texts_apart(figure):
    """No text overlaps another or leaves the page."""
    boxes, page = text_boxes(figure), figure.bbox
    for text, box in boxes.items():
        inside = page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        assert inside, text.get_text()
    for (one, box), (other, second) in itertools.combinations(boxes.items(), 2):
        assert not box.overlaps(second), (one.get_text(), other.get_text())
