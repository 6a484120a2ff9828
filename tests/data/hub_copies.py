"""Copies of hub datasets with a few rows, in the layouts that they have there: in a folder, or behind HTTP."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow
import yaml
from pyarrow import parquet

from multiprompt.tasks import PARQUET_BRANCH, TASKS, HubDataset, Task
from tasks.test_task_formats import ROWS

Split = Mapping[str, Sequence[dict[str, Any]]]
"""Name of a split -> its rows."""


def write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def write_branch(folder: Path, configs: Mapping[str, Split], rows_of_a_file: int = 2) -> None:
    """The layout of refs/convert/parquet: CONFIG/SPLIT/0000.parquet, 0001.parquet, ..., and no card."""
    for config, splits in configs.items():
        for split, rows in splits.items():
            for number, start in enumerate(range(0, len(rows), rows_of_a_file)):
                path = folder / config / split / f"{number:04d}.parquet"
                write_parquet(path, rows[start : start + rows_of_a_file])
    (folder / ".gitattributes").write_text("*.parquet filter=lfs\n", encoding="utf-8")


def write_carded(folder: Path, configs: Mapping[str, Split], described: bool = True) -> None:
    """A dataset whose card names the files of its configurations and, if ``described``, their numbers of rows."""
    card: dict[str, list[dict[str, Any]]] = {"configs": [], "dataset_info": []}
    for config, splits in configs.items():
        for split, rows in splits.items():
            write_parquet(folder / config / f"{split}-00000-of-00001.parquet", rows)
        files = [{"split": split, "path": f"{config}/{split}-*"} for split in splits]
        card["configs"].append({"config_name": config, "data_files": files})
        sizes = [{"name": split, "num_bytes": 1, "num_examples": len(rows)} for split, rows in splits.items()]
        card["dataset_info"].append({"config_name": config, "splits": sizes})
    if not described:
        del card["dataset_info"]
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n# A card\n", encoding="utf-8")


def write_lines(folder: Path, splits: Split) -> None:
    """Compressed JSON lines named after their splits, and no card."""
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        with gzip.open(folder / f"{split}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def folder_of(root: Path, hub: HubDataset) -> Path:
    """Where a tree that stands for the hub has a revision of a dataset."""
    return root / hub.path / (hub.revision or "main").replace("/", "+")


def write_hub(root: Path) -> dict[str, Task]:
    """The datasets of all public tasks, five training rows and three of every other split.

    Returns:
        the tasks, which take these numbers for official.
    """
    datasets: dict[Path, dict[str, dict[str, list[dict[str, Any]]]]] = {}
    tasks = {}
    for name, (row, _, _) in ROWS.items():
        task = TASKS[name]
        assert task.hub is not None
        splits = {split: [row] * (5 if split.startswith("train") else 3) for split in task.split_rule.splits}
        if name == "record":  # Parquet has no empty objects
            splits = {split: [{**row, "entity_spans": None}] * len(rows) for split, rows in splits.items()}
        for config in task.hub.configs:
            datasets.setdefault(folder_of(root, task.hub), {})[config or "default"] = splits
        official = {split: len(splits[split]) * len(task.hub.configs) for split in task.official_rows}
        tasks[name] = replace(task, official_rows=official)
    for folder, configs in datasets.items():
        if folder.name == PARQUET_BRANCH.replace("/", "+"):
            write_branch(folder, configs)
        elif folder.parent.name == "hotpotqa":
            write_lines(folder, configs["default"])
        else:
            write_carded(folder, configs, described=folder.parent.name != "squad")
    return tasks


class _Hub(BaseHTTPRequestHandler):
    """The requests by which ``datasets`` and ``huggingface_hub`` look at a dataset, answered from a tree of files."""

    protocol_version = "HTTP/1.1"
    root: Path

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self) -> None:
        self.sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        parts = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
        if parts[:2] == ["api", "datasets"]:
            name, (verb, revision, *inside) = "/".join(parts[2:4]), parts[4:] or ["revision", "main"]
        elif parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            name, verb, revision, inside = "/".join(parts[1:3]), "resolve", parts[4], parts[5:]
        else:
            return self.reply(404)
        if not (self.root / name).is_dir():
            return self.reply(404, {"X-Error-Code": "RepoNotFound"})
        for folder in (self.root / name).iterdir():
            commit = hashlib.sha1(str(folder).encode()).hexdigest()
            if revision in (commit, folder.name.replace("+", "/")):
                return self.show(verb, folder, commit, folder.joinpath(*inside), urllib.parse.parse_qs(url.query))
        return self.reply(404, {"X-Error-Code": "RevisionNotFound"})

    do_GET = do_HEAD = do_POST = answer

    def show(self, verb: str, folder: Path, commit: str, path: Path, query: dict[str, list[str]]) -> None:
        def entry(file: Path) -> dict[str, Any]:
            kind = "file" if file.is_file() else "directory"
            return {
                "type": kind,
                "oid": commit,
                "size": file.stat().st_size,
                "path": file.relative_to(folder).as_posix(),
            }

        if verb == "revision":
            names = [{"rfilename": file.relative_to(folder).as_posix()} for file in folder.rglob("*") if file.is_file()]
            return self.reply(content={"id": folder.parent.name, "sha": commit, "siblings": names})
        if verb == "paths-info":
            asked = (folder / name for name in json.loads(self.sent)["paths"])
            return self.reply(content=[entry(file) for file in asked if file.exists()])
        if not path.exists() or (verb == "resolve" and not path.is_file()):
            return self.reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        if verb == "tree":
            deep = query.get("recursive") == ["true"]
            return self.reply(content=[entry(file) for file in sorted(path.rglob("*") if deep else path.iterdir())])
        data = path.read_bytes()
        about = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last or len(data)), len(data) - 1)
            return self.reply(
                206, {**about, "Content-Range": f"bytes {start}-{end}/{len(data)}"}, data[start : end + 1]
            )
        return self.reply(200, about, data)

    def reply(self, status: int = 200, headers: Mapping[str, str] = {}, content: Any = b"") -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serve_hub(root: Path) -> Iterator[str]:
    """Serve a tree of datasets as the hub does; gives the address, for HF_ENDPOINT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"root": root}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
