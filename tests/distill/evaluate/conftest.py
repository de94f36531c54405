"""A corpus in which good texts can be told from others."""

from support.evaluation import two_languages as two_languages
