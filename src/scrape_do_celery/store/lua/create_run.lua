--[[ Create a run with its parts, all or nothing, unless its id, idempotency key, tick or parent has a run.

  KEYS  run          hash    the record of the run
        due          zset    part or run -> when it needs a step
        idempotency  string  run and digest that have the idempotency key; without one, the key `run`
        reservation  string  run and digest that are reserved for the idempotency key; likewise
        tick         string  only for a tick: run and digest that have it, or nothing if it was skipped
        schedule     string  only for a tick: the last run of its schedule
        schedules    zset    only for a tick: schedule -> when its last tick was decided
        schedule_record  hash  only for a tick: name, rule, last tick and its decision, last run
        schedule_pauses  hash  only for a tick: name of a paused schedule -> when, by whom and why
  ARGV  run_id, prefix, digest, redispatch_after, max_wait ("" for none),
        owner (run and digest: the value of the idempotency key and of the tick),
        waiter, signature (for the delivery; "" for the plain step),
        start_delay (of a draft: the seconds after which the dispatcher accepts it; "" for a live run),
        if_running (of a tick: "skip" or "queue" or "cancel_previous"; "" without a tick),
        unsent_outcome (of an unsent part of a run that the tick cancels),
        tick ("" without a tick),
        schedule_name, rule (of the schedule of the tick; "" without a tick),
        by_hand ("1" if a command starts the run beside the ticks, so that a pause does not matter),
        asks_budget ("" to write the run; "1" to write it unless there are budgets; "always" not to write it),
        parent (the run whose child this one is; "" for none),
        part_count,
        rest... (total and fingerprint of each part; then name and value of each field of the record)

  Returns {'created', id}, {'exists', '<run> <digest>'} or {'forgotten', id};
  {'unchecked', id} if `asks_budget` keeps the run from being written;
  {'reserved', id} if the idempotency key is reserved for another id;
  {'no_parent', the parent} if the parent is gone or live, or has lost contents;
  {'newer', version, id} if the parent, or the live run before a tick, has a record of a newer version;
  for a tick also {'waiting', id}, {'tick_paused', ''} or {'tick_skipped', the live run or ''}.
]]
--- @include lib/changes
--- @include lib/clock
--- @include lib/counters
--- @include lib/due
--- @include lib/encryption
--- @include lib/epoch
--- @include lib/guards
--- @include lib/index
--- @include lib/keys
--- @include lib/lineage
--- @include lib/records
--- @include lib/schedules
--- @include lib/stop
--- @include lib/watched
local run_key, due_key, idempotency_key, reservation_key, tick_key, schedule_key, schedules_key,
  schedule_record_key, schedule_pauses_key =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
-- Unpack a part of ARGV only: `unpack` fails on thousands of values, and a large run has four for each part.
local run_id, prefix, digest, redispatch_after, max_wait, owner, waiter, signature, start_delay,
  if_running, unsent_outcome, tick, schedule_name, rule, by_hand, asks_budget, parent,
  part_count = unpack(ARGV, 1, 18)
local rest = 19
-- A user with rights to the keys of one prefix may not name an empty key, so `run` stands in for both keys.
local has_idempotency_key = idempotency_key ~= run_key

-- If the waiter has the same signature, the reply to this request was lost and the caller sent it again.
if not tick_key and signature ~= '' and redis.call('HGET', run_key, 'waiter:' .. waiter) == signature then
  return {'created', run_id}
end
local parent_key = parent ~= '' and make_key(prefix, 'run', parent)
if parent_key then
  local newer = newer_version(parent_key)
  if newer then return {'newer', newer, parent} end
  -- A run has one child, whatever its request: a second one would buy the same targets.
  local child = redis.call('HGET', parent_key, 'child')
  if child then return {'exists', child .. ' ' .. digest} end
end
if has_idempotency_key then
  local held = redis.call('GET', idempotency_key)
  if held then return {'exists', held} end
  local reservation = redis.call('GET', reservation_key) or ''
  local reserved_id, reserved_digest = string.match(reservation, '^(.*) (.-)$')
  if reserved_id and reserved_id ~= run_id and reserved_digest == digest then
    return {'reserved', reserved_id}
  end
end
if redis.call('HEXISTS', run_key, 'forgotten') == 1 then return {'forgotten', run_id} end
if redis.call('EXISTS', run_key) == 1 then
  return {'exists', run_id .. ' ' .. redis.call('HGET', run_key, 'digest')}
end

-- The caller has read the pages of the parent, and the new run buys what they lack.
if parent_key and not is_whole(prefix, parent) then return {'no_parent', parent} end

-- The caller compares the price with the limits, and then asks no more.
local has_budget = asks_budget == '1' and redis.call('EXISTS', make_key(prefix, 'budgets')) == 1
if has_budget or asks_budget == 'always' then return {'unchecked', run_id} end

-- Return whether this tick is earlier than the tick in another record, as its message was late. The names of
-- the ticks of one rule have the same length, and sort by time.
local function is_earlier_than(record_key)
  local other_tick = redis.call('HGET', record_key, 'tick') or ''
  return #tick == #other_tick and tick < other_tick
end

local t = now()

-- Write the decision about the tick for good: the value of its key, and the record of its schedule.
local function decide_tick(value, decision)
  redis.call('SET', tick_key, value)
  expire_guard(prefix, tick_key, MARK_TTL, t)
  redis.call('HSET', schedule_record_key, 'name', schedule_name, 'rule', rule, 'if_running', if_running)
  if by_hand == '' then
    count(prefix, 'ticks:' .. decision, 1)
    if not is_earlier_than(schedule_record_key) then
      redis.call('HSET', schedule_record_key, 'tick', tick, 'decision', decision, 'decided', format_time(t))
    end
  end
  if value ~= '' then redis.call('HSET', schedule_record_key, 'run', run_id) end
  keep_schedule(prefix, schedules_key, schedule_record_key, t)
end

local before
if tick_key then
  local decided = redis.call('GET', tick_key)
  if decided == '' then return {'tick_skipped', ''} end
  if decided then return {'exists', decided} end
  if by_hand == '' and redis.call('HEXISTS', schedule_pauses_key, schedule_name) == 1 then
    decide_tick('', 'paused')
    return {'tick_paused', ''}
  end
  before = redis.call('GET', schedule_key)
  if before and not is_live(prefix, before) then before = nil end
  local newer = before and newer_version(make_key(prefix, 'run', before))
  if newer then return {'newer', newer, before} end
  local is_late = before and is_earlier_than(make_key(prefix, 'run', before))
  if before and (if_running == 'skip' or (if_running == 'cancel_previous' and is_late)) then
    decide_tick('', 'skipped')
    return {'tick_skipped', before}
  end
  if not before or if_running ~= 'queue' then start_delay = '' end
end

local is_draft = start_delay ~= ''
local epoch = store_epoch(prefix, t)
local _, most = read_watched(prefix, t)
redis.call('HSET', run_key,
  'created', format_time(t), 'watched', format_time(most), 'digest', digest,
  'parts', part_count, 'left', part_count)
if epoch ~= 'unknown' then redis.call('HSET', run_key, 'epoch', epoch_tag(epoch)) end
redis.call('HSET', run_key, 'waiter:' .. waiter, signature, 'waiting', 1)
for n = 0, tonumber(part_count) - 1 do
  local part_key, total, fingerprint = make_part_key(prefix, run_id, n), ARGV[rest], ARGV[rest + 1]
  redis.call('HSET', part_key, 'state', 'queued', 'fence', 0, 'total', total, 'fingerprint', fingerprint)
  rest = rest + 2
  if not is_draft then make_due(due_key, part_key, run_id .. ':' .. n, t, redispatch_after) end
end
while rest < #ARGV do
  redis.call('HSET', run_key, ARGV[rest], ARGV[rest + 1])
  rest = rest + 2
end
if redis.call('HEXISTS', run_key, 'fair') == 1 then
  redis.call('SET', make_key(prefix, 'fairness_used'), format_time(t), 'EX', FAIRNESS_USED_TTL)
end
add_to_index(prefix, 'live', run_id, read_index_fields(run_key))
prune_index(prefix, INDEX_PRUNES, t)
note_encryption_key(prefix, run_key, redis.call('HGET', run_key, 'key') or '', t)
if has_idempotency_key then
  redis.call('SET', idempotency_key, owner)
  -- The entry of an earlier run must not free the key.
  keep_guard(prefix, idempotency_key)
  redis.call('DEL', reservation_key)
  redis.call('HSET', run_key, 'idempotency_key', idempotency_key)
end
if tick_key then
  decide_tick(owner, is_draft and 'queued' or 'started')
  redis.call('SET', schedule_key, run_id)
  redis.call('HSET', run_key, 'schedule', schedule_key, 'tick', tick)
end
if parent_key then
  keep_lineage(prefix, parent, t)
  redis.call('HSET', run_key, 'parent', parent)
  redis.call('HSET', parent_key, 'child', run_id)
end
if max_wait ~= '' then redis.call('HSET', run_key, 'max_wait', max_wait) end
if is_draft then
  redis.call('ZADD', due_key, format_time(t + start_delay), run_id .. ':run')
else
  redis.call('HSET', run_key, 'accepted', format_time(t))
  count(prefix, 'accepted', 1)
  mark_changed(prefix, run_id, t, CHANGE_DELAY)
  if max_wait ~= '' then
    redis.call('HSET', run_key, 'deadline', format_time(t + max_wait))
    redis.call('ZADD', due_key, format_time(t + max_wait), run_id .. ':run')
  end
end
if before and is_draft then
  redis.call('HSET', make_key(prefix, 'run', before), 'next', run_id)
  redis.call('HSET', run_key, 'after', before)
  return {'waiting', run_id}
end
-- Stop the run before this one. If that run waits for another run of the schedule, stop the other run too.
while before and is_live(prefix, before) do
  request_stop(prefix, due_key, before, 'cancel', unsent_outcome, t)
  before = redis.call('HGET', make_key(prefix, 'run', before), 'after')
end
return {'created', run_id}
