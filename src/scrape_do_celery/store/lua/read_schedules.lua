--[[ Read the records of all schedules, the runs of them that are live, and all pauses.

  KEYS  schedules        zset  schedule -> when its last tick was decided
        schedule_pauses  hash  name of a paused schedule -> when, by whom and why
  ARGV  prefix

  Returns {now, {name, pause ...}, {live run or '', {field, value ...}} ...}.
]]
--- @include lib/clock
--- @include lib/keys
--- @include lib/schedules
local schedules_key, schedule_pauses_key = KEYS[1], KEYS[2]
local prefix = ARGV[1]

local reply = {format_time(now()), redis.call('HGETALL', schedule_pauses_key)}
for _, name in ipairs(redis.call('ZRANGE', schedules_key, 0, -1)) do
  local live = redis.call('GET', make_key(prefix, 'schedule', name))
  if live and not is_live(prefix, live) then live = nil end
  reply[#reply + 1] = {live or '', redis.call('HGETALL', make_key(prefix, 'schedule_record', name))}
end
return reply
