"""A database of PostgreSQL on this machine, where its programs are installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "a-secret-of-postgres"
UNPRIVILEGED = "nobody"
"""Who runs the server where tests run as root, as which it refuses to run."""


def programs() -> Path | None:
    """Folder of the newest version's programs, which Debian has below /usr/lib/postgresql; None without any."""
    found = [Path(path).parent for path in (shutil.which("initdb"),) if path is not None]
    found += [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, default=None)


@contextmanager
def serving() -> Iterator[str]:
    """The address of an empty database, which is there in the block."""
    bin_folder = programs()
    assert bin_folder is not None, "ask programs() first"
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    (folder / "password").write_text(PASSWORD)
    user = UNPRIVILEGED if os.getuid() == 0 else None
    if user is not None:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*command: str) -> None:
        with (folder / "log").open("a") as log:
            subprocess.run(
                [str(bin_folder / command[0]), *command[1:]],
                check=True, user=user, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            )  # fmt: skip

    data = str(folder / "data")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"
    try:
        run("initdb", "-D", data, "-U", "flag", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "-N")
        run("pg_ctl", "-D", data, "-w", "-o", options, "start")
        yield f"postgresql://flag:{PASSWORD}@127.0.0.1:{port}/postgres"
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
