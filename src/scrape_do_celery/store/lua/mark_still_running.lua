-- Notes running jobs that the list still shows: each is looked at again after its interval. One that is not
-- due keeps its time, but for those of the longest interval: these come to be due together, and cost one sweep.
-- One in so many looks is left to the job itself.
-- KEYS: watch, due
-- ARGV: prefix, status, that many, number of intervals, interval by the number of looks ..., then part ids
--- @include lib/clock
--- @include lib/due
--- @include lib/memory
--- @include lib/records
allow_when_full(KEYS[1] .. ':')
-- Another number for each part id; ids that differ do so in their ends.
local function spread(part_id)
  local number = 0
  for at = math.max(1, #part_id - 11), #part_id do number = (number * 31 + string.byte(part_id, at)) % 1000003 end
  return number
end
local t, last = now(), tonumber(ARGV[4])
for i = 5 + last, #ARGV do
  local run_id, n = string.match(ARGV[i], '^(.*):([^:]*)$')
  local key = make_part_key(ARGV[1], run_id, n)
  local p = redis.call('HMGET', key, 'poll_set', 'polls', 'status', 'due_at')
  if p[1] == KEYS[1] then
    if p[3] ~= ARGV[2] then redis.call('HSET', key, 'status', ARGV[2]) end
    local polls = tonumber(p[2] or 0)
    if (polls + 1 + spread(ARGV[i])) % ARGV[3] == 0 then
      make_due(KEYS[2], key, ARGV[i], t, 0)
    elseif polls + 1 >= last or tonumber(p[4]) <= t then
      local at = format_time(t + ARGV[4 + math.min(polls + 2, last)])
      redis.call('HSET', key, 'polls', polls + 1, 'due_at', at)
      redis.call('ZADD', KEYS[1], at, ARGV[i])
    end
  end
end
return 1
