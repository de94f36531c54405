"""Evidence for the trainers: the manifest, its checks, cards, and exports.

Start in `manifest.py` (what a run took, decided and wrote) or `export/export.py`. May import everything but inspect,
report, pipeline and cli; `schema/` only the ledger and what comes before it, so that all stages can read manifests.
"""
