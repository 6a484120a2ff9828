"""Whether the Hugging Face hub can be reached. Its libraries retry every file for 23 seconds before they say so."""

from __future__ import annotations

import socket
import time
import urllib.parse
import urllib.request
from functools import lru_cache
from pathlib import Path

TRIES = 3
"""Connections that must all fail before the hub counts as out of reach: one lost packet is no missing network."""

PAUSE = 0.5
"""Seconds after the first failed try; twice as long after the second."""

TIMEOUT = 5.0
"""Seconds that a try may take."""

REMEMBERED = 60.0
"""Seconds after which the answer is found out again, so that a network that comes back is noticed."""


def hub_trouble(name: str = "") -> str | None:
    """Why the hub cannot be asked for a model or a dataset, ``None`` where it can.

    The first call opens a connection to the hub and closes it; later ones remember. Behind a proxy the answer is
    ``None``: the hub's own libraries find out.

    Args:
        name: what would be loaded; a local folder needs no hub.
    """
    if name and Path(name).is_dir():
        return None
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set in the environment"
    return _connection_trouble(constants.ENDPOINT, int(time.monotonic() // REMEMBERED))


@lru_cache(maxsize=1)
def _connection_trouble(endpoint: str, period: int) -> str | None:
    """``period`` is there to forget the answer of an earlier one."""
    url = urllib.parse.urlsplit(endpoint)
    host = url.hostname or ""
    proxies = urllib.request.getproxies()
    if (url.scheme in proxies or "all" in proxies) and not urllib.request.proxy_bypass(host):
        return None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * attempt)
        try:
            socket.create_connection((host, url.port or {"http": 80}.get(url.scheme, 443)), TIMEOUT).close()
        except OSError as error:
            trouble = f"no connection to {endpoint} in {TRIES} tries: {error}"
        else:
            return None
    return trouble
