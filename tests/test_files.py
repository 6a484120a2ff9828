"""Files are whole or as they were, and random numbers come from names."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multiprompt.errors import CheckpointError, unknown_name
from multiprompt.files import read_json, read_tensors, write_atomically, write_json, write_tensors
from multiprompt.registry import Registry
from multiprompt.seeding import derive_seed


def test_tensors_and_metadata_come_back(tmp_path):
    path = tmp_path / "deep" / "t.safetensors"
    tensors = {"a": torch.randn(3, 4).T, "b": torch.arange(3)}
    write_tensors(path, tensors, {"note": "ü"})
    back, metadata = read_tensors(path)
    assert metadata == {"note": "ü"}
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_the_content_is_on_the_disk_before_its_name_and_the_name_before_the_function_returns(tmp_path, monkeypatch):
    path, synced = tmp_path / "new" / "result.json", []

    def note(number: int) -> None:
        what = os.readlink(f"/proc/self/fd/{number}")
        synced.append((Path(what).relative_to(tmp_path).parts, os.fstat(number).st_size, path.exists()))

    monkeypatch.setattr("os.fsync", note)
    write_json(path, {"value": 1})
    folder, content, name = synced
    assert folder[0] == ()  # the new folder has its name
    assert content[0][1].startswith(".result.json.")
    assert content[1:] == (path.stat().st_size, False)
    assert (name[0], name[2]) == (("new",), True)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"value": 1})

    def half(temporary):
        temporary.write_text("{", encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CheckpointError, match=r"cannot write .*result\.json.*No space left.*--resume"):
        write_atomically(path, half)
    assert read_json(path) == {"value": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_file_system_that_takes_no_more_is_reported(tmp_path):
    # A limit on the size of files stands for a full disk: the kernel refuses the write in the middle.
    program = """
        import resource, signal, sys, torch
        from pathlib import Path
        from multiprompt.errors import CheckpointError
        from multiprompt.files import write_tensors
        path = Path(sys.argv[1])
        write_tensors(path, {"a": torch.zeros(10)})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            write_tensors(path, {"a": torch.zeros(10_000)})
        except CheckpointError as error:
            print(error)
    """
    path = tmp_path / "t.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path)], capture_output=True, encoding="utf-8", check=True
    )
    assert "cannot write" in done.stdout
    assert read_tensors(path)[0]["a"].shape == (10,)
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_json(tmp_path / "no.json")
    with pytest.raises(CheckpointError, match="does not exist"):
        read_tensors(tmp_path / "no.safetensors")
    (tmp_path / "bad").write_bytes(b"\xff{")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        read_json(tmp_path / "bad")
    with pytest.raises(CheckpointError, match="damaged"):
        read_tensors(tmp_path / "bad")
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "nan.json", float("nan"))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "the disk is mounted read-only: choose a folder on another one"),
        (errno.EACCES, "you may not write there: change the permissions"),
        (errno.ENOTDIR, "something of another kind is in its place"),
    ],
)
def test_advice_follows_from_why_a_file_cannot_be_written(tmp_path, monkeypatch, number, advice):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(CheckpointError) as caught:
        write_json(tmp_path / "x.json", 1)
    assert advice in str(caught.value)
    assert ("free some space" in str(caught.value)) == (number == errno.ENOSPC)


def test_files_of_another_kind_are_called_what_they_are(tmp_path):
    torch.save({"prompt": torch.zeros(2)}, tmp_path / "prompt.pt")
    with pytest.raises(CheckpointError, match=r"\.pt is a zip archive, .*torch\.save.*expected a safetensors file"):
        read_tensors(tmp_path / "prompt.pt")
    with pytest.raises(CheckpointError, match="is a folder; expected a safetensors file"):
        read_tensors(tmp_path)


@given(parts=st.lists(st.one_of(st.integers(), st.text()), max_size=4))
def test_seeds_fit_every_generator_and_differ_by_name(parts):
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**63
    torch.Generator().manual_seed(seed)
    assert derive_seed(*parts, "dropout") != derive_seed(*parts, "order")


def test_seeds_are_the_same_on_every_machine():
    # First eight bytes of a SHA-256: a change of these numbers changes every result.
    assert derive_seed(42, "source", "order") == 4_854_579_779_612_399_856
    assert derive_seed("1") != derive_seed(1)


def test_registry():
    registry: Registry[int] = Registry("number")
    registry.add("one", 1)
    with pytest.raises(ValueError, match="'one' is registered already"):
        registry.add("one", 2)
    with pytest.raises(KeyError, match="unknown number 'onee'; did you mean 'one'"):
        registry["onee"]
    assert "known: a, b" in str(unknown_name("thing", "zzz", ["b", "a"]))
    assert (list(registry), len(registry), registry.values()) == (["one"], 1, [1])
