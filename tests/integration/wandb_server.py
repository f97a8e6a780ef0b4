"""A stand-in for a W&B server on loopback: as much of its protocol as the real client needs, its state open to tests.

It speaks GraphQL for runs (and artifacts, in wandb_artifacts.py), the file stream (history, summary, console) and the
upload and download of files. What it does not know it answers with a GraphQL error, and ``unexpected`` remembers it.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tests.integration.waiting import PATIENCE, WANDB_PATIENCE
from tests.integration.wandb_artifacts import Artifacts

ENTITY, KEY = "somebody", "a" * 40
HISTORY = "wandb-history.jsonl"
FEATURES = (
    "ARTIFACT_DIGEST_ALGORITHM",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
)


@dataclass
class Run:
    """A run as a server knows it."""

    entity: str
    project: str
    name: str
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)  # a stream's lines, by their place in it
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    begun: int = 0  # how often a client began it

    @property
    def history(self) -> list[dict[str, Any]]:
        """Its rows."""
        return [json.loads(line) for line in self.stream(HISTORY)]

    @property
    def summary(self) -> dict[str, Any]:
        """Its last summary."""
        lines = self.stream("wandb-summary.json")
        return json.loads(lines[-1]) if lines else {}

    def stream(self, name: str) -> list[str]:
        """The lines of a stream, in order."""
        return [line for _, line in sorted(self.lines.get(name, {}).items())]

    def table(self, key: str) -> list[dict[str, Any]]:
        """The rows of a ``wandb.Table`` that was logged last under a name."""
        last = [row[key] for row in self.history if key in row][-1]
        found = json.loads(self.files[last["path"]])
        return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


class WandbServer:
    """The server; use it as a context manager.

    Attributes:
        runs: by id.
        artifacts: what was logged.
        operations: the names of all GraphQL operations, in order.
        unexpected: those that it does not know, with their text.
    """

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.blobs: dict[str, bytes] = {}
        self.downloads: list[str] = []  # paths of blobs that were asked for
        self.uploads: list[str] = []
        self.operations: list[str] = []
        self.unexpected: list[str] = []
        self._rows_taken: int | None = None
        self._lock = threading.RLock()
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.artifacts = Artifacts(self.blob_url, ENTITY)
        self._known: Mapping[str, Callable[[dict[str, Any]], Any]] = {
            "ServerFeaturesQuery": lambda _: {
                "serverInfo": {"features": [{"name": name, "isEnabled": True} for name in FEATURES]}
            },
            "Viewer": self._viewer,
            "GetViewer": self._viewer,
            "GetDefaultEntity": self._viewer,
            "OrganizationCoreWeaveOrganizationID": lambda _: {"entity": {"organization": None}},
            "RunResumeStatus": self._resume,
            "UpsertBucket": self._upsert,
            "CreateRunFiles": self._run_files,
            "MarkRunFilesUploaded": lambda _: {"markRunFilesUploaded": {"success": True}},
            **self.artifacts.operations,
        }

    @property
    def environment(self) -> dict[str, str]:
        """What makes a client online with this server, however slow the machine is."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online", **WANDB_PATIENCE}

    @property
    def impatient(self) -> dict[str, str]:
        """The same, but when its run ends the client waits for the server for a few seconds only."""
        return {**self.environment, "WANDB_FINISH_TIMEOUT": "3"}

    def __enter__(self) -> "WandbServer":
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go down: who connects from now on is refused, and open connections end."""
        self._http.shutdown()
        self._http.server_close()
        self._http.drop_connections()

    def blob_url(self, path: str) -> str:
        """Where a stored file is put and fetched."""
        return f"{self.url}/storage/{quote(path)}"

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer an operation."""
        match = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = match.group(1) if match else "?"
        with self._lock:
            self.operations.append(name)
            if name not in self._known:
                self.unexpected.append(query)
                return {"errors": [{"message": f"the stand-in does not know the operation {name}"}], "data": None}
            return {"data": self._known[name](variables)}

    def file_stream(self, run_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Take a part of a run's streams."""
        with self._lock:
            run = self.runs[run_id]
            for name, part in (body.get("files") or {}).items():
                lines = run.lines.setdefault(name, {})
                new = {part["offset"] + index: line for index, line in enumerate(part["content"])}
                if name == HISTORY and self._rows_taken is not None:
                    new = {place: line for place, line in new.items() if place < self._rows_taken}
                lines.update(new)
            if body.get("complete"):
                run.exit_code = body["exitcode"]
            return {"limits": {}}

    def put(self, path: str, data: bytes) -> None:
        """Store a file."""
        with self._lock:
            self.uploads.append(path)
            kind, *rest = path.split("/", 2)
            if kind == "runs":
                self.runs[rest[0]].files[rest[1]] = data
            else:
                self.blobs[path] = data

    def take_rows(self, rows: int | None) -> None:
        """Take so many rows of a run's history and lose what comes after them; None takes all."""
        self._rows_taken = rows

    def _viewer(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        teams = {"edges": []}
        names = {"entity": ENTITY, "username": ENTITY, "name": ENTITY, "email": "somebody@example.org"}
        return {"viewer": {"id": "viewer", **names, "flags": "{}", "admin": False, "teams": teams}}

    def _resume(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        entity = {"id": "entity", "name": variables.get("entity") or ENTITY}
        model = {"id": "project", "name": variables["project"], "entity": entity, "bucket": None}
        if run is not None:
            history, events = run.stream(HISTORY), run.stream("wandb-events.jsonl")
            model["bucket"] = {
                **self._bucket(run),
                "summaryMetrics": json.dumps(run.summary),
                "logLineCount": len(run.stream("output.log")),
                "historyLineCount": len(history),
                "eventsLineCount": len(events),
                "historyTail": json.dumps(history[-1:]),
                "eventsTail": json.dumps(events[-1:]),
                "tags": run.tags,
                "notes": None,
                "wandbConfig": json.dumps({"t": 1}),
            }
        return {"model": model}

    def _upsert(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        name = variables.get("name") or variables["id"].removeprefix("run-")
        is_new = name not in self.runs
        if is_new:
            entity = variables.get("entity") or ENTITY
            self.runs[name] = Run(entity, variables.get("project") or "uncategorized", name)
        run = self.runs[name]
        run.begun += bool(variables.get("program") or variables.get("host"))
        run.group = variables.get("groupName") or run.group
        run.job_type = variables.get("jobType") or run.job_type
        run.tags = variables.get("tags") or run.tags
        if variables.get("config"):
            run.config = {key: one.get("value") for key, one in json.loads(variables["config"]).items()}
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": is_new}}

    def _bucket(self, run: Run) -> dict[str, Any]:
        project = {"id": "project", "name": run.project, "entity": {"id": "entity", "name": run.entity}}
        return {
            "id": f"run-{run.name}",
            "name": run.name,
            "displayName": run.name,
            "description": None,
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "sweepName": None,
            "project": project,
            "historyLineCount": len(run.stream(HISTORY)),
        }

    def _run_files(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        run = variables["run"]
        files = [{"name": name, "uploadUrl": self.blob_url(f"runs/{run}/{name}")} for name in variables["files"]]
        return {"createRunFiles": {"runID": f"run-{run}", "uploadHeaders": [], "files": files}}


def sync(storage: Path, server: WandbServer, *options: str) -> None:
    """The real ``wandb sync`` of all runs that are offline in a storage."""
    runs = sorted(str(one) for one in (storage / "wandb").glob("offline-run-*"))
    done = subprocess.run(
        [Path(sys.executable).with_name("wandb"), "sync", *options, *runs],
        cwd=storage,  # it writes a log there
        env={**os.environ, **server.environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert not server.unexpected


class _Http(ThreadingHTTPServer):
    """Remembers its connections, so that it can go down as a machine does."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connections: list[Any] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def drop_connections(self) -> None:
        for one in self.connections:
            one.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go as they like; a fault in a handler is answered with 500, see ``_Handler``."""


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            path, body = urlsplit(self.path).path, json.loads(self._body())
            if path == "/graphql":
                self._send(server.graphql(body["query"], body.get("variables") or {}))
            elif match := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path):
                self._send(server.file_stream(unquote(match.group(1)), body))
            else:
                self.send_error(404)

        def do_PUT(self) -> None:
            server.put(self._stored(), self._body())
            self._send({})

        def do_GET(self) -> None:
            path = server.artifacts.stored_path(self._stored())
            server.downloads.append(path)
            data = server.blobs.get(path)
            if data is None:
                self.send_error(404)
            else:
                self._send(data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def _stored(self) -> str:
            return unquote(urlsplit(self.path).path.removeprefix("/storage/"))

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _send(self, answer: Any) -> None:
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler
