"""A hub of one's own: serves a folder of repositories on this machine, as far as transformers and datasets ask.

`python -m tests.integration.hub FOLDER` prints its address and serves models at `FOLDER/org/name` and data sets at
`FOLDER/datasets/org/name` until it is stopped.
"""

from __future__ import annotations

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
JSON = "application/json"


class Hub(BaseHTTPRequestHandler):
    """Answers what a repository is, what it holds, and with its files."""

    root: Path
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self.do_GET()

    def do_GET(self) -> None:
        """`/api/{models,datasets}/ORG/NAME[/tree/REVISION/FOLDER]` or `/[datasets/]ORG/NAME/resolve/REVISION/FILE`."""
        parts = unquote(urlparse(self.path).path).strip("/").split("/")
        if parts[0] == "api" and len(parts) > 3:
            repository = self.root.joinpath(*(["datasets"] if parts[1] == "datasets" else []), *parts[2:4])
            self._tell(repository, "/".join(parts[2:4]), parts[4:])
        elif "resolve" in parts:
            place = parts.index("resolve")
            self._send_file(self.root.joinpath(*parts[:place], *parts[place + 2 :]))
        else:
            self._answer(404)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _tell(self, repository: Path, name: str, question: list[str]) -> None:
        files = sorted(str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file())
        if not files:
            self._answer(404, error="RepoNotFound")
        elif question[:1] == ["tree"]:
            folder = "".join(f"{part}/" for part in question[2:])
            entries = [
                {"type": "file", "path": file, "size": (repository / file).stat().st_size, "oid": "0" * 40}
                for file in files
                if file.startswith(folder)
            ]
            if entries:
                self._answer(200, json.dumps(entries).encode())
            else:
                self._answer(404, error="EntryNotFound")
        else:
            about = {
                "id": name,
                "sha": COMMIT,
                "private": False,
                "gated": False,
                "disabled": False,
                "tags": [],
            }
            siblings = [{"rfilename": file} for file in files]
            self._answer(200, json.dumps({**about, "siblings": siblings}).encode())

    def _send_file(self, path: Path) -> None:
        if path.is_file():
            content = path.read_bytes()
            self._answer(200, content, tag=hashlib.sha256(content).hexdigest())
        else:
            self._answer(404, error="EntryNotFound")

    def _answer(self, status: int, body: bytes = b"{}", *, error: str = "", tag: str = "0") -> None:
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{tag}"')
        if status == 404:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    Hub.root = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
