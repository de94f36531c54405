"""report.html: all that it shows in one file that needs no network.

Start in `page.py`. May import all but init, api and cli.
"""
