-- The records of schedules, and runs that wait for the run before them.
--- @include lib/clock
--- @include lib/keys
--- @include lib/records

-- Keep the record of a schedule for `SCHEDULE_TTL` seconds. Forget the schedules that ticked longest ago, if
-- there are too many. A pause is kept apart, so that it outlives the record.
local function keep_schedule(prefix, schedules_key, record_key, t)
  local stem = make_key(prefix, 'schedule_record', '')
  redis.call('ZADD', schedules_key, format_time(t), string.sub(record_key, #stem + 1))
  redis.call('EXPIRE', schedules_key, SCHEDULE_TTL)
  redis.call('EXPIRE', record_key, SCHEDULE_TTL)
  redis.call('ZREMRANGEBYSCORE', schedules_key, '-inf', format_time(t - SCHEDULE_TTL))
  while redis.call('ZCARD', schedules_key) > MAX_SCHEDULES do
    local oldest = redis.call('ZPOPMIN', schedules_key)[1]
    redis.call('DEL', make_key(prefix, 'schedule_record', oldest))
  end
end

-- Return whether a run exists and has no outcome yet.
local function is_live(prefix, run_id)
  local run = read_fields(make_key(prefix, 'run', run_id), 'parts', 'outcome')
  return run.parts and not run.outcome
end

-- Start the next run of the schedule after the end of a run. Runs of later ticks wait as drafts in a line,
-- each for the run before it. If the ended run was canceled while it waited itself, it only leaves the line.
-- The run behind it then waits for the run before it.
local function start_next_scheduled(prefix, due_key, run_key, run_id, t)
  local run = read_fields(run_key, 'next', 'after', 'schedule')
  local next_id, before = run.next, run.after
  if before and not is_live(prefix, before) then before = nil end
  if run.schedule and redis.call('GET', run.schedule) == run_id then
    if before then redis.call('SET', run.schedule, before) else redis.call('DEL', run.schedule) end
  end
  if before then
    redis.call('HDEL', make_key(prefix, 'run', before), 'next')
    if next_id then
      redis.call('HSET', make_key(prefix, 'run', before), 'next', next_id)
      redis.call('HSET', make_key(prefix, 'run', next_id), 'after', before)
    end
  elseif next_id then
    redis.call('ZADD', due_key, format_time(t), next_id .. ':run')
  end
end
