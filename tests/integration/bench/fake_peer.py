"""A server that speaks as much of a peer's protocol as the benchmark asks, and forgets when it is killed.

`python fake_peer.py sd_cpp --listen-port N ...`, `python fake_peer.py comfyui --port N ...`
"""

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

from PIL import Image

ASKED_BEFORE_MADE = 2
jobs: list[dict] = []
asked: dict[int, int] = {}
lock = threading.Lock()


def take(job: dict) -> str:
    """Returns: its id."""
    with lock:
        jobs.append(job)
        return str(len(jobs) - 1)


def picture(width: int, words: str) -> bytes:
    """Another one for other words."""
    file = BytesIO()
    grey = Image.linear_gradient("L").resize((width, width)).rotate(sum(words.encode()) % 360)
    Image.merge("RGB", (grey, grey, grey)).save(file, "PNG")
    return file.getvalue()


def is_made(number: int) -> bool:
    asked[number] = asked.get(number, 0) + 1
    return asked[number] > ASKED_BEFORE_MADE


class SdCpp(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/":
            self.answer(200, {})
            return
        number = int(self.path.rpartition("/")[2])
        if number >= len(jobs):
            self.answer(404, {"error": "job_not_found"})
        elif not is_made(number):
            self.answer(200, {"status": "generating"})
        elif jobs[number]["prompt"] == "fail":
            self.answer(200, {"status": "failed"})
        else:
            made = base64.b64encode(picture(jobs[number]["width"], jobs[number]["prompt"])).decode()
            self.answer(200, {"status": "completed", "result": {"images": [{"b64_json": made}]}})

    def do_POST(self) -> None:
        self.answer(202, {"id": take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))})

    def answer(self, status: int, body: object) -> None:
        self.send(status, json.dumps(body).encode())

    def send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class ComfyUi(SdCpp):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/system_stats":
            self.answer(200, {})
        elif url.path == "/queue":
            self.answer(200, {"queue_running": [], "queue_pending": [[0, str(n)] for n in range(len(jobs))]})
        elif url.path == "/view":
            graph = jobs[int(parse_qs(url.query)["filename"][0])]["prompt"]
            self.send(200, picture(graph["empty"]["inputs"]["width"], graph["words"]["inputs"]["text"]))
        else:
            self.history(url.path.rpartition("/")[2])

    def history(self, job_id: str) -> None:
        if int(job_id) >= len(jobs) or not is_made(int(job_id)):
            self.answer(200, {})
            return
        has_failed = jobs[int(job_id)]["prompt"]["words"]["inputs"]["text"] == "fail"
        file = {"filename": job_id, "subfolder": "", "type": "output"}
        entry = {
            "status": {"status_str": "error" if has_failed else "success"},
            "outputs": {"saved": {"images": [file]}},
        }
        self.answer(200, {job_id: entry})

    def do_POST(self) -> None:
        self.answer(
            200, {"prompt_id": take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))}
        )


if __name__ == "__main__":
    kind, *words = sys.argv[1:]
    option = "--listen-port" if kind == "sd_cpp" else "--port"
    handler = SdCpp if kind == "sd_cpp" else ComfyUi
    ThreadingHTTPServer(("127.0.0.1", int(words[words.index(option) + 1])), handler).serve_forever()
