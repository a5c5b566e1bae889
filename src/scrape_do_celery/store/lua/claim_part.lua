--[[ Claim a part for one step: write lease, fence and attempt at once. A command that is sent twice with one
  token gets the same answer twice.

  KEYS  part        hash    the record of the part
        run         hash    the record of its run
        due         zset    part id -> due time of its next step
        dispatched  zset    part id -> when its step message counts as lost
        pause       string  until when the API is left alone
        breaker     hash    since when the token is refused, and time of the next try
  ARGV  part_id, n (number of the part), token, lease_seconds,
        states (states that the step serves; a space around each), account,
        auth_grace (seconds for which a breaker holds runs back), probe_min,
        probe_max (seconds between its probes),
        max_claims (claims without progress after which the part is ended; "" for no limit),
        poison_error (error of a part that is ended so),
        skip_unsent ("1" to hold back the unsent parts of its run then), prefix, redispatch_after (seconds),
        retention (seconds for which a purchase in doubt counts),
        key_names (encryption keys that the step has; the key that it encrypts with comes first),
        is_isolated ("1" if the process works on nothing else),
        outlived_token (token of an earlier claim whose step failed while its process lived; "" for none)

  Returns {'ok', now, part fields, run fields, breaker verdict, watched clock}, {'poisoned', parts left}, or
  a refusal: {'gone'}, {'elsewhere'} (another step serves this state), {'held'} (another step has the lease),
  {'early'}, {'paused'}, {'suspect'} (the last claim died: only a process that works on nothing else may
  claim the part),
  {'needs_account', the account of the part}, {'needs_key', the name of a key that the step lacks}, or
  {'newer', the version of the run's record}. The breaker verdict is '' (closed), 'probe' (this claim tries
  the token), 'over' (the breaker was open for too long) or 'other_account' (the part belongs to another
  account, and must end).
]]
--- @include lib/breaker
--- @include lib/clock
--- @include lib/due
--- @include lib/encryption
--- @include lib/epoch
--- @include lib/finish
--- @include lib/records
--- @include lib/watched
local part_key, run_key, due_key, dispatched_key, pause_key, breaker_key =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local part_id, n, token, lease_seconds, states, account, auth_grace, probe_min, probe_max, max_claims,
  poison_error, skip_unsent, prefix, redispatch_after, retention, key_names, is_isolated,
  outlived_token = unpack(ARGV)

local part = read_fields(part_key, 'state', 'lease', 'token', 'due_at', 'fence', 'account', 'breaker',
  'attempts', 'refused', 'purchases', 'checked_epoch', 'held_by', 'proven')
redis.call('ZREM', dispatched_key, part_id)
if not part.state then return {'gone'} end
local t = now()
local least, most = read_watched(prefix, t)

-- The step message is lost to the steps that can take the part: let the dispatcher publish the next one soon.
local function redispatch_soon()
  redis.call('ZADD', due_key, 'XX', 'LT', format_time(t + redispatch_after), part_id)
end

-- Give the step message back for a step that can take the part. If no step can, messages grow rarer.
local function give_back()
  if tonumber(redis.call('HGET', part_key, 'dispatches') or 0) <= 8 then redispatch_soon() end
end

local verdict = part.breaker or ''
if part.token ~= token then
  local lease = tonumber(part.lease or 0)
  if not string.find(states, ' ' .. part.state .. ' ', 1, true) then return {'elsewhere'} end
  if lease > least then return {'held'} end
  if tonumber(part.due_at or 0) > t + 0.01 then return {'early'} end
  local newer = newer_version(run_key)
  if newer then
    give_back()
    return {'newer', newer}
  end
  local missing = missing_key(run_key, key_names)
  if missing then
    -- The step could read nothing of the part, and would encrypt its writes with a key that other steps lack.
    give_back()
    return {'needs_key', missing}
  end
  verdict = ''
  -- A run with a stop request is let through: somebody waits for its end.
  local is_urgent = redis.call('HEXISTS', run_key, 'stop_reason') == 1
  -- A refused token bought nothing. If that was the only purchase of the part, the part goes on with any
  -- token. After a 429, only the list of the same account can show that nothing was bought.
  local has_one_purchase = tonumber(part.purchases or 0) <= 1
  local is_unbound = part.refused == 'token' and part.state == 'reconciling' and has_one_purchase
  local needs_account = part.account and part.account ~= account and not is_unbound
  if needs_account and not is_urgent then
    redispatch_soon()
    return {'needs_account', part.account}
  end
  local paused_until = tonumber(redis.call('GET', pause_key) or 0)
  if paused_until > t and not is_urgent then
    make_due(due_key, part_key, part_id, paused_until, 0)
    return {'paused'}
  end
  local claim_limit = tonumber(max_claims ~= '' and max_claims or 'inf')
  -- A step that ends gives its lease back. If the lease ran out instead, the process died or lost its turn.
  -- The attempt is not counted yet: parts that were claimed beside the guilty part must not pay for it a
  -- second time. A part that has used up its attempts is ended without work.
  local has_died = lease > 0 and (outlived_token == '' or part.token ~= outlived_token)
  if has_died and is_isolated == '' and tonumber(part.attempts or 0) < claim_limit then return {'suspect'} end
  local breaker = read_fields(breaker_key, 'since', 'next', 'watched')
  if needs_account then
    verdict = 'other_account'
  elseif breaker.since and least - (breaker.watched or breaker.since) > tonumber(auth_grace) then
    verdict = 'over'
  elseif breaker.since and tonumber(breaker.next) <= t then
    local probe_delay = math.min(tonumber(probe_max), math.max(tonumber(probe_min), t - breaker.since))
    redis.call('HSET', breaker_key, 'next', format_time(t + probe_delay))
    verdict = 'probe'
  elseif breaker.since and not is_urgent then
    local open_until = breaker.since + auth_grace + 0.1
    make_due(due_key, part_key, part_id, math.min(tonumber(breaker.next), open_until), 0)
    -- A part without a purchase has no account. Readers of its status find the refusal by this one.
    redis.call('HSET', part_key, 'held_by', account)
    return {'paused'}
  end
  if verdict == 'probe' or verdict == 'over' then keep_breaker(breaker_key, auth_grace) end
  -- Readers of the status must not take the refusal of an earlier token for one of this step's.
  local held_by = is_unbound and part.account and part.account ~= account and account or ''
  if (part.held_by or '') ~= held_by then set_or_clear(part_key, 'held_by', held_by) end
  -- The clock is the least value of a fence: a store that lost its last writes must give no fence out twice.
  local fence = math.max(tonumber(part.fence) + 1, math.floor(t * 1e3))
  redis.call('HSET', part_key, 'token', token, 'lease', format_time(most + lease_seconds), 'dispatches', 0,
    'breaker', verdict, 'fence', string.format('%.0f', fence))
  -- The error of a poisoned part is encrypted too.
  note_encryption_key(prefix, run_key, string.match(key_names, '^%S*'), t)
  -- The attempt is counted here, not in the step: a process that dies of the claim itself never reaches the
  -- step.
  if redis.call('HINCRBY', part_key, 'attempts', 1) > claim_limit then
    local run = redis.call('HMGET', run_key, 'created', 'epoch')
    local epoch, since = store_epoch(prefix, t)
    local maybe_sent = part.proven or may_have_been_sent(epoch, since, part.checked_epoch, run)
    if part.state == 'queued' and maybe_sent then
      -- Count the purchase whose intent the store may have lost: a retry of the run must not buy again.
      redis.call('HINCRBY', part_key, 'purchases', 1)
      redis.call('HSET', part_key, 'intent_lost', 1)
    end
    return {'poisoned', finish_part(prefix, part_key, run_key, due_key, part_id, t, {
      outcome = 'poisoned',
      error_text = poison_error,
      skip_unsent = skip_unsent,
      purchase_status = is_unresolved(part.state) and 'in_doubt' or '',
      redispatch_after = redispatch_after,
      retention = retention,
    })}
  end
  stop_list_polling(part_key, part_id)
  redis.call('ZADD', due_key, format_time(t + lease_seconds), part_id)
end
if redis.call('HEXISTS', run_key, 'stop_reason') == 1 then
  redis.call('HSETNX', part_key, 'stop_seen_at', format_time(most))
end
-- `Claim.from_reply` reads these by their positions.
local run = redis.call('HMGET', run_key, 'spec', 'targets:' .. n, 'stop_reason', 'skip_unsent',
  'max_wait', 'trace', 'label', 'summary', 'webhook')
return {'ok', format_time(t), redis.call('HGETALL', part_key), run, verdict, format_time(least)}
