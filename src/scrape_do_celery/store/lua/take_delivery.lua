--[[ Take a delivery by the webhook of a purchase: store its page, note that its task must be fetched, or note
  its ids while the part does not know its job.

  KEYS  part        hash  the record of the part
        run         hash  the record of its run
        due         zset  part id -> due time of its next step
        contents    hash  position -> frame
        deliveries  hash  position or note -> what was delivered
  ARGV  part_id, purchase (number of the purchase whose webhook was called),
        nonce (of the command: a command that is sent twice gets the same answer),
        known_job (of the part, as the caller has read it; "" for none),
        bought_at (of the part, as the caller has read it; "" for none),
        tasks_size (bytes of the field `tasks`, as the caller has read it),
        task_count (number of tasks in that field),
        job_id, task_id (in the body; "" if it is unreadable),
        is_proven ("1" if the header was right),
        position (of the task; "" if no answer has named the task, "none" if the job has no such task),
        frame (of the page; "" for a hint),
        credits ("" if the API charged the task and did not report its cost), price_key (or ""),
        key_names (of the encryption keys of the caller), safety_after (seconds until the next safety poll),
        prefix

  Returns {result, state, bytes}: `state` is that of the part if the caller has to publish its next step.
  Results: "stored", "hinted", "noted", "known" (nothing new), "other" (not the purchase, job or task of the
  part), "ended", "gone", "newer" (a newer version wrote the record), "full" (too many notes), or "stale"
  (what the caller has read does not hold).
]]
--- @include lib/changes
--- @include lib/clock
--- @include lib/contents
--- @include lib/counters
--- @include lib/due
--- @include lib/encryption
--- @include lib/keys
--- @include lib/prices
--- @include lib/records
--- @include lib/spend
--- @include lib/watched
local part_key, run_key, due_key, contents_key, deliveries_key =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local part_id, purchase, nonce, known_job, bought_at, tasks_size, task_count, job_id, task_id, is_proven,
  position, frame, credits, price_key, key_names, safety_after, prefix = unpack(ARGV)

local part = read_fields(part_key,
  'state', 'account', 'purchases', 'job', 'tasks', 'total', 'lease', 'due_at',
  'hints', 'hints_seen', 'webhook', 'cancel_sent_at', 'api_failures', 'looked_at', 'job_hint', 'unended',
  'bought_at', 'proven')
local t = now()
local must_publish = false

-- Count a result, and return it.
local function answer(result, size)
  count(prefix, 'webhooks:' .. result, 1)
  return {result, must_publish and part.state or '', size or 0}
end

-- Note how the probe of `doctor` came. No other delivery has the id of a probe.
local function note_probe()
  local run_id = string.match(part_id, '^(.*):')
  local probe_key = make_key(prefix, 'webhook_probe', run_id)
  if redis.call('EXISTS', probe_key) == 0 then return end
  redis.call('SET', probe_key, is_proven .. ' ' .. task_id, 'KEEPTTL')
end

if not part.state then note_probe() end
if not part.state then return answer('gone') end
if newer_version(run_key) then return answer('newer') end
if part.state == 'done' then return answer('ended') end
-- A right header proves that the API has taken a `POST` of the part. While the part has no job, this also
-- counts for a purchase that no list has shown, and whose number may be another one's now. No purchase has
-- number 0.
local is_proof = is_proven == '1' and purchase ~= '0'
local seeks_job = is_unresolved(part.state) or (part.state == 'queued' and is_proof)
local is_last = (part.purchases or '0') == purchase
-- The part may have adopted the job of an earlier purchase, which goes on to call the webhook of its own.
local is_own_job = part.job and string.lower(job_id) == string.lower(part.job)
if not is_last and not (is_proof and (seeks_job or is_own_job)) then return answer('other') end
-- Known ids keep their positions while the part has its job. If the store has lost the job and a search has
-- found it again, the same ids may have other positions.
if (part.job or '') ~= known_job or (part.bought_at or '') ~= bought_at
  or #(part.tasks or '') ~= tonumber(tasks_size) then
  return {'stale', '', 0}
end
-- The step that has the part reads its deliveries again when it lets the part go.
local is_held = tonumber(part.lease or 0) > (read_watched(prefix, t))
local is_demanded = (part.hints or '0') ~= (part.hints_seen or '0')

-- Make the part due at a time, unless it is due earlier. A part whose last call failed keeps its delay. A
-- part that an earlier delivery has woken has its step message already.
local function wake_part(at)
  local is_later = tonumber(part.due_at or 0) > at
  if is_held or part.api_failures or (is_demanded and not is_later) then return end
  must_publish = at <= t
  if is_later then make_due(due_key, part_key, part_id, at, must_publish and HINT_PUBLISH or 0) end
end

-- Note that a delivery demands a step at a time. Return the number of such deliveries.
local function demand_step(at)
  wake_part(at)
  return redis.call('HINCRBY', part_key, 'hints', 1)
end

local function write_entry(field, value)
  redis.call('HSET', deliveries_key, field, value)
  redis.call('EXPIRE', deliveries_key, HELD_PAGES_TTL)
end

-- Return the result of a command that was sent before, and nil for another command. An entry ends with the
-- nonce of its command. The lost reply may have named a step, so the caller publishes it now.
local function repeat_answer(entry, result, size)
  if string.match(entry or '', '%S*$') ~= nonce then return end
  local has_step = is_demanded and not is_held and part.state ~= 'submitting'
  return {result, has_step and part.state or '', size}
end

-- Return whether a delivery says no more than an entry. A right header says more: anybody who knows the URL
-- may have sent the other delivery.
local function is_known(entry)
  return entry and (is_proven == '0' or string.match(entry, '^%S+ 1 '))
end

-- Return the time of the next step that a delivery without a proof may demand, and note the time; nil if the
-- last such step has not come yet. After a step back of the clock, the noted time says nothing. Without a
-- limit, a caller who knows one URL could keep workers at requests to the API.
local function plan_look()
  local looked_at = tonumber(part.looked_at or 0)
  if looked_at > t + JOB_LOOK_INTERVAL then looked_at = 0 end
  if looked_at > t then return end
  local at = math.max(t, looked_at + JOB_LOOK_INTERVAL)
  redis.call('HSET', part_key, 'looked_at', format_time(at))
  return at
end

-- Note which purchase a right header has proven. The next `POST` must not be sent before a step has read
-- this. A search that ends may have missed it. The proof is stronger than an answer that refused the `POST`.
-- If the store has lost the intent, only the proof tells that steps must serve the deliveries of the job.
local function note_proof()
  if is_proof and tonumber(purchase) > tonumber(part.proven or 0) then
    redis.call('HSET', part_key, 'proven', purchase, 'webhook', 1)
    redis.call('HDEL', part_key, 'refused')
  end
end

-- Note the ids of a delivery. Notes with a right header have their own room.
local function take_note()
  if job_id == '' or task_id == '' then
    -- A body that is too large or unreadable proves a purchase as well.
    note_proof()
    return answer(is_proof and 'noted' or 'known')
  end
  local field = table.concat({'note', job_id, task_id}, ' ')
  local entry = redis.call('HGET', deliveries_key, field)
  local repeated = repeat_answer(entry, 'noted', 0)
  if repeated then return repeated end
  if is_known(entry) then return answer('known') end
  local room = part.total * (is_proven == '1' and 2 or 1)
  if not entry and redis.call('HLEN', deliveries_key) >= room then return answer('full') end
  write_entry(field, table.concat({'note', is_proven, nonce}, ' '))
  note_proof()
  if part.state == 'submitting' then
    redis.call('HINCRBY', part_key, 'hints', 1)
  else
    -- A step drops the notes that name no job of the part, so a flood of them would never fill the room.
    local at = is_proven == '1' and t or plan_look()
    if at then demand_step(at) end
  end
  return answer('noted')
end

-- Demand a poll of the job, at most one in each interval.
local function demand_job()
  local repeated = repeat_answer(part.job_hint, 'hinted', 0)
  if repeated then return repeated end
  local at = plan_look()
  if not at then return answer('known') end
  redis.call('HSET', part_key, 'job_hint', demand_step(at) .. ' ' .. nonce)
  redis.call('HDEL', part_key, 'safety')
  return answer('hinted')
end

local function take_hint(has_hint)
  -- The steps of a canceled job serve no hint. Without a limit, each of them would cost one poll of the job.
  if part.cancel_sent_at then return demand_job() end
  write_entry(position, table.concat({'hint', is_proven, nonce}, ' '))
  local hints = demand_step(t)
  -- A step may have asked for the task because of the other hint, and asks again once the job shows its end.
  if has_hint then redis.call('HSET', part_key, 'job_hint', hints .. ' ' .. nonce) end
  redis.call('HDEL', part_key, 'safety')
  return answer('hinted')
end

-- Return whether the workers of the run can read what the caller encrypts.
local function is_readable()
  local first = string.match(key_names, '^%S*')
  return not missing_key(run_key, key_names)
    and (first == '' or contains_name(redis.call('HGET', run_key, 'key') or '', first))
end

local function take_page(trust_key)
  redis.call('HSET', contents_key, position, frame)
  redis.call('HINCRBY', part_key, 'stored_ok', 1)
  add_credits(prefix, part_key, credits, price_key)
  local taken = redis.call('HINCRBY', trust_key, 'taken', 1)
  local kind = (taken <= FIRST_CHECKS or taken % CHECK_SPACING == 0) and 'check' or 'page'
  local restores = redis.call('HGET', trust_key, 'restores') or '0'
  local cost = credits == '' and '-' or credits
  write_entry(position, table.concat({kind, cost, price_key, restores, nonce}, ' '))
  redis.call('HDEL', part_key, 'safety')
  if part.state == 'fetching' then
    if redis.call('HLEN', contents_key) >= tonumber(task_count) then wake_part(t) end
  elseif kind == 'check' or redis.call('HLEN', contents_key) >= tonumber(task_count) then
    demand_step(t)
  else
    -- The next step is only a safety poll, which comes later the more is delivered.
    local is_urgent = is_demanded or part.unended or part.api_failures or part.cancel_sent_at
      or redis.call('HEXISTS', run_key, 'stop_reason') == 1
    if part.webhook and not is_held and not is_urgent then
      make_due(due_key, part_key, part_id, t + safety_after, 0)
    end
  end
  -- The cost of a page to check is learned from the API's own answer.
  if kind == 'page' then learn_price(prefix, part.account, price_key, to_mc(credits), t) end
  note_encryption_key(prefix, run_key, string.match(key_names, '^%S*'), t)
  mark_changed(prefix, string.match(part_id, '^(.*):'), t, CHANGE_DELAY)
  return answer('stored', #frame)
end

if seeks_job then return take_note() end
local is_foreign = job_id ~= '' and string.lower(job_id) ~= string.lower(part.job or '')
if part.state == 'queued' or position == 'none' or is_foreign then return answer('other') end
if position == '' then
  if part.state == 'fetching' then return answer('known') end
  return demand_job()
end
local entry = redis.call('HGET', deliveries_key, position)
local is_hint = string.match(entry or '', '^hint ')
local repeated = repeat_answer(entry, is_hint and 'hinted' or 'stored', is_hint and 0 or #frame)
if repeated then return repeated end
if redis.call('HEXISTS', contents_key, position) == 1 then return answer('known') end
local trust_key = make_key(prefix, 'webhook_trust', part.account or '')
local is_trusted = redis.call('HEXISTS', trust_key, 'off') == 0
if frame ~= '' and is_trusted and is_readable() then return take_page(trust_key) end
if part.state == 'fetching' or is_known(entry) then return answer('known') end
return take_hint(is_hint)
