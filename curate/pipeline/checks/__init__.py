"""What is refused before a run reads anything, and what it warns of once it has read a sample.

Start in `preflight.py`. May import what the pipeline may.
"""
