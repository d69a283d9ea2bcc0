"""Takes secrets out of text that is about to be written down: messages of libraries may hold whole URLs."""

import re

HIDDEN = "***"
# Up to the last @ before a blank or a quote: whoever forgot to escape one in a password shall not see it in a log.
_PASSWORDS = re.compile(r"(?P<kept>://[^\s:/@\"']*:)[^\s\"']{1,1024}(?=@)")
_KEYS = re.compile(r"(?P<kept>actrobust_[0-9a-f]{10}_)[\w-]+")
_BEARERS = re.compile(r"(?P<kept>\bBearer\s+)(?!actrobust_)[^\s\"',]+", re.IGNORECASE)


def redact(text: str) -> str:
    """The text without passwords in URLs, and without more of an API key than may be shown."""
    for secrets in (_PASSWORDS, _KEYS, _BEARERS):
        text = secrets.sub(rf"\g<kept>{HIDDEN}", text)
    return text
