#!/usr/bin/env python3
"""Opens many streams at once and measures what each costs; writes benches/streams/RESULTS.md.

    benches/streams/run.py                  1,000 streams on the release build, about a minute
    benches/streams/run.py --streams 50     a trial; writes no file unless --out

Each stream is a run on a session of its own; the model thinks for some seconds, so that all are open at the same time.
Build first: cargo build --release --bins --examples. Needs Linux and PostgreSQL's server binaries.
"""

import asyncio
import json
import os
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "load"))

from machine import bench_options, free_port, memory_mb, run_bench, start_model_server, start_postgres, wait_until_ready  # noqa: E402

FULL = 1_000

CONFIG = """\
[models.fast]
provider = "openai"
id = "m"
base_url = "{model_url}/v1"
api_key_env = "STREAMS_BENCH_API_KEY"

[[agents]]
id = "assistant"
model = "fast"
"""


async def stream(port, number, opened):
    """Seconds until the first event and until the first piece of the answer, and whether it was whole."""
    body = json.dumps({"message": "hi", "session_id": f"s{number}", "stream": True}).encode()
    head = f"POST /agents/assistant/runs HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + body)
    first = piece = None
    whole = False
    while line := await reader.readline():
        if first is None and line.startswith(b"event:"):
            first = time.perf_counter() - started
            opened.append(number)
        if piece is None and line.startswith(b"event: RunContent"):
            piece = time.perf_counter() - started
        whole = whole or line.startswith(b"event: RunCompleted")
    writer.close()
    return first, piece, whole


async def measure(options, port, pid):
    opened, highest = [], 0.0
    started = time.perf_counter()
    tasks = []
    for number in range(options.streams):
        tasks.append(asyncio.create_task(stream(port, number, opened)))
        if number % 20 == 19:
            await asyncio.sleep(0.02)
    all_open = None
    while not all(task.done() for task in tasks):
        highest = max(highest, memory_mb(pid)[0])
        if all_open is None and len(opened) == options.streams:
            all_open = memory_mb(pid)[0]
        await asyncio.sleep(0.1)
    return [task.result() for task in tasks], all_open, highest, time.perf_counter() - started


def run(options, processes):
    postgres = start_postgres(processes, free_port())
    database_url = postgres.create_database("colloquy")
    port = free_port()
    model_url = start_model_server(processes, options.model_server, "--delay-ms", options.delay_ms)
    config = processes.work_dir / "colloquy.toml"
    config.write_text(CONFIG.format(model_url=model_url))
    env = {"DATABASE_URL": database_url, "STREAMS_BENCH_API_KEY": "unused", "RUST_LOG": "error"}
    command = [options.binary, "serve", "--config", config, "--bind", f"127.0.0.1:{port}"]
    server = processes.start("server", command, env=env)
    wait_until_ready(server, f"http://127.0.0.1:{port}/ready")
    # One stream first, so that what is loaded once is not counted as the streams'.
    asyncio.run(stream(port, "first", []))
    before = memory_mb(server.pid)[0]
    results, all_open, highest, took = asyncio.run(measure(options, port, server.pid))
    time.sleep(2)
    after = memory_mb(server.pid)[0]
    return report(options, results, before, all_open, highest, after, took)


def report(options, results, before, all_open, highest, after, took):
    first = sorted(first for first, _, _ in results if first is not None)
    over = sorted(1e3 * piece - options.delay_ms for _, piece, _ in results if piece is not None)
    whole = sum(whole for _, _, whole in results)
    p99 = lambda values: values[int(len(values) * 0.99)]  # noqa: E731
    at_once = "not all were open at once" if all_open is None else f"{all_open:.1f} MB"
    per_stream = "" if all_open is None else f"{1e3 * (all_open - before) / options.streams:.1f} kB"
    return f"""\
# Streams

Measured on {time.strftime('%Y-%m-%d')} with `benches/streams/run.py`: {options.streams:,} streams at once, each a run on a session
of its own, opened as fast as one client can; a model thinks for {options.delay_ms / 1e3:.0f} s. {os.cpu_count()} cores are shared by the
client, the server, the model server and PostgreSQL. All was over after {took:.1f} s.

| | |
| --- | --- |
| streams that came to their end | {whole:,} of {options.streams:,} |
| resident memory before | {before:.1f} MB |
| … with all streams open | {at_once} |
| … at its highest, while all answer at once | {highest:.1f} MB |
| … two seconds after | {after:.1f} MB |
| memory of an open stream | {per_stream} |
| first event, median and p99 | {1e3 * statistics.median(first):.0f} ms, {1e3 * p99(first):.0f} ms |
| first piece of the answer over the model's own, median and p99 | {statistics.median(over):.0f} ms, {p99(over):.0f} ms |
"""


def main():
    parser = bench_options(__doc__)
    parser.add_argument("--streams", type=int, default=FULL)
    parser.add_argument("--delay-ms", type=int, default=10_000, help="how long the model thinks")
    options = parser.parse_args()
    run_bench("streams", run, options, HERE / "RESULTS.md" if options.streams >= FULL else None)


if __name__ == "__main__":
    main()
