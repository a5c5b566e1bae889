--[[ Mark jobs that the job list shows as running: each is polled again after its interval.

  A job that is not due keeps its time, unless it has the longest interval. Jobs of the longest interval come
  to be due together, and cost one list poll. Now and then a job is polled by itself, as the list may lag.

  KEYS  poll_set  zset  part id -> when to poll its job
        due       zset  the due set
  ARGV  prefix, status, single_poll_every (one poll of this number is a poll of the job itself),
        interval_count, interval_or_part_id... (intervals by the number of polls before; then part ids)

  Returns 1.
]]
--- @include lib/clock
--- @include lib/due
--- @include lib/memory
--- @include lib/records
local poll_set_key, due_key = KEYS[1], KEYS[2]
local prefix, status, single_poll_every, interval_count = unpack(ARGV, 1, 4)

allow_when_full(poll_set_key .. ':')
-- Return a number that differs from part id to part id. Else all jobs would be polled by themselves at once.
-- Part ids differ in their ends.
local function spread(part_id)
  local number = 0
  for at = math.max(1, #part_id - 11), #part_id do
    number = (number * 31 + string.byte(part_id, at)) % SPREAD_PRIME
  end
  return number
end
local t, last = now(), tonumber(interval_count)
local before_intervals = 4
for i = before_intervals + last + 1, #ARGV do
  local part_id = ARGV[i]
  local run_id, n = string.match(part_id, '^(.*):([^:]*)$')
  local part_key = make_part_key(prefix, run_id, n)
  local part = read_fields(part_key, 'poll_set', 'polls', 'status', 'due_at')
  if part.poll_set == poll_set_key then
    if part.status ~= status then redis.call('HSET', part_key, 'status', status) end
    local polls = tonumber(part.polls or 0)
    if (polls + 1 + spread(part_id)) % single_poll_every == 0 then
      make_due(due_key, part_key, part_id, t, 0)
    elseif polls + 1 >= last or tonumber(part.due_at) <= t then
      local interval = ARGV[before_intervals + math.min(polls + 2, last)]
      local due_at = format_time(t + interval)
      redis.call('HSET', part_key, 'polls', polls + 1, 'due_at', due_at)
      redis.call('ZADD', poll_set_key, due_at, part_id)
    end
  end
end
return 1
