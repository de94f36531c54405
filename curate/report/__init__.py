"""report.html: a run on one page that needs no network.

Start in `page.py`; `templates/` has its HTML. May import everything but pipeline and cli.
"""
