"""Layers applied in a row: read from text, traced on an input, edited in place, and written for both frameworks."""

from conv3d_core.chain.layer import KINDS, LAYOUTS, Case, Chain, Framework, Kind, Layer, Layout, Passed

__all__ = ["KINDS", "LAYOUTS", "Case", "Chain", "Framework", "Kind", "Layer", "Layout", "Passed"]
