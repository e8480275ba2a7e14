"""What is done to two servers and their database while clients ask."""

import dataclasses
import random
import signal
import time
from collections.abc import Callable

# Beats that take longer than the lease. The wait comes before the row's lock is taken, so that others can bury the
# process meanwhile: behind the lock nobody could, and the next beat would follow at once.
LATE_BEATS = """\
create function be_late() returns trigger language plpgsql as $$
begin
    if random() < 0.1 then
        perform pg_sleep({seconds});
    end if;
    return null;
end
$$;
create trigger beats_are_late before update on processes for each statement execute function be_late();
"""


def kill(servers, number):
    servers.end(number, signal.SIGKILL)
    servers.start(number)


def freeze(servers, number):
    """Longer than the lease; it wakes, accepts what lay in its socket, and is killed."""
    servers.running[number].send_signal(signal.SIGSTOP)
    time.sleep(servers.lease * 1.6)
    servers.running[number].send_signal(signal.SIGCONT)
    time.sleep(random.uniform(0, servers.lease / 5))
    servers.end(number, signal.SIGKILL)
    servers.start(number)


def freeze_and_go_on(servers, number):
    servers.running[number].send_signal(signal.SIGSTOP)
    time.sleep(servers.lease * random.uniform(0.5, 1.6))
    servers.running[number].send_signal(signal.SIGCONT)


def stop(servers, number):
    servers.end(number, signal.SIGTERM)
    servers.start(number)


def restart_fast(servers, _):
    servers.postgres.restart(signal.SIGINT)


def restart_immediately(servers, _):
    servers.postgres.restart(signal.SIGQUIT)


@dataclasses.dataclass(frozen=True)
class Fault:
    name: str
    what: str
    # What is done every so many seconds, to one server after the other.
    strike: Callable | None = None
    pause: float = 2
    # What is done to the database once.
    prepare: str = ""
    postgres: dict = dataclasses.field(default_factory=dict)


KILLS = Fault("kills", "A server is killed (SIGKILL) and started again.", kill)

ALL = [
    KILLS,
    Fault("freezes", "A server is frozen (SIGSTOP) for longer than the lease, woken, and killed soon after.", freeze, 1),
    Fault("naps", "A server is frozen for about the lease, woken, and goes on.", freeze_and_go_on, 1),
    Fault("late beats", "One sign of life in ten takes longer than the lease.", prepare=LATE_BEATS),
    Fault("stops", "A server is told to stop (SIGTERM) under load and started again.", stop),
    Fault(
        "no connections",
        "Two servers with 16 connections each, on a database that has 20.",
        postgres={"max_connections": "20"},
    ),
    Fault("fast restarts", "PostgreSQL is restarted (fast).", restart_fast, 3),
    Fault("crashes", "PostgreSQL is restarted (immediate), which recovers as after a crash.", restart_immediately, 3),
]
