#!/usr/bin/env -S python -IS
"""Health check of the images: `healthcheck PORT PATH` ends with 0 when this container answers 200 there.

Without the site packages and with a bare socket, because it runs every few seconds in every container.
"""

import socket
import sys

TIMEOUT_S = 4.0
ENOUGH_BYTES = 12  # of "HTTP/1.1 200 OK"


def status(port: int, path: str) -> int:
    """HTTP status of a GET on this machine; 0 when nothing answers."""
    request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
            connection.sendall(request)
            with connection.makefile("rb") as answer:
                line = answer.read(ENOUGH_BYTES)
    except OSError:
        return 0
    words = line.split()
    return int(words[1]) if len(words) == 2 and words[1].isdigit() else 0


if __name__ == "__main__":
    sys.exit(status(int(sys.argv[1]), sys.argv[2]) != 200)
