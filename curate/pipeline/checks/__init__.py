"""Checks: what is refused before a run reads anything, and warnings that are based on a sample of its texts.

Start in `preflight.py`. May import what the pipeline may.
"""
