"""Scores of anomaly maps: the names that code outside this package takes."""

from adclick.metrics.pixels import component_results, image_results, pixel_metrics
from adclick.metrics.streaming import StreamingMetrics

__all__ = ["StreamingMetrics", "component_results", "image_results", "pixel_metrics"]
