--[[ End a part, unless its claim is stale.

  KEYS  part  hash  the record of the part
        run   hash  the record of its run
        due   zset  part id -> due time of its next step
  ARGV  part_id, fence, outcome, error_text ("" for none),
        skip_unsent ("1" to hold back the parts of the run that were not sent),
        purchase_status (the word of the ledger for the purchase; "" to leave it), prefix,
        redispatch_after (seconds),
        retention (seconds that the API keeps a job: a purchase in doubt counts for this time)

  Returns {'ok', parts left}, {'stale'}, or {'bought'}: a delivery has proven a purchase that the caller takes
  for none. The part does not end, and is due for a search.
]]
--- @include lib/changes
--- @include lib/clock
--- @include lib/due
--- @include lib/finish
--- @include lib/memory
--- @include lib/records
local part_key, run_key, due_key = KEYS[1], KEYS[2], KEYS[3]
local part_id, fence, outcome, error_text, skip_unsent, purchase_status, prefix, redispatch_after,
  retention = unpack(ARGV)

local part = read_fields(part_key, 'fence', 'state', 'proven')
if part.fence ~= fence then return {'stale'} end
if part.state == 'done' then return {'ok', redis.call('HGET', run_key, 'left')} end
allow_when_full(part_key)
local is_unbought = part.state == 'queued' or purchase_status == 'void' or purchase_status == 'not_found'
if part.proven and is_unbought then
  -- If the part ended now, nobody would fetch the pages, and a retry of the run would buy them again.
  local t = now()
  if part.state == 'submitting' then redis.call('HSET', part_key, 'state', 'reconciling') end
  redis.call('HDEL', part_key, 'lease', 'token', 'attempts', 'breaker')
  make_due(due_key, part_key, part_id, t, 0)
  mark_changed(prefix, string.match(part_id, '^(.*):'), t, CHANGE_DELAY)
  return {'bought'}
end
return {'ok', finish_part(prefix, part_key, run_key, due_key, part_id, now(), {
  outcome = outcome,
  error_text = error_text,
  skip_unsent = skip_unsent,
  purchase_status = purchase_status,
  redispatch_after = redispatch_after,
  retention = retention,
})}
