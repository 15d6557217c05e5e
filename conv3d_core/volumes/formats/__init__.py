"""The formats: one module each, which recognises its files by content and tells what arrays they hold.

A module has a ``FORMAT``; `conv3d_core.volumes.door` lists them all.
"""
