--[[ Hand out due parts and runs. Each is due again after an interval that grows while no step claims it.

  KEYS  due             zset  part or run -> when it needs a step
        dispatched      zset  part id -> when its step message counts as lost
        content_expiry  zset  part id -> when the API forgets its pages
        queue_delay     hash  the factor by which the redispatch interval is longer than usual, and its start
        clock           hash  the watched clock
        expiring        zset  key that guards a purchase -> when it expires by the watched clock
  ARGV  prefix, limit (entries to hand out at most), max_dispatched (parts with a message in flight at most),
        interval_min, interval_max (shortest and longest redispatch interval),
        message_size (entries of a step message),
        own_elapsed (seconds since the last pass of this dispatcher by its monotonic clock; 0 at first),
        newer_patience (seconds after which an entry of a newer version is put off)

  A call that is sent twice advances the watched clock by no more than the time between both.

  Returns {now, time of the next due entry or '', dropped entries, '1' if the server's clock was set back
  or '', {entry, ...}, ...}. An entry is a part:
  {part id, state, stop reason, cancel sent at, attempts, dispatches}; or a run: {run id and ":run", 'run',
  outcome or '', parts left, '1' when accepted, dispatches}. A run that is accepted, has no outcome and has
  parts left is past its deadline.
]]
--- @include lib/clock
--- @include lib/index
--- @include lib/keys
--- @include lib/memory
--- @include lib/records
--- @include lib/watched
local due_key, dispatched_key, content_expiry_key, queue_delay_key, clock_key, expiring_key =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local prefix, limit, max_dispatched, interval_min, interval_max, message_size, own_elapsed,
  newer_patience = unpack(ARGV)
limit, interval_min, interval_max = tonumber(limit), tonumber(interval_min), tonumber(interval_max)

local t = now()

-- Advance the watched clock, and return it. If the server's clock was set back, note by how much: times that
-- scripts have written lie too far ahead then.
local function advance_clock()
  local clock = read_fields(clock_key, 'watched', 'last')
  local passed = t - (clock.last or t)
  local watched = (clock.watched or t) + measure_advance(passed, tonumber(own_elapsed))
  allow_when_full(clock_key)
  redis.call('HSET', clock_key, 'watched', format_time(watched), 'last', format_time(t))
  if passed < -LONGEST_REWIND then
    redis.call('HINCRBYFLOAT', clock_key, 'rewind', -passed)
    -- The step came after the last pass of this dispatcher. Times from `stepped` until now may be new or old.
    local own = tonumber(own_elapsed)
    redis.call('HSET', clock_key, 'stepped', own > 0 and format_time(t - own) or 0)
  end
  return watched
end

local watched = advance_clock()
local expired = redis.call('ZRANGEBYSCORE', expiring_key, '-inf', format_time(watched), 'LIMIT', 0, limit)
for _, key in ipairs(expired) do
  redis.call('DEL', key)
  redis.call('ZREM', expiring_key, key)
end

prune_index(prefix, limit, t)
check_undelivered_run(prefix, t)

-- Return the redispatch interval. In a backlog, step messages lie in the queue for longer than the shortest
-- interval, and publishing them again would only make the queue longer. So the interval doubles while the
-- messages of more parts (`unheard`) than one message holds count as lost. If fewer do, it shrinks again.
local function update_interval(unheard)
  local delay = read_fields(queue_delay_key, 'factor', 'since')
  local factor, age = tonumber(delay.factor or 1), t - tonumber(delay.since or 0)
  if unheard > tonumber(message_size) and age >= interval_min * factor then
    factor = math.min(2 * factor, 16)
  elseif factor > 1 and age >= 4 * interval_min * factor then
    factor = factor / 2
  else
    return interval_min * factor
  end
  redis.call('HSET', queue_delay_key, 'factor', factor, 'since', format_time(t))
  return interval_min * factor
end

local interval = update_interval(redis.call('ZREMRANGEBYSCORE', dispatched_key, '-inf', format_time(t)))

-- Let an entry be due again after its interval. Return that time.
local function redispatch_later(entry, dispatches)
  local due_at = format_time(t + math.min(interval_max, interval * 2 ^ math.min(dispatches - 1, 16)))
  redis.call('ZADD', due_key, due_at, entry)
  return due_at
end

-- Return whether the message that a step published for the entry at `since` may still lie in the queue,
-- because the interval is longer than usual. Such an entry is due again when that message counts as lost.
local function is_covered_by_step(entry, dispatches, since)
  if dispatches > 1 or interval == interval_min or t - since < interval_min or t - since >= interval then
    return false
  end
  redis.call('ZADD', due_key, format_time(since + interval), entry)
  return true
end

-- Return the due entries to hand out, unless their records show that they need no step yet.
local function find_due()
  local room = math.min(limit, max_dispatched - redis.call('ZCARD', dispatched_key))
  local found, is_found = {}, {}
  local function add(entries, max_found)
    for _, entry in ipairs(entries) do
      if #found >= max_found then return end
      if not is_found[entry] and tonumber(redis.call('ZSCORE', due_key, entry) or 'inf') <= t then
        is_found[entry] = true
        found[#found + 1] = entry
      end
    end
  end
  if room > 0 then
    if redis.call('ZCOUNT', due_key, '-inf', format_time(t)) > room then
      -- In a backlog, parts with a paid job go first: the part whose pages expire next is the first one. A
      -- quarter of the room is left to the other entries.
      add(redis.call('ZRANGE', content_expiry_key, 0, 4 * limit - 1), math.ceil(room * 3 / 4))
    end
    add(redis.call('ZRANGEBYSCORE', due_key, '-inf', format_time(t), 'LIMIT', 0, room + #found), room)
  end
  return found
end

local entries, dropped = {}, 0

-- Return whether a newer version of this package wrote the run. The dispatcher of a worker of that version
-- serves the entry. If there is none, the entry must not keep others from being found: it is put off.
local function leave_to_newer(entry, run_key)
  if not newer_version(run_key) then return false end
  if t - redis.call('ZSCORE', due_key, entry) > tonumber(newer_patience) then
    redis.call('ZADD', due_key, format_time(t + interval_max), entry)
  end
  return true
end

-- Hand a run out, or correct its time. A run whose parts are at work needs no step before its deadline.
local function take_run(entry, run_key)
  local run = read_fields(run_key, 'outcome', 'left', 'deadline', 'dispatches', 'parts', 'accepted',
    'dispatched_at')
  local is_at_work = run.accepted and not run.outcome and run.left ~= '0'
  if not run.parts then
    redis.call('ZREM', due_key, entry)
    dropped = dropped + 1
  elseif is_at_work and not run.deadline then
    redis.call('ZREM', due_key, entry)
  elseif is_at_work and tonumber(run.deadline) > t then
    redis.call('ZADD', due_key, run.deadline, entry)
  else
    local dispatches = tonumber(run.dispatches or 0) + 1
    local published_at = run.dispatched_at and tonumber(run.dispatched_at)
    if published_at and is_covered_by_step(entry, dispatches, published_at) then return end
    redis.call('HSET', run_key, 'dispatches', dispatches)
    redispatch_later(entry, dispatches)
    entries[#entries + 1] = {
      entry, 'run', run.outcome or '', run.left, run.accepted and '1' or '', dispatches,
    }
  end
end

-- Hand a part out, or correct its time. A part that a step has claimed needs no other step before the lease
-- ends.
local function take_part(entry, run_key, part_key)
  local part = read_fields(part_key, 'state', 'lease', 'dispatches', 'attempts', 'cancel_sent_at', 'due_at')
  local lease = tonumber(part.lease or 0)
  if not part.state or part.state == 'done' then
    redis.call('ZREM', due_key, entry)
    if not part.state then dropped = dropped + 1 end
  elseif lease > watched then
    redis.call('ZADD', due_key, format_time(t + lease - watched), entry)
  else
    local dispatches = tonumber(part.dispatches or 0) + 1
    -- If a lease has expired, the step has died, and its message is lost with it.
    if lease <= 0 and is_covered_by_step(entry, dispatches, tonumber(part.due_at or 0)) then return end
    redis.call('HSET', part_key, 'dispatches', dispatches)
    -- After a step back of the clock, `claim_part` would find the part early.
    if tonumber(part.due_at or 0) > t then redis.call('HSET', part_key, 'due_at', format_time(t)) end
    redis.call('ZADD', dispatched_key, redispatch_later(entry, dispatches), entry)
    local stop_reason = redis.call('HGET', run_key, 'stop_reason') or ''
    entries[#entries + 1] = {
      entry, part.state, stop_reason, part.cancel_sent_at or '', part.attempts or '0', dispatches,
    }
  end
end

for _, entry in ipairs(find_due()) do
  local run_id, n = string.match(entry, '^(.*):([^:]*)$')
  local run_key = make_key(prefix, 'run', run_id)
  if not leave_to_newer(entry, run_key) then
    if n == 'run' then
      take_run(entry, run_key)
    else
      take_part(entry, run_key, make_part_key(prefix, run_id, n))
    end
  end
end
local head = redis.call('ZRANGE', due_key, 0, 0, 'WITHSCORES')
local was_set_back = redis.call('HEXISTS', clock_key, 'rewind') == 1 and '1' or ''
return {format_time(t), head[2] or '', dropped, was_set_back, unpack(entries)}
