-- Runs that wait for the run before them.
--- @include lib/clock
--- @include lib/records

-- A run has ended. Runs of its schedule's later ticks may wait for it, as drafts, in a line: one that was canceled while
-- it waited itself leaves the line; else the next one's turn has come.
local function start_next_scheduled(prefix, due, run, run_id, t)
  local r = redis.call('HMGET', run, 'next', 'after', 'schedule')
  local next_one, before, schedule = r[1], r[2], r[3]
  if before and not is_live(prefix, before) then before = nil end
  if schedule and redis.call('GET', schedule) == run_id then
    if before then redis.call('SET', schedule, before) else redis.call('DEL', schedule) end
  end
  if before then
    redis.call('HDEL', prefix .. ':run:' .. before, 'next')
    if next_one then
      redis.call('HSET', prefix .. ':run:' .. before, 'next', next_one)
      redis.call('HSET', prefix .. ':run:' .. next_one, 'after', before)
    end
  elseif next_one then
    redis.call('ZADD', due, format_time(t), next_one .. ':run')
  end
end
