--[[ End a part, unless its claim is stale.

  KEYS  part  hash  the record of the part
        run   hash  the record of its run
        due   zset  part id -> due time of its next step
  ARGV  part_id, fence, outcome, error_text ("" for none),
        skip_unsent ("1" to hold back the parts of the run that were not sent),
        purchase_status (the word of the ledger for the purchase; "" to leave it), prefix,
        redispatch_after (seconds),
        retention (seconds that the API keeps a job: a purchase in doubt counts for this time),
        is_fetched ("1" if the caller has fetched what it could, in state `fetching`),
        kept (positions whose tasks the caller has stored or holds, or has found so; a space between)

  Returns {'ok', parts left}, {'stale'}, or, for a part that does not end:
  {'bought'}: a delivery has proven a purchase that the caller takes for none. The part is due for a search.
  {'lost'}: the store lost what the caller has written, as in a failover. The part is due for the same work.
]]
--- @include lib/changes
--- @include lib/clock
--- @include lib/due
--- @include lib/finish
--- @include lib/keys
--- @include lib/memory
--- @include lib/records
local part_key, run_key, due_key = KEYS[1], KEYS[2], KEYS[3]
local part_id, fence, outcome, error_text, skip_unsent, purchase_status, prefix, redispatch_after,
  retention, is_fetched, kept = unpack(ARGV)

-- Return whether the store lacks a page that the caller has kept. A new primary may lack the last writes of
-- the old one. Without the change to `fetching`, it also lacks the record of the job.
local function has_lost_writes(state)
  if is_fetched == '' then return false end
  if state ~= 'fetching' then return true end
  local contents_key = make_key(prefix, 'contents', part_id)
  local provisional_key = make_key(prefix, 'provisional', part_id)
  for position in string.gmatch(kept, '%d+') do
    if redis.call('HEXISTS', contents_key, position) == 0
      and redis.call('HEXISTS', provisional_key, position) == 0 then
      return true
    end
  end
  return false
end

-- Let the part go without an end, and make it due at once.
local function let_go()
  local t = now()
  redis.call('HDEL', part_key, 'lease', 'token', 'attempts', 'breaker')
  make_due(due_key, part_key, part_id, t, 0)
  mark_changed(prefix, string.match(part_id, '^(.*):'), t, CHANGE_DELAY)
end

local part = read_fields(part_key, 'fence', 'state', 'proven')
if part.fence ~= fence then return {'stale'} end
if part.state == 'done' then return {'ok', redis.call('HGET', run_key, 'left')} end
allow_when_full(part_key)
local is_unbought = part.state == 'queued' or purchase_status == 'void' or purchase_status == 'not_found'
if part.proven and is_unbought then
  -- If the part ended now, nobody would fetch the pages, and a retry of the run would buy them again.
  if part.state == 'submitting' then redis.call('HSET', part_key, 'state', 'reconciling') end
  let_go()
  return {'bought'}
end
if has_lost_writes(part.state) then
  -- The pages are paid for, and the API still has them. The next turn fetches what is not stored.
  let_go()
  return {'lost'}
end
return {'ok', finish_part(prefix, part_key, run_key, due_key, part_id, now(), {
  outcome = outcome,
  error_text = error_text,
  skip_unsent = skip_unsent,
  purchase_status = purchase_status,
  redispatch_after = redispatch_after,
  retention = retention,
})}
