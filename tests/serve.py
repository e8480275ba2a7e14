#!/usr/bin/env python3
"""A server in a scratch folder, for tests that talk to it from outside.

    tests/serve.py BINARY COMMAND [ARGUMENT]…    runs COMMAND in its folder, its address as the last argument

It has an embedded database, or the one of DATABASE_URL, and an agent `assistant` on the offline model. Ends as COMMAND ends.
"""

import contextlib
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "benches" / "load"))
from machine import BenchError, child_env, free_port, say, scratch_processes, wait_until_ready  # noqa: E402

# A first start may have to fetch PostgreSQL.
PATIENCE_SECONDS = 120

OFFLINE = """\
[models.offline]
provider = "offline"
id = "offline"

[[agents]]
id = "assistant"
name = "Assistant"
model = "offline"
"""


class Server:
    """One server, started as often as is wanted with settings of its own; what it keeps stays until the end."""

    def __init__(self, processes, binary):
        self.processes, self.binary = processes, binary
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self.process = None

    def start(self, settings="", env=None):
        self.stop()
        (self.processes.work_dir / "colloquy.toml").write_text(settings)
        self.process = self.processes.start("server", [self.binary, "--bind", self.address], env=env)
        wait_until_ready(self.process, f"{self.url}/ready", PATIENCE_SECONDS)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def complaints(self, most=30):
        """The last lines of its log that are more than information."""
        lines = self.process.log_path.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if '"level":"INFO"' not in line][-most:])


@contextlib.contextmanager
def scratch_server(binary):
    """A server that is not started yet; it and its folder are gone afterwards."""
    binary = pathlib.Path(binary).resolve()
    if not binary.is_file():
        raise BenchError(f"There is no server at {binary}. Build it with: cargo build")
    with scratch_processes("served") as processes:
        # An embedded PostgreSQL does not run as root and has to reach its files.
        processes.work_dir.chmod(0o711)
        yield Server(processes, binary)


def main():
    binary, *command = sys.argv[1:]
    with scratch_server(binary) as server:
        server.start(OFFLINE)
        code = subprocess.call([*command, server.url], cwd=server.processes.work_dir, env=child_env())
        if code:
            say(f"The server's log:\n{server.complaints()}")
        return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"{error}")
