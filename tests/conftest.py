"""Fixtures that tests of several folders take, and what skips where its environment is missing.

No test imports this file, or another test: what tests share is in support/.
"""

import importlib.util
import os
import signal

import pytest

pytest.register_assert_rewrite("support")

from support.corpora import corpus as corpus
from support.corpora import good as good
from support.evaluation import planted as planted
from support.evaluation import selected as selected
from support.llm_server import server as server
from support.pages import browser as browser
from support.runs import demo as demo
from support.runs import distilled as distilled
from support.runs import purified as purified
from support.s3_server import s3_server as s3_server
from support.small_files import expected_digests as expected_digests
from support.small_files import small_files as small_files
from support.small_files import undisturbed as undisturbed
from support.soak import ALL
from support.stand_in import teach as teach
from support.thin_domain import augmented as augmented
from support.thin_domain import finance as finance

# Where the tests run in a shell's background they inherit a Ctrl-C that is ignored, and commands would from them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def power():
    """No test loses power, and a disk takes milliseconds for each file that would outlast it."""
    with pytest.MonkeyPatch.context() as patch:
        if not ALL:
            patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def pytest_collection_modifyitems(items):
    """Tests that need an environment of their own skip elsewhere."""
    for module, marker in (("vllm", "llm"), ("streaming", "trainers")):
        if importlib.util.find_spec(module) is None:
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=f"needs the environment of `make test-{marker}`"))
