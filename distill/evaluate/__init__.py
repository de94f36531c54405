"""What a selection retains: models trained on arms, scored on held-out texts, and compared with random controls.

Start in `measure.py`. May import the scoring, the maps, and what comes before them.
"""
