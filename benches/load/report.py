"""The tables: all numbers, the server against the floor, memory, and whether the aims are met."""

import datetime
import os
import platform

from machine import memory_mb


def report(subjects, rows, conditions):
    floor, server = subjects
    lines = ["# Load", "", conditions, "", "## Runs", ""]
    lines += markdown_table(
        [
            "connections",
            "",
            "runs/s (best)",
            "median ms",
            "p99 ms",
            "CPU ms/run",
            "PostgreSQL CPU ms/run",
            "model calls/run",
            "prompt characters/run",
            "errors",
            "flush ms",
        ],
        [
            [
                connections,
                name,
                f"{row.throughput:,.0f} ({row.best_throughput:,.0f})",
                f"{row.p50_ms:.2f}",
                f"{row.p99_ms:.2f}",
                f"{row.server_cpu_ms:.2f}",
                f"{row.postgres_cpu_ms:.2f}",
                f"{row.model_calls:.2f}",
                f"{row.prompt_chars:,.0f}",
                row.errors,
                f"{row.flush_ms:.2f}",
            ]
            for connections, by_name in rows.items()
            for name, row in by_name.items()
        ],
    )
    lines += ["", f"## {server.name.capitalize()} against the floor", ""]
    lines += markdown_table(
        [
            "connections",
            "share of the floor's throughput",
            "median, more than the floor's",
            "p99, more than the floor's",
        ],
        [
            [
                connections,
                f"{100 * by_name[server.name].share_of(by_name[floor.name]):.0f} %",
                f"{by_name[server.name].extra_p50_ms(by_name[floor.name]):+.2f} ms",
                f"{by_name[server.name].extra_p99_ms(by_name[floor.name]):+.2f} ms",
            ]
            for connections, by_name in rows.items()
        ],
    )
    lines += ["", "## Memory", ""]
    lines += markdown_table(
        ["", "runs before", "resident MB", "highest MB"],
        [[each.name, f"{each.runs:,}", *(f"{mb:.1f}" for mb in memory_mb(each.process.pid))] for each in subjects],
    )
    lines += ["", "## Aims", ""]
    lines += markdown_table(["aim", "measured", ""], aims(subjects, rows))
    return "\n".join(lines) + "\n"


def aims(subjects, rows):
    floor, server = (subject.name for subject in subjects)
    share = {connections: by_name[server].share_of(by_name[floor]) for connections, by_name in rows.items()}
    extra_ms = rows[1][server].extra_p50_ms(rows[1][floor])
    cpu_ms = max(by_name[server].server_cpu_ms for by_name in rows.values())
    resident_mb, _ = memory_mb(subjects[1].process.pid)
    errors = sum(row.errors for by_name in rows.values() for row in by_name.values())
    judged = [
        ("half of the floor's throughput at 16 connections", f"{100 * share[16]:.0f} %", share[16] >= 0.5),
        ("half of the floor's throughput at 64 connections", f"{100 * share[64]:.0f} %", share[64] >= 0.5),
        ("under 3 ms more than the floor's median at one connection", f"{extra_ms:+.2f} ms", extra_ms < 3),
        ("under 1.5 ms of CPU per run, at any number of connections", f"{cpu_ms:.2f} ms", cpu_ms < 1.5),
        (f"under 60 MB resident after {subjects[1].runs:,} runs", f"{resident_mb:.1f} MB", resident_mb < 60),
        ("no errors", errors, errors == 0),
    ]
    return [[aim, measured, "met" if met else "**missed**"] for aim, measured, met in judged]


def markdown_table(header, rows):
    rule = ["---"] * len(header)
    return [f"| {' | '.join(map(str, row))} |" for row in (header, rule, *rows)]


def describe(options, postgres, rounds, seconds):
    today = datetime.date.today().isoformat()
    text = (
        f"Measured on {today} with `benches/load/run.py`: {os.cpu_count()} cores ({platform.machine()}) shared by wrk, "
        f"the servers, the model server and PostgreSQL {postgres.version} (fsync and synchronous_commit on). Per line "
        f"{rounds} x {seconds} s, the floor and the server in turn; the numbers are medians over the rounds, and where "
        "both are compared, of the differences and ratios per round. Flush: how long the disk took for 8 kB just "
        "before a round, which a durable commit has to wait for. Sessions of 20 runs, the last 3 of them in the "
        "server's context. CPU is the user and system time of the process."
    )
    if options.agent_setting:
        text += f" The agent's further settings: {', '.join(f'`{each}`' for each in options.agent_setting)}."
    if options.stand_in:
        text += "\n\n**A second floor stood in for the server: these numbers only try the bench.**"
    if options.quick:
        text += "\n\n**A quick run: too short to mean much.**"
    return text
