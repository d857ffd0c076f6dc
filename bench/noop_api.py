"""The floor under the API: Falcon on waitress, reading the body and answering 202 at once.

python -m bench.noop_api THREADS          prints the port that it listens on
"""

import sys

import falcon
import waitress


class Jobs:
    """Accepts everything and keeps nothing."""

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        request.bounded_stream.read()
        response.status = falcon.HTTP_202
        response.content_type = falcon.MEDIA_JSON
        response.data = b'{"job_id":"00000000-0000-0000-0000-000000000000","status":"waiting"}'


def main() -> None:
    """Serve until it is ended."""
    app = falcon.App()
    app.add_route("/v1/jobs", Jobs())
    server = waitress.create_server(app, host="127.0.0.1", port=0, threads=int(sys.argv[1]))
    print(server.effective_port, flush=True)
    server.run()


if __name__ == "__main__":
    main()
