"""Tier 2: bad documents mined, a discriminator trained in rounds, a bound on false drops, the stage.

Start in `stage.py`. May import the attacks, the scoring, the teacher, the maps, and what comes before them.
"""
