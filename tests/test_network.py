"""When the hub counts as out of reach: few tries, remembered for a while, no verdict where others know better."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from multiprompt import network
from multiprompt.backbone import load_backbone, load_coder, outline_backbone
from multiprompt.errors import BackboneError
from multiprompt.network import hub_trouble


class Connections:
    """Stands for ``socket.create_connection``; the first ``failing`` ones do not open."""

    def __init__(self, failing: int) -> None:
        self.failing = failing
        self.asked: list[Any] = []

    def __call__(self, address: Any, *_: Any, **__: Any) -> socket.socket:
        self.asked.append(address)
        if len(self.asked) <= self.failing:
            raise OSError(101, "Network is unreachable")
        return socket.socket()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replaces every connection of the process, and forgets what was found out before."""

    def replaced(failing: int) -> Connections:
        made = Connections(failing)
        monkeypatch.setattr(socket, "create_connection", made)
        return made

    monkeypatch.setattr(network, "PAUSE", 0.0)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.example:1234")
    monkeypatch.setattr("urllib.request.getproxies", dict)
    network._connection_trouble.cache_clear()
    yield replaced
    network._connection_trouble.cache_clear()


def test_a_hub_that_answers(connections: Any) -> None:
    made = connections(failing=0)
    assert [hub_trouble(), hub_trouble("t5-base")] == [None, None]
    assert made.asked == [("hub.example", 1234)]


def test_lost_connections_are_no_missing_network(connections: Any) -> None:
    made = connections(failing=network.TRIES - 1)
    assert hub_trouble() is None
    assert len(made.asked) == network.TRIES


def test_a_missing_network_is_found_out_once_and_forgotten(connections: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = connections(failing=network.TRIES)
    clock = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    for _ in range(5):
        trouble = hub_trouble()
        assert trouble == "no connection to https://hub.example:1234 in 3 tries: [Errno 101] Network is unreachable"
    assert len(made.asked) == network.TRIES
    clock += network.REMEMBERED
    assert hub_trouble() is None  # the network is back


def test_where_the_hub_is_not_asked(connections: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = connections(failing=99)
    assert hub_trouble(str(tmp_path)) is None
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy:3128"})
    assert hub_trouble() is None
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in str(hub_trouble())
    assert made.asked == []


@pytest.mark.parametrize("load", [load_backbone, load_coder, outline_backbone])
def test_a_misspelt_backbone_without_a_network_fails_at_once(
    load: Any, connections: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers alone tries six times, with pauses of 23 seconds together."""
    made = connections(failing=99)
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with pytest.raises(BackboneError, match="cannot load the .* 't5-bsae'"):
        load("t5-bsae")
    assert sum(pauses) == 0
    assert len(made.asked) <= network.TRIES + 1  # transformers' client may ask once who is calling
