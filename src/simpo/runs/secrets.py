"""What must not be written down: tokens and passwords that this process was given, and those inside a URL."""

from __future__ import annotations

import os
import re

HIDDEN = "***"

# Variables that hold a secret by their name: HF_TOKEN, WANDB_API_KEY, AWS_SECRET_ACCESS_KEY, MLFLOW_TRACKING_PASSWORD.
_NAMES = re.compile(r"(?:^|_)(?:TOKEN|API_?KEY|SECRET|SECRET_ACCESS_KEY|PASSWORD|PASSWD)$")
# Shorter values are words as likely as secrets (`PASSWORD=test`), and those with a blank or a slash in front paths.
_SHORTEST = 12
# scheme://user:password@host; the password may hold anything but what ends it.
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.\-]*://[^\s/:@\"']*):[^\s/@\"']+@")
# Tokens known by their beginning, should one stand in a command line: Hugging Face, OpenAI and others, GitHub.
_TOKENS = re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_)[A-Za-z0-9_\-]{16,}")


def without_secrets(text: str) -> str:
    """The text with the values of this process's secret variables replaced by `***`."""
    for name, value in os.environ.items():
        secret = len(value) >= _SHORTEST and _NAMES.search(name.upper()) is not None
        if secret and value in text and not value.startswith("/") and not any(map(str.isspace, value)):
            text = text.replace(value, HIDDEN)
    return text


def without_credentials(text: str) -> str:
    """The text of a command or an error, also without passwords in URLs and without tokens known by their form."""
    return _TOKENS.sub(HIDDEN, _URL.sub(rf"\1:{HIDDEN}@", without_secrets(text)))
