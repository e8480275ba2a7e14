-- One POST per request. A connection cannot be told apart here, so each thread goes round twice as many sessions as it
-- has connections: a session's next run is then asked for long after its last one was answered. After `RUNS_PER_SESSION`
-- runs a session is replaced by a new one. They start staggered, so that at any time all lengths are there.
-- Arguments: path, tag of the round, connections per thread.

local RUNS_PER_SESSION = 20

local path, tag, slots, sessions, at, started
local thread_count = 0

function setup(thread)
  thread_count = thread_count + 1
  thread:set("thread_number", thread_count)
end

local function start_session(slot, runs_before)
  started = started + 1
  sessions[slot] = { id = string.format("load-%s-%d-%d", tag, thread_number, started), runs = runs_before }
end

function init(args)
  path, tag, slots = args[1], args[2], 2 * tonumber(args[3])
  sessions, at, started = {}, 0, 0
  for slot = 1, slots do
    start_session(slot, math.floor((slot - 1) * RUNS_PER_SESSION / slots))
  end
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  at = at % slots + 1
  if sessions[at].runs == RUNS_PER_SESSION then
    start_session(at, 0)
  end
  local session = sessions[at]
  session.runs = session.runs + 1
  local body = string.format(
    '{"message": "This is question %d. What did I ask you before that?", "session_id": "%s"}',
    session.runs, session.id)
  return wrk.format("POST", path, nil, body)
end

-- wrk counts a status above 399 as an error.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"runs": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
