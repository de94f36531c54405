"""What a run hands on about itself: data card, Croissant, OpenLineage.

Start in `card.py`. May import what the manifests may.
"""
