"""The embedded data set, which the workflow draws in MVTec AD's layout."""

from adclick.data.layouts.mvtec import read_rows

__all__ = ["read_rows"]
