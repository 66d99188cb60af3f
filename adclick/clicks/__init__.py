"""Clicks of a person or a simulated user: the names that code outside this package takes."""

from adclick.clicks.click import Click, scale_clicks

__all__ = ["Click", "scale_clicks"]
