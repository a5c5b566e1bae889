-- A fenced change of a part.
-- KEYS: part, run, due, job, owner ('' where no job is taken over)
-- ARGV: part id, fence, seconds until the next look ('' to keep the lease), seconds that the caller has to publish by
--       itself, packed job ('' for none), '1' where the step knew of a stop request, prefix,
--       seconds that the API keeps a job, then field, value ...
-- Returns 'ok', 'stale' or 'owned' (another part owns that job).
--- @include lib/changes
--- @include lib/clock
--- @include lib/due
--- @include lib/ledger
--- @include lib/memory
--- @include lib/purchases
--- @include lib/records
--- @include lib/slots
local part_id, prefix = ARGV[1], ARGV[7]
local before = redis.call('HMGET', KEYS[1], 'fence', 'state', 'intent')
if before[1] ~= ARGV[2] then return 'stale' end
allow_when_full(KEYS[1])
local t = now()
if KEYS[5] ~= '' then
  local owner = redis.call('GET', KEYS[5])
  if owner and owner ~= part_id then return 'owned' end
  redis.call('SET', KEYS[5], part_id)
  redis.call('HSET', KEYS[1], 'bought_at', format_time(t))
  redis.call('ZADD', prefix .. ':content_expiry', format_time((before[3] or t) + ARGV[8]), part_id)
end
local buyer
for i = 9, #ARGV - 1, 2 do
  if ARGV[i] == 'account' then
    buyer = ARGV[i + 1]
  elseif ARGV[i] ~= 'purchase_status' or is_unresolved(before[2]) then
    -- Sent twice, it must not book what has come of it since.
    set_or_clear(KEYS[1], ARGV[i], ARGV[i + 1])
  end
  -- Until now the `POST` was under way: what the API makes of it may show from now on.
  if ARGV[i] == 'submit_error' then redis.call('HSET', KEYS[1], 'in_doubt_since', format_time(t)) end
end
if ARGV[5] ~= '' then redis.call('SET', KEYS[4], ARGV[5]) end
local p = redis.call('HMGET', KEYS[1], 'state', 'cancel_sent_at')
if ARGV[5] ~= '' or p[1] ~= before[2] then mark_changed(prefix, string.match(part_id, '^(.*):'), t, CHANGE_DELAY) end
if p[1] == 'fetching' then release_slot(prefix, KEYS[3], KEYS[1], part_id, t) end
if is_unresolved(before[2]) and not is_unresolved(p[1]) then
  close_submit(prefix, KEYS[3], KEYS[1], part_id, ARGV[8], t)
  write_ledger(prefix, KEYS[1], part_id)
  redis.call('HDEL', KEYS[1], 'nonce')
end
-- Not before: the locks of the purchase are those of the account that it was tried with.
if buyer then set_or_clear(KEYS[1], 'account', buyer) end
if ARGV[3] ~= '' then
  local wait, redispatch_after = tonumber(ARGV[3]), tonumber(ARGV[4])
  if ARGV[6] == '' and not p[2] and (p[1] == 'running' or p[1] == 'queued' or p[1] == 'fetching') and redis.call('HEXISTS', KEYS[2], 'stop_reason') == 1 then
    wait, redispatch_after = 0, 0
  end
  redis.call('HDEL', KEYS[1], 'lease', 'token', 'attempts', 'breaker')
  local own = redis.call('HMGET', KEYS[1], 'account', 'unlisted')
  local account = own[1]
  -- A run whose tasks are fetched early is looked at by itself: the list does not show them.
  -- Nor does the list tell a job that is to be stopped from any other.
  local r = redis.call('HMGET', KEYS[2], 'early', 'stop_reason')
  -- Nor does the list show the tasks of a job whose status word is unknown.
  local by_list = account and not own[2] and not r[1] and not r[2]
  if by_list and wait > 0 and p[1] == 'running' and not p[2] then
    poll_by_list(prefix, account, KEYS[3], KEYS[1], part_id, t + wait)
  else
    make_due(KEYS[3], KEYS[1], part_id, t + wait, redispatch_after)
  end
end
return 'ok'
