"""Runs, mixtures and tokenizers that tests of exports share."""

from support.exports import mixture as mixture
from support.exports import web as web
from support.token_exports import token_run as token_run
from support.token_exports import tokenizers as tokenizers
