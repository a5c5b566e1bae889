-- Hands out what is due, and moves each on by a redispatch interval that grows while nobody takes it.
-- KEYS: due, dispatched, content_expiry, queue_delay
-- ARGV: prefix, most to hand out, most step messages under way, first and longest redispatch interval, entries a message
-- Returns {now, next due or '', dropped, {entry, state, stop reason, cancel sent, attempts, dispatches} ...};
-- for a run: {entry, 'run', outcome or '', parts left, '1' when accepted, dispatches}; one with parts left is past its
-- deadline.
--- @include lib/clock
--- @include lib/records
local prefix, limit, cap = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local first, longest = tonumber(ARGV[4]), tonumber(ARGV[5])
local t = now()
local out, dropped = {}, 0
-- Where work is backed up, messages lie in the queue for longer than the first interval. Published again they would only make it
-- longer: the interval grows while more than a message's entries stay unheard, and shrinks when that is over.
local function redispatch_interval(unheard)
  local p = redis.call('HMGET', KEYS[4], 'factor', 'since')
  local factor, age = tonumber(p[1] or 1), t - tonumber(p[2] or 0)
  if unheard > tonumber(ARGV[6]) and age >= first * factor then
    factor = math.min(2 * factor, 16)
  elseif factor > 1 and age >= 4 * first * factor then
    factor = factor / 2
  else
    return first * factor
  end
  redis.call('HSET', KEYS[4], 'factor', factor, 'since', format_time(t))
  return first * factor
end
local interval = redispatch_interval(redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', format_time(t)))
local function redispatch_later(entry, dispatches)
  local at = format_time(t + math.min(longest, interval * 2 ^ math.min(dispatches - 1, 16)))
  redis.call('ZADD', KEYS[1], at, entry)
  return at
end
-- Return whether a step published a message for the entry at `since`, and messages lie in the queue for longer than usual.
local function is_covered_by_step(entry, dispatches, since)
  if dispatches > 1 or interval == first or t - since < first or t - since >= interval then return false end
  redis.call('ZADD', KEYS[1], format_time(since + interval), entry)
  return true
end
local room = math.min(limit, cap - redis.call('ZCARD', KEYS[2]))
local found, taken = {}, {}
local function take(entries, max_found)
  for _, entry in ipairs(entries) do
    if #found >= max_found then return end
    if not taken[entry] and tonumber(redis.call('ZSCORE', KEYS[1], entry) or 'inf') <= t then
      taken[entry] = true
      found[#found + 1] = entry
    end
  end
end
if room > 0 then
  if redis.call('ZCOUNT', KEYS[1], '-inf', format_time(t)) > room then
    -- Work is backed up: what is paid for goes first, in the order of its remaining life; a quarter is left to the rest.
    take(redis.call('ZRANGE', KEYS[3], 0, 4 * limit - 1), math.ceil(room * 3 / 4))
  end
  take(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', format_time(t), 'LIMIT', 0, room + #found), room)
end
for _, entry in ipairs(found) do
  local run_id, n = string.match(entry, '^(.*):([^:]*)$')
  local run = prefix .. ':run:' .. run_id
  if n == 'run' then
    local r = redis.call('HMGET', run, 'outcome', 'left', 'deadline', 'dispatches', 'parts', 'accepted', 'dispatched_at')
    if not r[5] then
      redis.call('ZREM', KEYS[1], entry)
      dropped = dropped + 1
    elseif r[6] and not r[1] and r[2] ~= '0' and not r[3] then
      redis.call('ZREM', KEYS[1], entry)
    elseif r[6] and not r[1] and r[2] ~= '0' and tonumber(r[3]) > t then
      redis.call('ZADD', KEYS[1], r[3], entry)
    else
      local dispatches = tonumber(r[4] or 0) + 1
      if not (r[7] and is_covered_by_step(entry, dispatches, tonumber(r[7]))) then
        redis.call('HSET', run, 'dispatches', dispatches)
        redispatch_later(entry, dispatches)
        out[#out + 1] = {entry, 'run', r[1] or '', r[2], r[6] and '1' or '', dispatches}
      end
    end
  else
    local key = make_part_key(prefix, run_id, n)
    local p = redis.call('HMGET', key, 'state', 'lease', 'dispatches', 'attempts', 'cancel_sent_at', 'due_at')
    local lease = tonumber(p[2] or 0)
    if not p[1] or p[1] == 'done' then
      redis.call('ZREM', KEYS[1], entry)
      if not p[1] then dropped = dropped + 1 end
    elseif lease > t then
      redis.call('ZADD', KEYS[1], format_time(lease), entry)
    else
      local dispatches = tonumber(p[3] or 0) + 1
      -- One whose lease has run out died with its step message.
      if lease > 0 or not is_covered_by_step(entry, dispatches, tonumber(p[6] or 0)) then
        redis.call('HSET', key, 'dispatches', dispatches)
        redis.call('ZADD', KEYS[2], redispatch_later(entry, dispatches), entry)
        out[#out + 1] = {entry, p[1], redis.call('HGET', run, 'stop_reason') or '', p[5] or '', p[4] or '0', dispatches}
      end
    end
  end
end
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {format_time(t), head[2] or '', dropped, unpack(out)}
