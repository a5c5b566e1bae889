-- Writes the wish to end a run down, the first one only, and ends what was certainly not sent.
-- KEYS: run, due  ARGV: run id, prefix, wish, outcome of a part that was not sent
-- Returns {'gone'}, {'ended'} or {'ok', parts left, member ...} for each running part that is to act now.
local run_id, prefix = ARGV[1], ARGV[2]
local r = redis.call('HMGET', KEYS[1], 'parts', 'outcome', 'created')
if not r[1] then return {'gone'} end
if r[2] then return {'ended'} end
though_full(KEYS[1])
local t = now()
local epoch, since = incarnation(prefix, t)
redis.call('HSETNX', KEYS[1], 'wish', ARGV[3])
redis.call('HSETNX', KEYS[1], 'wished', stamp(t))
local left = tonumber(redis.call('HGET', KEYS[1], 'left'))
local out = {}
for n = 0, tonumber(r[1]) - 1 do
  local key, member = part_key(prefix, run_id, n), run_id .. ':' .. n
  local p = redis.call('HMGET', key, 'state', 'lease', 'canceling', 'checked')
  if tonumber(p[2] or 0) <= t then
    if p[1] == 'queued' and is_feared(epoch, since, p[4], r[3]) then
      wake(KEYS[2], key, member, t, 0)
    elseif p[1] == 'queued' then
      redis.call('HSET', key, 'state', 'done', 'outcome', ARGV[4])
      redis.call('HINCRBY', key, 'fence', 1)
      leave_place(prefix, KEYS[2], key, member, t)
      redis.call('ZREM', KEYS[2], member)
      left = redis.call('HINCRBY', KEYS[1], 'left', -1)
      if left == 0 then redis.call('ZADD', KEYS[2], stamp(t), run_id .. ':run') end
    elseif p[1] == 'running' and not p[3] then
      wake(KEYS[2], key, member, t, 0)
      out[#out + 1] = member
    elseif p[1] == 'collecting' then
      wake(KEYS[2], key, member, t, 0)
    end
  end
end
tell(prefix, run_id, t, NEWS)
return {'ok', left, unpack(out)}
