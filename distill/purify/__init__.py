"""Tier 2: mining of bad documents, a discriminator trained in rounds, a bound on false drops, and the stage.

Start in `stage.py`. May import the attacks, the scoring, the teacher, the maps, and what comes before them.
"""
