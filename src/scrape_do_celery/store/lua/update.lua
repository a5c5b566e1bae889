-- A fenced change of a part.
-- KEYS: part, run, due, job, owner ('' where no job is taken over)
-- ARGV: member, fence, seconds until the next look ('' to keep the lease), seconds that the caller has to ring by
--       itself, packed job ('' for none), '1' where the step knew of a wish,
--       then field, value ...
-- Returns 'ok', 'stale' or 'owned' (another part owns that job).
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[2] then return 'stale' end
if KEYS[5] ~= '' then
  local owner = redis.call('GET', KEYS[5])
  if owner and owner ~= ARGV[1] then return 'owned' end
  redis.call('SET', KEYS[5], ARGV[1])
  redis.call('HSET', KEYS[1], 'since', stamp(now()))
end
for i = 7, #ARGV - 1, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
if ARGV[5] ~= '' then redis.call('SET', KEYS[4], ARGV[5]) end
if ARGV[3] ~= '' then
  local wait, ring = tonumber(ARGV[3]), tonumber(ARGV[4])
  local p = redis.call('HMGET', KEYS[1], 'state', 'canceling')
  if ARGV[6] == '' and not p[2] and (p[1] == 'running' or p[1] == 'queued' or p[1] == 'collecting') and redis.call('HEXISTS', KEYS[2], 'wish') == 1 then
    wait, ring = 0, 0
  end
  redis.call('HSET', KEYS[1], 'lease', 0, 'token', '', 'attempts', 0)
  wake(KEYS[3], KEYS[1], ARGV[1], now() + wait, ring)
end
return 'ok'
