-- Put before every script: the one clock, and names of keys that a script has to find by itself.
local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

local function stamp(t) return string.format('%.4f', t) end

local function part_key(prefix, run_id, n) return prefix .. ':part:' .. run_id .. ':' .. n end

-- Marks a member to be looked at: the nominal time in its record, and a bell by the ticker `ring` seconds later at the
-- latest, which leaves the caller that long to ring by itself.
local function wake(due, part, member, t, ring)
  redis.call('HSET', part, 'at', stamp(t), 'rings', 0)
  redis.call('ZADD', due, stamp(t + ring), member)
end
