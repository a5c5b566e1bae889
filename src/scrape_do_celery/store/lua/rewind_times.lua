--[[ Rewind the times that were written before the server's clock was set back. All work waits for them.

  A dispatcher notes a step back, and calls this script until the note is gone.

  KEYS  clock            hash    the watched clock, and by how much the server's clock was set back
        due              zset    part or run -> when it needs a step
        dispatched       zset    part id -> when its step message counts as lost
        changed          zset    run id -> when to announce its change
        content_expiry   zset    part id -> when the API forgets its pages
        queue_delay      hash    the factor by which the redispatch interval is longer, and its start
        quota            hash    process -> "wanted granted until"
        next_request_at  string  when the next request may start
        pause            string  until when the API is left alone
        accounts         set     the accounts for which jobs were, or are, bought
  ARGV  prefix

  Returns the seconds by which times were rewound.
]]
--- @include lib/clock
--- @include lib/keys
--- @include lib/records
local clock_key, due_key, dispatched_key, changed_key, content_expiry_key, queue_delay_key, quota_key,
  next_request_at_key, pause_key, accounts_key =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local prefix = ARGV[1]

local clock = read_fields(clock_key, 'rewind', 'stepped')
local seconds = clock.rewind
if not seconds then return '0' end
local t, accounts = now(), redis.call('SMEMBERS', accounts_key)

-- Return whether a time was certainly written before the step.
local function is_before_step(at)
  -- Places of waiters have the time behind their priority.
  at = at % PRIORITY_SPAN
  return at > t or at < tonumber(clock.stepped or 0)
end

-- Rewind the scores of a sorted set, and call `visit` with each entry and its new score. Entries that were
-- written after the step come too early, which costs a step without work, unless `is_line`: in a line, they
-- would overtake the others. Many pairs in one command take less time than many commands.
local function rewind_scores(key, visit, is_line)
  local entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  local pairs_at_once = 500
  for first = 1, #entries, 2 * pairs_at_once do
    local call = {}
    for i = first, math.min(first + 2 * pairs_at_once, #entries) - 1, 2 do
      if not is_line or is_before_step(entries[i + 1]) then
        local score = format_time(entries[i + 1] - seconds)
        call[#call + 1] = score
        call[#call + 1] = entries[i]
        if visit then visit(entries[i], score) end
      end
    end
    if #call > 0 then redis.call('ZADD', key, unpack(call)) end
  end
end

-- Rewind the deadline of a run, and the expiry of a draft. A run that was written after the step must not end
-- too early, so a run of unknown time keeps its own.
local function rewind_run(entry)
  local run_id = string.match(entry, '^(.*):run$')
  if not run_id then return end
  local run_key = make_key(prefix, 'run', run_id)
  local run = read_fields(run_key, 'created', 'accepted', 'deadline', 'expires_in')
  if run.deadline and is_before_step(run.accepted) then
    redis.call('HSET', run_key, 'deadline', format_time(run.deadline - seconds))
  elseif run.expires_in and not run.accepted and is_before_step(run.created) then
    redis.call('HSET', run_key, 'expires_in', format_time(run.expires_in - seconds))
  end
end

redis.call('HDEL', clock_key, 'rewind', 'stepped')
rewind_scores(due_key, rewind_run)
for _, key in ipairs({dispatched_key, changed_key, content_expiry_key}) do rewind_scores(key) end
for _, account in ipairs(accounts) do
  local poll_set_key = make_key(prefix, 'poll_set', account)
  rewind_scores(poll_set_key, function(part_id, due_at)
    local part_key = make_key(prefix, 'part', part_id)
    -- The record may be gone. A write would make a new one, which nobody deletes.
    if redis.call('HGET', part_key, 'poll_set') == poll_set_key then
      redis.call('HSET', part_key, 'due_at', due_at)
    end
  end)
  rewind_scores(make_key(prefix, 'rejected', account))
  rewind_scores(make_key(prefix, 'slot_waiters', account), nil, true)
  for _, key in ipairs(redis.call('ZRANGE', make_key(prefix, 'slot_turns', account), 0, -1)) do
    rewind_scores(make_key(prefix, 'slot_line', account, key), nil, true)
  end
  redis.call('HDEL', make_key(prefix, 'list_poll', account), 'until', 'ended')
  local breaker_key = make_key(prefix, 'breaker', account)
  if redis.call('EXISTS', breaker_key) == 1 then redis.call('HSET', breaker_key, 'next', format_time(t)) end
end
-- A share of requests, or the end of a pause, comes again with the next call of the API.
redis.call('DEL', queue_delay_key, quota_key, next_request_at_key, pause_key)
return seconds
