"""An S3 server on this machine for tests: moto's, in a process of its own.

Run as a program it serves; with `forgetful` it drops the condition "unless it is there", as some
servers that speak S3 do.
"""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError


@contextmanager
def serving(*words: str) -> Iterator[str]:
    """Start a server and yield its end point."""
    process = subprocess.Popen(
        [sys.executable, __file__, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
                break
            except HTTPError:
                break
            except OSError:
                assert time.monotonic() < deadline, "the S3 server never answered"
                time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def main() -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    app = DomainDispatcherApplication(create_backend_app)

    def forgetful(environ, start):
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return app(environ, start)

    chosen = forgetful if "forgetful" in sys.argv else app
    server = make_server("127.0.0.1", 0, chosen, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
