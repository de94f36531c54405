"""Credentials in what is printed or published: passwords and signatures of URLs, tokens, and keys of this process.

In errors, progress, logs and the report everything that matches a pattern of credentials is replaced (`redacted`). The
copy of the recipe and the manifest are read again, so in these only passwords and signatures of URLs are replaced
(`without_credentials`); all other values are unchanged, on every machine. Values in memory are unchanged.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

HIDDEN = "***"
MIN_KEY = 12  # characters; a shorter key may be part of ordinary words
# Environment variables of keys, besides the one that the recipe names.
VARIABLES = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"),
    *("VLLM_API_KEY", "OPENAI_API_KEY", "WANDB_API_KEY"),
)
# Patterns, which `re` compiles at their first use and keeps: most commands hide nothing.
URL = r"[A-Za-z][A-Za-z0-9+.-]*://\S+$"
# `user:password@` of a URL, or a token in its place; a password may contain an @. Azure has a container's name there.
USER = r"(?<!abfs://)(?<!abfss://)(?<!wasb://)(?<!wasbs://)(?<=://)(?:[^\s/?#'\"<>]*:[^\s/?#'\"<>]*|\w{20,})@"
PARAMETER = (
    r"(?i)(?<=[?&;#])(x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid|"
    r"signature|sig|(?:[a-z]+[_-])?(?:token|secret|key|password|passwd)|apikey|pwd|auth|credential)=[^&\s#;'\"<>]+"
)
HEADER = r"(?i)\b(bearer|authorization: *\w+) +(?=\S*\d)[\w.~+/=-]{8,}"
# Tokens with a known prefix: Hugging Face, OpenAI, GitHub, GitLab, Slack, AWS, Google, JWT.
TOKEN = (
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-(?:proj|svcacct|admin|ant)-[\w-]{20,}|sk-[A-Za-z0-9]{32,}|"
    r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|"
    r"glpat-[\w-]{20,}|xox[abeprs]-[\w-]{10,}|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{35}|"
    r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})(?![\w-])"
)
_keys: set[str] = set()


def hide(key: str) -> None:
    """Redact a key in everything that this process prints or writes from now on."""
    _keys.add(key)


def redacted(text: str) -> str:
    """`text` with *** for each credential."""
    return _redacted(text, _keys_now())


def redacted_values(value: Any) -> Any:  # noqa: ANN401 - any value of JSON
    """A JSON value with each text in it redacted; names of fields are unchanged."""
    keys = _keys_now()
    return _mapped(value, lambda text: _redacted(text, keys))


def without_credentials(value: Any) -> Any:  # noqa: ANN401 - any value of JSON
    """A JSON value in which URLs have *** for passwords and signatures."""
    return _mapped(value, _without_password)


def _keys_now() -> re.Pattern[str] | None:
    keys = {*_keys, *(os.environ.get(name, "") for name in VARIABLES)}
    longest_first = sorted((re.escape(key) for key in keys if len(key) >= MIN_KEY), key=len, reverse=True)
    return re.compile("|".join(longest_first)) if longest_first else None


def _redacted(text: str, keys: re.Pattern[str] | None) -> str:
    if keys is not None:
        text = keys.sub(HIDDEN, text)
    if "://" in text:
        text = re.sub(USER, f"{HIDDEN}@", text)
    if "=" in text:
        text = re.sub(PARAMETER, rf"\1={HIDDEN}", text)
    return re.sub(TOKEN, HIDDEN, re.sub(HEADER, rf"\1 {HIDDEN}", text))


def _without_password(text: str) -> str:
    if not re.match(URL, text):
        return text
    return re.sub(PARAMETER, rf"\1={HIDDEN}", re.sub(USER, f"{HIDDEN}@", text))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - any value of JSON
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _mapped(item, change) for name, item in value.items()}
    return [_mapped(item, change) for item in value] if isinstance(value, list | tuple) else value
