"""The machine under the bench: processes, a throw-away PostgreSQL, and what a process used."""

import argparse
import collections.abc
import contextlib
import dataclasses
import glob
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path(__file__).parents[2] / "target"))
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """What went wrong, for the person at the terminal."""


class Processes:
    """Everything this bench starts. It is ended by its pid when the bench ends, however that happens."""

    def __init__(self, work_dir):
        self.work_dir = work_dir
        self.running = []

    def start(self, name, command, env=None, user=None, stop_signal=signal.SIGTERM):
        log_path = self.work_dir / f"{name}.log"
        with open(log_path, "wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.work_dir,
                env=child_env(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches the bench alone, which then ends its children in order.
                start_new_session=True,
                **as_user(user),
            )
        process.name, process.log_path, process.stop_signal = name, log_path, stop_signal
        self.running.append(process)
        return process

    def stop_all(self):
        for process in reversed(self.running):
            if process.poll() is None:
                process.send_signal(process.stop_signal)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            # A wrapper such as faketime ends without the program that it has started.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self.running.clear()


@contextlib.contextmanager
def scratch_processes(name):
    """Processes in a folder of their own; both are gone afterwards, however that comes."""
    # So that a signal unwinds, and nothing is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix=f"colloquy-{name}-", ignore_cleanup_errors=True) as folder:
        processes = Processes(pathlib.Path(folder))
        try:
            yield processes
        finally:
            processes.stop_all()


def bench_options(description):
    """What every bench of the release build lets one choose."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    release = TARGET / "release"
    parser.add_argument("--binary", type=pathlib.Path, default=release / "colloquy")
    parser.add_argument("--model-server", type=pathlib.Path, default=release / "examples" / "load_model_server")
    parser.add_argument("--out", type=pathlib.Path, help="where the report goes, of a trial too")
    return parser


def run_bench(name, run, options, results):
    """Prints and writes the report that `run` makes, and answers it; `results` is its usual place, None of a trial."""
    options.binary, options.model_server = options.binary.resolve(), options.model_server.resolve()
    try:
        with scratch_processes(name) as processes:
            text = run(options, processes)
    except BenchError as error:
        sys.exit(f"{error}")
    print(text)
    if out := options.out or results:
        out.write_text(text)
    return text


def child_env(extra=None):
    # Nobody's own settings, and no proxy between programs of one machine.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("COLLOQUY_")}
    return {**inherited, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **(extra or {})}


def as_user(user):
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def say(text):
    print(text, file=sys.stderr, flush=True)


def log_tail(process, lines=20):
    text = process.log_path.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in text)


def wait_until_ready(process, url, timeout=60):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"{process.name} ended with {process.returncode}. Its last words:\n{log_tail(process)}")
        try:
            with open_url(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise BenchError(f"{process.name} was not ready at {url} after {timeout} s. Its log:\n{log_tail(process)}")


def start_model_server(processes, binary, *arguments, port=None):
    """Its address. It answers whatever it is asked."""
    if not pathlib.Path(binary).exists():
        raise BenchError(f"there is no {binary}; cargo build --release --bins --examples makes it")
    port = port or free_port()
    process = processes.start("model_server", [binary, "--bind", f"127.0.0.1:{port}", *arguments])
    wait_until_ready(process, f"http://127.0.0.1:{port}/stats")
    return f"http://127.0.0.1:{port}"


def open_url(url, body=None, timeout=30):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclasses.dataclass
class Postgres:
    process: subprocess.Popen
    port: int
    version: str
    bin_dir: pathlib.Path
    start: collections.abc.Callable

    def restart(self, stop_signal):
        """Ends it by SIGINT (fast) or SIGQUIT (immediate) and starts it again."""
        self.process.send_signal(stop_signal)
        self.process.wait(timeout=60)
        self.process = self.start()
        self.wait_until_ready()

    def wait_until_ready(self):
        for _ in range(300):
            if self.process.poll() is not None:
                raise BenchError(f"PostgreSQL ended with {self.process.returncode}:\n{log_tail(self.process)}")
            probe = [self.bin_dir / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
            if subprocess.run(probe).returncode == 0:
                return
            time.sleep(0.1)
        raise BenchError(f"PostgreSQL was not ready after 30 s:\n{log_tail(self.process)}")

    def create_database(self, name):
        run_checked([self.bin_dir / "createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "bench", name])
        return f"postgres://bench@127.0.0.1:{self.port}/{name}"


def start_postgres(processes, port, **more):
    """A cluster of its own that commits to the disk as a production server does; `more` are settings of it."""
    bin_dir = find_postgres()
    data_dir = processes.work_dir / "postgres"
    data_dir.mkdir(mode=0o700)
    user = None
    if os.geteuid() == 0:
        user = unprivileged_user()
        os.chown(data_dir, user.pw_uid, user.pw_gid)
        processes.work_dir.chmod(0o711)
    initdb = ["--username=bench", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
    run_checked([bin_dir / "initdb", "-D", data_dir, *initdb], **as_user(user))
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        **more,
    }
    command = [bin_dir / "postgres", "-D", data_dir]
    command += [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]

    def start():
        # SIGQUIT: nothing here is worth an orderly shutdown.
        return processes.start("postgres", command, user=user, stop_signal=signal.SIGQUIT)

    version = run_checked([bin_dir / "postgres", "--version"]).split()[2]
    postgres = Postgres(start(), port, version, bin_dir, start)
    postgres.wait_until_ready()
    return postgres


def find_postgres():
    on_path = shutil.which("initdb")
    candidates = [str(pathlib.Path(on_path).resolve().parent)] if on_path else []
    packaged = glob.glob("/usr/lib/postgresql/*/bin") + glob.glob("/usr/pgsql-*/bin")
    candidates += sorted(packaged, key=lambda path: int("".join(filter(str.isdigit, path)) or 0), reverse=True)
    for candidate in map(pathlib.Path, candidates):
        if all((candidate / name).exists() for name in ("initdb", "postgres", "createdb", "pg_isready")):
            return candidate
    raise BenchError("No PostgreSQL server binaries found. Install them (`apt-get install postgresql`).")


def unprivileged_user():
    """PostgreSQL refuses to run as root."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise BenchError("Running as root, and there is neither a user `postgres` nor `nobody` for PostgreSQL to run as.")


def run_checked(command, **options):
    command = [str(part) for part in command]
    result = subprocess.run(command, env=child_env(), cwd="/", capture_output=True, text=True, **options)
    if result.returncode != 0:
        raise BenchError(f"`{' '.join(command)}` failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def cpu_seconds(pid, *, of_reaped_children=False):
    """User and system time of a process, with all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    utime, stime, children_utime, children_stime = map(int, fields[11:15])
    ticks = utime + stime + (children_utime + children_stime if of_reaped_children else 0)
    return ticks / CLOCK_TICKS


def postgres_cpu_seconds(postmaster):
    """The postmaster, the processes it has now, and those that have come and gone."""
    total = cpu_seconds(postmaster, of_reaped_children=True)
    for child in pathlib.Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += cpu_seconds(child)
    return total


def memory_mb(pid):
    """Resident memory, now and at its highest, in MB of 1,000,000 bytes."""
    kib = {}
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key in ("VmRSS", "VmHWM"):
            kib[key] = int(value.split()[0])
    return kib["VmRSS"] * 1024 / 1e6, kib["VmHWM"] * 1024 / 1e6


def flush_ms(directory):
    """The median time until 8 kB are safe on the disk: what a durable commit waits for."""
    times = []
    with open(directory / "flush", "wb", buffering=0) as file:
        for _ in range(50):
            file.seek(0)
            file.write(bytes(8192))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)
