"""Evidence for the trainers: the manifest, its checks, cards, and exports.

Start in `manifest.py` (what a run took, decided and wrote) or `export/export.py`. May import everything but inspect,
report, pipeline and cli; `schema/` no more than the ledger may, so that earlier stages can read manifests.
"""
