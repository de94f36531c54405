"""Tier 2: bad documents mined, a discriminator trained in rounds, a bound on false drops, the stage.

Start in `stage.py`. May import the maps, the attacks, the scoring and the teacher.
"""
