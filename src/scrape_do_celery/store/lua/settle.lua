-- Ends a part. KEYS: part, run, due
-- ARGV: member, fence, outcome, error ('' for none), run id, prefix, '1' to hold back parts that were not sent, ring,
--       what the ledger is to say of the purchase ('' for what it says), '1' where nobody knows whether there was one,
--       seconds that such a doubt is remembered
-- Returns {'ok', parts left} or {'stale'}.
local p = redis.call('HMGET', KEYS[1], 'fence', 'state')
if p[1] ~= ARGV[2] then return {'stale'} end
if p[2] == 'done' then return {'ok', redis.call('HGET', KEYS[2], 'left')} end
local t = now()
redis.call('HSET', KEYS[1], 'state', 'done', 'outcome', ARGV[3], 'lease', 0, 'token', '')
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[4]) end
if ARGV[9] ~= '' then redis.call('HSET', KEYS[1], 'booked', ARGV[9]) end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', ARGV[6] .. ':life', ARGV[1])
book(ARGV[6], KEYS[1], ARGV[1])
if is_unresolved(p[2]) then
  local account = redis.call('HGET', KEYS[2], 'account') or ''
  if ARGV[10] == '1' then
    redis.call('SET', ARGV[6] .. ':doubt:' .. account .. ':' .. redis.call('HGET', KEYS[1], 'fp'), ARGV[1], 'EX', ARGV[11])
  end
  release(ARGV[6], KEYS[3], KEYS[1], ARGV[1], account, t)
end
if ARGV[7] == '1' then
  redis.call('HSET', KEYS[2], 'stop', 1)
  for n = 0, tonumber(redis.call('HGET', KEYS[2], 'parts')) - 1 do
    local key = part_key(ARGV[6], ARGV[5], n)
    local other = redis.call('HMGET', key, 'state', 'lease')
    if other[1] == 'queued' and tonumber(other[2] or 0) <= t then
      wake(KEYS[3], key, ARGV[5] .. ':' .. n, t, 0)
    end
  end
end
local left = redis.call('HINCRBY', KEYS[2], 'left', -1)
if left == 0 then
  redis.call('HSET', KEYS[2], 'rings', 0)
  redis.call('ZADD', KEYS[3], stamp(t + ARGV[8]), ARGV[5] .. ':run')
end
return {'ok', left}
