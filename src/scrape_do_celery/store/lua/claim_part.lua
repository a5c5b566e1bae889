-- Takes a part for one step: lease, fence and attempt in one. Sent twice with one token, it answers the same.
-- KEYS: part, run, due, dispatched, pause, breaker
-- ARGV: part id, part number, token, lease seconds, states that the step serves (space around each), account,
--       seconds for which a breaker holds runs back, shortest and longest time between its probes,
--       claims without progress after which the part is ended ('' for never), the error that it ends with,
--       '1' to hold back parts that were not sent then, prefix, redispatch delay, seconds a purchase in doubt counts,
--       names of the encryption keys that the step has, the one that it encrypts with ahead,
--       '1' where the process works on nothing else, token of an earlier claim whose step that process outlived ('' for none)
-- Returns {'ok', now, part fields, run fields, breaker}, {'poisoned', parts left} or {reason}: gone, done elsewhere,
-- held, early, paused, suspect (its last claim died: it is claimed by a process that works on nothing else),
-- {'needs_account', the part's account}, or {'needs_key', the name of a key that the step lacks}.
-- `breaker` is '' (closed), 'probe' (this claim is to try the account), 'over' (it was open for too long) or
-- 'other_account' (the part belongs to another account, and must end).
--- @include lib/clock
--- @include lib/due
--- @include lib/encryption
--- @include lib/finish
--- @include lib/records
local part_id, n, token, seconds = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local p = redis.call('HMGET', KEYS[1], 'state', 'lease', 'token', 'due_at', 'fence', 'account', 'breaker', 'attempts', 'refused', 'purchases')
redis.call('ZREM', KEYS[4], part_id)
if not p[1] then return {'gone'} end
local t = now()
local mine, breaker = p[3] == token, p[7] or ''
if not mine then
  if not string.find(ARGV[5], ' ' .. p[1] .. ' ', 1, true) then return {'elsewhere'} end
  if tonumber(p[2] or 0) > t then return {'held'} end
  if tonumber(p[4] or 0) > t + 0.01 then return {'early'} end
  local missing = missing_key(KEYS[2], ARGV[16])
  if missing then
    -- Nothing of it could be read, and what is written would be encrypted with a key that others lack. The first step message is
    -- given back to those who may have the key; when nobody has it, step messages grow rarer.
    if tonumber(redis.call('HGET', KEYS[1], 'dispatches') or 0) <= 1 then
      redis.call('ZADD', KEYS[3], 'XX', 'LT', format_time(t + ARGV[14]), part_id)
    end
    return {'needs_key', missing}
  end
  breaker = ''
  -- A run that is to end is let through: somebody waits for that.
  local urgent = redis.call('HEXISTS', KEYS[2], 'stop_reason') == 1
  -- A refused token bought nothing: if it was the part's only purchase, the part goes on with whatever token comes next.
  -- After a 429, only the list of the same account can show that nothing was bought.
  local is_unbound = p[9] == 'token' and p[1] == 'reconciling' and tonumber(p[10] or 0) <= 1
  local needs_account = p[6] and p[6] ~= ARGV[6] and not is_unbound
  if needs_account and not urgent then
    -- This step message is lost to those who can take it.
    redis.call('ZADD', KEYS[3], 'XX', 'LT', format_time(t + ARGV[14]), part_id)
    return {'needs_account', p[6]}
  end
  local pause = tonumber(redis.call('GET', KEYS[5]) or 0)
  if pause > t and not urgent then
    make_due(KEYS[3], KEYS[1], part_id, pause, 0)
    return {'paused'}
  end
  local max_claims = tonumber(ARGV[10] ~= '' and ARGV[10] or 'inf')
  -- A lease that ran out was not let go: its process died, or lost its place. Nothing is counted yet: who was beside the
  -- guilty part must not pay for it a second time. A part that has used its attempts up is ended without work.
  local died = tonumber(p[2] or 0) > 0 and (ARGV[18] == '' or p[3] ~= ARGV[18])
  if died and ARGV[17] == '' and tonumber(p[8] or 0) < max_claims then return {'suspect'} end
  local b = redis.call('HMGET', KEYS[6], 'since', 'next')
  if needs_account then
    breaker = 'other_account'
  elseif b[1] and t - b[1] > tonumber(ARGV[7]) then
    breaker = 'over'
  elseif b[1] and tonumber(b[2]) <= t then
    local pause = math.min(tonumber(ARGV[9]), math.max(tonumber(ARGV[8]), t - b[1]))
    redis.call('HSET', KEYS[6], 'next', format_time(t + pause))
    breaker = 'probe'
  elseif b[1] and not urgent then
    make_due(KEYS[3], KEYS[1], part_id, math.min(tonumber(b[2]), b[1] + ARGV[7] + 0.1), 0)
    return {'paused'}
  end
  -- By the clock, not by one: a store that lost its last writes must not give a fence out twice.
  local fence = math.max(tonumber(p[5]) + 1, math.floor(t * 1000))
  redis.call('HSET', KEYS[1], 'token', token, 'lease', format_time(t + seconds), 'dispatches', 0, 'breaker', breaker,
    'fence', string.format('%.0f', fence))
  -- Here, and not in the step: what dies of the claim itself would never come to it.
  if redis.call('HINCRBY', KEYS[1], 'attempts', 1) > max_claims then
    local purchase_status = is_unresolved(p[1]) and 'in_doubt' or ''
    return {'poisoned', finish_part(KEYS, part_id, t, 'poisoned', ARGV[11], ARGV[12], purchase_status, {ARGV[13], ARGV[14], ARGV[15]})}
  end
  stop_list_polling(KEYS[1], part_id)
  redis.call('ZADD', KEYS[3], format_time(t + seconds), part_id)
end
note_encryption_key(ARGV[13], KEYS[2], string.match(ARGV[16], '^%S*'), t)
if redis.call('HEXISTS', KEYS[2], 'stop_reason') == 1 then redis.call('HSETNX', KEYS[1], 'stop_seen_at', format_time(t)) end
local run = redis.call('HMGET', KEYS[2], 'spec', 'targets:' .. n, 'stop_reason', 'skip_unsent', 'max_wait', 'early', 'trace')
return {'ok', format_time(t), redis.call('HGETALL', KEYS[1]), run, breaker}
