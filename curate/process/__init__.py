"""Processes: how they are started, stopped and end with their parent, and how far their tasks are.

Start in `child.py`. May import what stands at the root of `curate`.
"""
