"""Processes: how they start, stop and end with their parent, and how far their tasks have come.

Start in `child.py`. May import the modules at the root of `curate`.
"""
