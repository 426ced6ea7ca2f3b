"""A Hugging Face hub with one model, shop/intents: `python hub.py FOLDER PORT`, from the standard library alone."""

import json
import sys
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SHA = "5" * 40


class Hub(ThreadingHTTPServer):
    """The three routes that a snapshot needs, over the files of one folder; counts what is downloaded."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.folder = folder
        self.downloads: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        names = sorted(path.name for path in self.server.folder.iterdir())
        if parts[:4] == ["api", "models", "shop", "intents"] and parts[-1] in ("main", SHA):
            found = {"id": "shop/intents", "sha": SHA, "siblings": [{"rfilename": name} for name in names]}
            entries = [{"type": "file", "path": name, "oid": SHA, "size": len(self._file(name))} for name in names]
            self._send(200, json.dumps(entries if "tree" in parts else found).encode())
        elif parts[:3] == ["shop", "intents", "resolve"] and parts[-1] in names:
            self.server.downloads += [parts[-1]] if self.command == "GET" else []
            self._send(200, self._file(parts[-1]))
        else:
            kind = "RevisionNotFound" if parts[:4] == ["api", "models", "shop", "intents"] else "RepoNotFound"
            self._send(404, b"{}", kind)

    do_HEAD = do_GET  # noqa: N815

    def _file(self, name: str) -> bytes:
        return (self.server.folder / name).read_bytes()

    def _send(self, status: int, body: bytes, error: str = "") -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "ETag": f'"{sha256(body).hexdigest()}"',
            "X-Repo-Commit": SHA,
            **({"X-Error-Code": error} if error else {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    Hub(Path(sys.argv[1]), int(sys.argv[2])).serve_forever()
