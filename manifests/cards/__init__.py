"""Descriptions of a run for others: data card, Croissant, OpenLineage.

Start in `card.py`. May import what the manifests may.
"""
