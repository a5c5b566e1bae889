--[[ Change fields of a part, unless its claim is stale. With `look_after`, let the part go.

  KEYS  part   hash    the record of the part
        run    hash    the record of its run
        due    zset    part id -> due time of its next step
        job    string  the last `JobDetails` of the part, packed
        owner  string  only if the part takes a job over: the part that owns the job
  ARGV  part_id, fence, look_after (seconds until the next look; "" to keep the lease),
        redispatch_after (seconds that the caller has to publish by itself), packed_job ("" for none),
        knows_stop ("1" if the step knew of a stop request), prefix,
        retention (seconds that the API keeps a job), to_state (of the part; "" to keep its state),
        nonce (of the intent whose `POST` brought the job; "" for another change),
        hints_seen (value of `hints` whose deliveries the step has read; "" for a step that reads none),
        fields... (name and value in turn)

  Returns 'ok', 'stale', 'owned' (another part owns that job), 'forbidden' (no such transition of states), or
  'hinted': the part is free and due at once, because of deliveries that the step has not read. The caller
  publishes the next step.
]]
--- @include lib/budgets
--- @include lib/changes
--- @include lib/clock
--- @include lib/due
--- @include lib/keys
--- @include lib/ledger
--- @include lib/memory
--- @include lib/poll_sets
--- @include lib/purchases
--- @include lib/records
--- @include lib/slots
--- @include lib/watched
local part_key, run_key, due_key, job_key, owner_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local part_id, fence, look_after, redispatch_after, packed_job, knows_stop, prefix, retention,
  to_state, nonce, hints_seen = unpack(ARGV, 1, 11)
local first_field = 12

local before = read_fields(part_key, 'fence', 'state', 'intent', 'nonce', 'api_failures', 'proven')
local owner = owner_key and redis.call('GET', owner_key)
local is_behind = before.fence ~= fence
if is_behind and not (nonce ~= '' and nonce == before.nonce and is_unresolved(before.state)) then
  -- The answer of the `POST` may be stored already: a command may be sent twice, and a search may find the
  -- job.
  return nonce ~= '' and owner == part_id and 'ok' or 'stale'
end
-- A command that is sent twice finds the state that it has written.
local keeps_state = to_state == '' or to_state == before.state
if not keeps_state
  and not string.find(ALLOWED_TRANSITIONS, ' ' .. before.state .. '>' .. to_state .. ' ', 1, true) then
  return 'forbidden'
end
allow_when_full(part_key)
local t = now()
local _, most = read_watched(prefix, t)

if owner_key then
  if owner and owner ~= part_id then return 'owned' end
  redis.call('SET', owner_key, part_id)
  redis.call('HSET', part_key, 'bought_at', format_time(t), 'watched', format_time(most))
  local expires_at = format_time((before.intent or t) + retention)
  redis.call('ZADD', make_key(prefix, 'content_expiry'), expires_at, part_id)
end

-- The own answer of a `POST` is certain, so it counts although another step searches for the job meanwhile.
-- Each write of that step is stale from now on.
if is_behind then redis.call('HINCRBY', part_key, 'fence', 1) end
if not keeps_state then redis.call('HSET', part_key, 'state', to_state) end
local buyer
for i = first_field, #ARGV - 1, 2 do
  local field, value = ARGV[i], ARGV[i + 1]
  -- The listing began before now. So the next one begins late enough.
  if field == 'not_found_at' and value ~= '0' then value = format_time(most) end
  -- A command that is sent twice must not overwrite the status that the purchase has got since. If a delivery
  -- has proven that the API took the `POST`, an answer that refused it does not count.
  local is_past = field == 'purchase_status' and not is_unresolved(before.state)
  local is_disproven = field == 'refused' and before.proven
  if field == 'account' then
    buyer = value
  elseif not (is_past or is_disproven) then
    set_or_clear(part_key, field, value)
  end
  -- Until now the `POST` was under way. From now on the job that the API makes of it may show.
  if field == 'submit_error' then redis.call('HSET', part_key, 'in_doubt_since', format_time(most)) end
end
if packed_job ~= '' then redis.call('SET', job_key, packed_job) end

local part = read_fields(part_key, 'state', 'cancel_sent_at', 'api_failures')
local is_troubled = not part.api_failures ~= not before.api_failures
if packed_job ~= '' or part.state ~= before.state or is_troubled then
  mark_changed(prefix, string.match(part_id, '^(.*):'), t, CHANGE_DELAY)
end
if part.state == 'fetching' then release_slot(prefix, due_key, part_key, part_id, t) end
if is_unresolved(before.state) and not is_unresolved(part.state) then
  close_submit(prefix, due_key, part_key, part_id, retention, t)
  local reservation = read_reservation(part_key, t)
  write_ledger(prefix, part_key, part_id)
  redis.call('HDEL', part_key, 'nonce')
  if part.state == 'queued' then
    -- Nothing was bought, by all that can be known. The next intent reserves anew.
    local run_id = string.match(part_id, '^(.*):')
    settle_reservation(prefix, due_key, run_key, run_id, part_key, reservation, 0, 0, t)
  end
  -- Only a search for a job needs these times, and each byte counts for a run that waits.
  if part.state == 'running' then
    redis.call('HDEL', part_key, 'first_watched', 'proven')
    if redis.call('HGET', run_key, 'parts') == '1' then redis.call('HDEL', run_key, 'watched') end
  end
end
-- Not before: the locks of the purchase are those of the account that it was tried with.
if buyer then
  move_reservation(prefix, due_key, part_key, buyer, t)
  set_or_clear(part_key, 'account', buyer)
end
if look_after == '' then return 'ok' end

-- Let the part go.
local wait, publish_within = tonumber(look_after), tonumber(redispatch_after)
local can_stop = part.state == 'running' or part.state == 'queued' or part.state == 'fetching'
local run = read_fields(run_key, 'early', 'stop_reason')
if run.stop_reason and knows_stop == '' and can_stop and not part.cancel_sent_at then
  -- The stop request came while the step was at work: the next step must obey it at once.
  wait, publish_within = 0, 0
end
redis.call('HDEL', part_key, 'lease', 'token', 'attempts', 'breaker')
local hooks = read_fields(part_key, 'hints', 'hints_seen', 'webhook')
local came_early = hooks.hints and not part.api_failures
local is_hinted = false
if hints_seen ~= '' then
  set_or_clear(part_key, 'hints_seen', hints_seen)
  is_hinted = (hooks.hints or '0') ~= hints_seen
  -- The step that is told so publishes the next one.
  if is_hinted then wait, publish_within = 0, HINT_PUBLISH end
elseif to_state == 'running' and came_early then
  -- Deliveries came before the part knew its job. A command that is sent twice gets the same answer.
  is_hinted, wait, publish_within = true, 0, HINT_PUBLISH
elseif came_early and before.state == 'submitting' and to_state == 'reconciling' then
  wait, publish_within = 0, 0
end
local account, unlisted = unpack(redis.call('HMGET', part_key, 'account', 'unlisted'))
-- The job list does not show tasks, so a step polls a run whose tasks are fetched early or delivered. The
-- same holds for a job whose status word is unknown (`unlisted`). Nor does the list tell a job that must be
-- stopped from any other.
local is_listed = account and not unlisted and not run.early and not run.stop_reason and not hooks.webhook
if is_listed and wait > 0 and part.state == 'running' and not part.cancel_sent_at then
  poll_by_list(prefix, account, due_key, part_key, part_id, t + wait)
else
  make_due(due_key, part_key, part_id, t + wait, publish_within)
end
return is_hinted and 'hinted' or 'ok'
