-- Put before every script: the one clock, and names of keys that a script has to find by itself.
local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

local function stamp(t) return string.format('%.4f', t) end

local function part_key(prefix, run_id, n) return prefix .. ':part:' .. run_id .. ':' .. n end

-- Frees all that an ended run holds. A mark of it stays for a week: a message that comes again must not buy again.
local function free(due, run, prefix, run_id, parts, idem)
  for n = 0, tonumber(parts) - 1 do
    local key, suffix = part_key(prefix, run_id, n), run_id .. ':' .. n
    local job = redis.call('HGET', key, 'job')
    if job then redis.call('EXPIRE', prefix .. ':owner:' .. job, 604800) end
    redis.call('DEL', key, prefix .. ':job:' .. suffix, prefix .. ':contents:' .. suffix)
  end
  if idem then redis.call('DEL', idem) end
  redis.call('ZREM', due, run_id .. ':run')
  local marks = {run}
  for _, field in ipairs(redis.call('HKEYS', run)) do
    local waiter = string.match(field, '^[wd]:(.*)$')
    if waiter and waiter ~= run_id then marks[#marks + 1] = prefix .. ':run:' .. waiter end
  end
  redis.call('DEL', run)
  for _, key in ipairs(marks) do
    if redis.call('EXISTS', key) == 0 then
      redis.call('HSET', key, 'forgotten', 1)
      redis.call('EXPIRE', key, 604800)
    end
  end
end

-- Marks a member to be looked at: the nominal time in its record, and a bell by the ticker `ring` seconds later at the
-- latest, which leaves the caller that long to ring by itself.
local function wake(due, part, member, t, ring)
  redis.call('HSET', part, 'at', stamp(t), 'rings', 0)
  redis.call('ZADD', due, stamp(t + ring), member)
end
