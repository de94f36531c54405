"""What a run hands on about itself: data card, Croissant, OpenLineage.

Start in `card.py`. May import the manifest's schema and the export's formats.
"""
