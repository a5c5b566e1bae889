-- Takes a part for one step: lease, fence and attempt in one. Sent twice with one token, it answers the same.
-- KEYS: part, run, due, rung, pause
-- ARGV: member, part number, token, lease seconds, states that the step serves (space around each)
-- Returns {'ok', now, part fields, run fields} or {reason}: gone, done elsewhere, held, early, paused.
local member, n, token, seconds = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local p = redis.call('HMGET', KEYS[1], 'state', 'lease', 'token', 'at', 'fence')
redis.call('ZREM', KEYS[4], member)
if not p[1] then return {'gone'} end
local t = now()
local mine = p[3] == token
if not mine then
  if not string.find(ARGV[5], ' ' .. p[1] .. ' ', 1, true) then return {'elsewhere'} end
  if tonumber(p[2] or 0) > t then return {'held'} end
  if tonumber(p[4] or 0) > t + 0.01 then return {'early'} end
  local pause = tonumber(redis.call('GET', KEYS[5]) or 0)
  -- A run that is to end is let through: somebody waits for that.
  if pause > t and redis.call('HEXISTS', KEYS[2], 'wish') == 0 then
    wake(KEYS[3], KEYS[1], member, pause, 0)
    return {'paused'}
  end
  redis.call('HSET', KEYS[1], 'token', token, 'lease', stamp(t + seconds), 'rings', 0)
  redis.call('HINCRBY', KEYS[1], 'fence', 1)
  redis.call('HINCRBY', KEYS[1], 'attempts', 1)
  redis.call('ZADD', KEYS[3], stamp(t + seconds), member)
end
if redis.call('HEXISTS', KEYS[2], 'wish') == 1 then redis.call('HSETNX', KEYS[1], 'wish_seen', stamp(t)) end
local run = redis.call('HMGET', KEYS[2], 'spec', 't:' .. n, 'wish', 'stop', 'max_wait')
return {'ok', stamp(t), redis.call('HGETALL', KEYS[1]), run}
