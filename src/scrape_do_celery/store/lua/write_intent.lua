-- Write the intent to buy, before the `POST`.
-- KEYS: part, run, due
-- ARGV: part id, fence, nonce, lease seconds, prefix, account, estimated credits, marker ('' for none),
--       '1' where a restart of the store, as it is now, loses no write, jobs that may run at a time ('' for any number),
--       seconds after which a part that waits for a slot checks for itself,
--       strict digests of the targets, coarse digests in the same order, and their digests by earlier versions
--       (spaces between)
-- Returns {'ok', now}, {'stale'}, {'stop_reason', which}, {'skip_unsent'}, {'targets_locked', part that buys them now},
-- {'no_slot'}: other jobs run, {'durability_pending'}: the store has just ceased to be durable, or {'maybe_sent'}: an
-- earlier intent may have been lost with the store's last writes, so the part is in doubt.
--- @include lib/clock
--- @include lib/due
--- @include lib/epoch
--- @include lib/ledger
--- @include lib/purchases
--- @include lib/records
--- @include lib/slots
local part_id, prefix, account = ARGV[1], ARGV[5], ARGV[6]
local strict, coarse, digests = ARGV[12], ARGV[13], ARGV[12] .. ' ' .. ARGV[14]
local p = redis.call('HMGET', KEYS[1], 'fence', 'state', 'nonce', 'fingerprint', 'checked_epoch')
if p[1] ~= ARGV[2] then return {'stale'} end
local t = now()
if p[2] == 'submitting' and p[3] == ARGV[3] then return {'ok', format_time(t)} end
if p[2] ~= 'queued' then return {'stale'} end
local r = redis.call('HMGET', KEYS[2], 'created', 'epoch', 'stop_reason', 'skip_unsent')
local epoch, since, settled = store_epoch(prefix, t, ARGV[9])
local maybe_sent = may_have_been_sent(epoch, since, p[5], r)
if r[3] and not maybe_sent then return {'stop_reason', r[3]} end
if r[4] and not maybe_sent then return {'skip_unsent'} end
if not settled then return {'durability_pending'} end
local function is_strict(digest) return string.find(' ' .. strict .. ' ', ' ' .. digest .. ' ', 1, true) end
-- The digest of an earlier version is a lock only against parts that a worker of that version buys: it takes targets for
-- equal that differ in their fragments.
local function lock_holder(digest)
  local holder = redis.call('GET', prefix .. ':target_lock:' .. account .. ':' .. digest)
  if not holder or holder == part_id or not is_unresolved(state_of(prefix, holder)) then return nil end
  local run_id, n = string.match(holder, '^(.*):([^:]*)$')
  return holder, is_strict(digest) or redis.call('HEXISTS', make_part_key(prefix, run_id, n), 'locks') == 0
end
-- fingerprint lock: begin
for digest in string.gmatch(digests, '%S+') do
  local holder, blocks = lock_holder(digest)
  if holder and blocks then
    local waiters = prefix .. ':target_waiters:' .. account .. ':' .. digest
    redis.call('ZADD', waiters, 'NX', format_time(t), part_id)
    redis.call('EXPIRE', waiters, 86400)
    return {'targets_locked', holder}
  end
end
-- fingerprint lock: end
if ARGV[10] ~= '' then
  if maybe_sent then
    -- What may have been bought already is looked for, whatever runs.
    grant_slot(prefix, KEYS[1], part_id, account, t)
  elseif not acquire_slot(prefix, KEYS[3], KEYS[1], part_id, account, tonumber(ARGV[10]), t) then
    -- Let go here and not by the step: between the two its turn might come, and be forgotten.
    redis.call('HDEL', KEYS[1], 'lease', 'token', 'attempts')
    make_due(KEYS[3], KEYS[1], part_id, t, tonumber(ARGV[11]))
    redis.call('HSET', KEYS[1], 'due_at', format_time(t + ARGV[11]))
    return {'no_slot'}
  end
end
for digest in string.gmatch(digests, '%S+') do
  if is_strict(digest) or not lock_holder(digest) then
    redis.call('SET', prefix .. ':target_lock:' .. account .. ':' .. digest, part_id)
  end
end
redis.call('HINCRBY', KEYS[1], 'purchases', 1)
-- A purchase that may have been made before the store lost its writes has no known place in the order: nothing is older.
local order = maybe_sent and 0 or next_in_order(prefix)
redis.call('HSETNX', KEYS[1], 'first_order', order)
redis.call('HSET', KEYS[1], 'account', account, 'purchase_status', 'open', 'estimate', ARGV[7], 'locks', digests,
  'strict', strict, 'coarse', coarse, 'order', order)
register_unresolved(prefix, KEYS[1], part_id, account, '+inf', t)
set_or_clear(KEYS[1], 'marker', ARGV[8])
-- What an earlier purchase met says nothing about this one.
redis.call('HDEL', KEYS[1], 'attempts', 'refused', 'submit_error', 'in_doubt_since')
if maybe_sent then
  redis.call('HSET', KEYS[1], 'state', 'reconciling', 'intent', format_time(since), 'first_intent', r[1], 'intent_lost', 1,
    'checked_epoch', epoch, 'polls', 0, 'lease', 0, 'token', '')
  -- The ledger has no line of what was perhaps never sent, until it is found, or is given up as in doubt.
  make_due(KEYS[3], KEYS[1], part_id, t, 0)
  return {'maybe_sent'}
end
redis.call('HSET', KEYS[1], 'state', 'submitting', 'intent', format_time(t), 'nonce', ARGV[3], 'lease', format_time(t + ARGV[4]))
redis.call('HSETNX', KEYS[1], 'first_intent', format_time(t))
redis.call('HDEL', KEYS[1], 'intent_lost')
-- Where no restart can be noticed, the next try looks again.
if epoch == 'unknown' then redis.call('HDEL', KEYS[1], 'checked_epoch') end
redis.call('ZADD', KEYS[3], format_time(t + ARGV[4]), part_id)
write_ledger(prefix, KEYS[1], part_id)
return {'ok', format_time(t)}
