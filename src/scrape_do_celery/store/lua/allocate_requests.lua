-- Divides the requests that may be under way among the processes that want some; and the starts of requests in time.
-- KEYS: budget, pace, pause, totals, stored
-- ARGV: process, requests that it wants to have under way, that it has, most of all processes, seconds for which its
--       share stands, starts a second of all ('' for any), the seconds whose starts may come at once,
--       then what the process has counted since it last asked: name, amount ...; `stored:<hour>` are bytes of pages by
--       the hour, since the epoch, in which they expire
-- Returns {requests that it may have under way, how many of them may start now, seconds of the pause that is left}.
--- @include lib/clock
--- @include lib/memory
local me, want, running, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
allow_when_full(KEYS[1])
local t = now()
for i = 8, #ARGV - 1, 2 do
  local hour = string.match(ARGV[i], '^stored:(%d+)$')
  if not hour then
    redis.call('HINCRBYFLOAT', KEYS[4], ARGV[i], ARGV[i + 1])
  elseif redis.call('HINCRBY', KEYS[5], hour, ARGV[i + 1]) == tonumber(ARGV[i + 1]) then
    -- The first of its hour: what is over goes.
    for _, field in ipairs(redis.call('HKEYS', KEYS[5])) do
      if tonumber(field) < math.floor(t / 3600) then redis.call('HDEL', KEYS[5], field) end
    end
  end
end
local taken, others, short, before = 0, {}, false, 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local wanted, has, until_ = string.match(all[i + 1], '^(%d+) (%d+) (%S+)$')
  if all[i] == me then
    before = tonumber(has)
  elseif tonumber(until_) <= t then
    redis.call('HDEL', KEYS[1], all[i])
  else
    taken = taken + has
    others[#others + 1] = tonumber(wanted)
    short = short or tonumber(wanted) > tonumber(has)
  end
end
local share = math.min(want, math.max(0, limit - taken))
if short then
  -- Those who want less than an equal share leave the rest to the others.
  local room, sharing = limit, #others + 1
  table.sort(others)
  for _, wanted in ipairs(others) do
    if wanted * sharing > room then break end
    room, sharing = room - wanted, sharing - 1
  end
  local fair = math.floor(room / sharing)
  -- More processes than requests: they take turns.
  if fair < 1 and before < 1 then fair = 1 end
  share = math.min(share, fair)
end
if want > 0 or running > 0 then
  redis.call('HSET', KEYS[1], me, string.format('%d %d %s', want, math.max(share, running), format_time(t + ARGV[5])))
else
  redis.call('HDEL', KEYS[1], me)
end
local starts = math.max(0, share - running)
if ARGV[6] ~= '' and starts > 0 then
  local rate = tonumber(ARGV[6])
  local window = math.max(tonumber(ARGV[7]), 1 / rate)
  local next_one = math.max(t, tonumber(redis.call('GET', KEYS[2]) or 0))
  starts = math.min(starts, math.floor((t + window - next_one) * rate + 0.000001))
  if starts > 0 then
    redis.call('SET', KEYS[2], format_time(next_one + starts / rate), 'PX', math.ceil(1000 * (window + starts / rate)))
  end
end
return {share, math.max(0, starts), format_time(math.max(0, tonumber(redis.call('GET', KEYS[3]) or 0) - t))}
