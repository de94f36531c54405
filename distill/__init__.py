"""Tiers 2 and 3, the token budget, and what a selection retains.

Start in `purify/stage.py`: a tier has one folder, whose module `stage` runs inside a run. What several folders share is
at the root.
"""
