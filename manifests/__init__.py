"""Evidence for the trainers: the manifest, its checks, cards, and exports.

Start in `manifest.py` (what a run took, decided and wrote) or `export/export.py`.
"""
