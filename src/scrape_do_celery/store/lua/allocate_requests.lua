--[[ Allocate requests to a process: how many it may have under way, and how many may start now.

  KEYS  quota            hash    process -> "wanted granted until"
        next_request_at  string  when the next request may start
        pause            string  until when no API call is made
        totals           hash    counter -> total
        stored           hash    hour since the epoch -> bytes of pages that expire in that hour
  ARGV  process, wanted (requests that it wants in flight), running (requests that it has in flight),
        limit (requests of all processes), quota_ttl (seconds for which a share is valid),
        rate (starts per second of all processes; '' for any), burst (seconds whose starts may come at once),
        counter_or_amount... (counters since its last call; each followed by its amount;
        `stored:<hour>` counts bytes)

  Returns {requests that it may have in flight, how many may start now, seconds that are left of the pause}.
]]
--- @include lib/clock
--- @include lib/memory
local quota_key, next_request_at_key, pause_key, totals_key, stored_key =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local process, wanted, running, limit, quota_ttl, rate, burst = unpack(ARGV, 1, 7)
wanted, running, limit = tonumber(wanted), tonumber(running), tonumber(limit)

allow_when_full(quota_key)
local t = now()
for i = 8, #ARGV - 1, 2 do
  local counter, amount = ARGV[i], ARGV[i + 1]
  local hour = string.match(counter, '^stored:(%d+)$')
  if not hour then
    redis.call('HINCRBYFLOAT', totals_key, counter, amount)
  elseif redis.call('HINCRBY', stored_key, hour, amount) == tonumber(amount) then
    -- The first bytes of an hour were counted. Delete the hours that are over, or the hash would grow without
    -- end.
    for _, field in ipairs(redis.call('HKEYS', stored_key)) do
      if tonumber(field) < math.floor(t / HOUR) then redis.call('HDEL', stored_key, field) end
    end
  end
end

local taken, others, is_short, granted_before = 0, {}, false, 0
local quotas = redis.call('HGETALL', quota_key)
for i = 1, #quotas, 2 do
  local name = quotas[i]
  local its_wanted, its_granted, its_end = string.match(quotas[i + 1], '^(%d+) (%d+) (%S+)$')
  if name == process then
    granted_before = tonumber(its_granted)
  elseif tonumber(its_end) <= t then
    redis.call('HDEL', quota_key, name)
  else
    taken = taken + its_granted
    others[#others + 1] = tonumber(its_wanted)
    is_short = is_short or tonumber(its_wanted) > tonumber(its_granted)
  end
end

local share = math.min(wanted, math.max(0, limit - taken))
if is_short then
  -- A process wants more than it has. Share equally: if a process wants less than an equal share, the others
  -- get the rest.
  local left, sharing = limit, #others + 1
  table.sort(others)
  for _, its_wanted in ipairs(others) do
    if its_wanted * sharing > left then break end
    left, sharing = left - its_wanted, sharing - 1
  end
  local equal_share = math.floor(left / sharing)
  -- If there are more processes than requests, a process without a request gets one in turn.
  if equal_share < 1 and granted_before < 1 then equal_share = 1 end
  share = math.min(share, equal_share)
end
if wanted > 0 or running > 0 then
  local granted = math.max(share, running)
  local line = string.format('%d %d %s', wanted, granted, format_time(t + quota_ttl))
  redis.call('HSET', quota_key, process, line)
else
  redis.call('HDEL', quota_key, process)
end

local starts = math.max(0, share - running)
if rate ~= '' and starts > 0 then
  rate = tonumber(rate)
  local window = math.max(tonumber(burst), 1 / rate)
  local next_start = math.max(t, tonumber(redis.call('GET', next_request_at_key) or 0))
  -- Without the addition of 1e-6, a rounding error could cost a start.
  starts = math.min(starts, math.floor((t + window - next_start) * rate + 1e-6))
  if starts > 0 then
    local milliseconds = math.ceil(1e3 * (window + starts / rate))
    redis.call('SET', next_request_at_key, format_time(next_start + starts / rate), 'PX', milliseconds)
  end
end
local paused_until = tonumber(redis.call('GET', pause_key) or 0)
return {share, math.max(0, starts), format_time(math.max(0, paused_until - t))}
