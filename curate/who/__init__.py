"""Who is dropped: drop rates of groups of documents at each stage, with intervals, and corrected for their number.

Start in `rates.py`. It may import the ledger and the stages of the cascade; manifest, report and commands import it.
"""
