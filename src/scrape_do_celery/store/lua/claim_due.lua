-- Hands out what is due, and moves each on by a ring interval that grows while nobody takes it.
-- KEYS: due, rung, life, backlog
-- ARGV: prefix, most to hand out, most bells under way, first and longest ring interval, members a message
-- Returns {now, next due or '', dropped, {member, state, wish, canceling, attempts, rings} ...};
-- for a run: {member, 'run', outcome or '', parts left, '1' when accepted, rings}; one with parts left is past its
-- deadline.
local prefix, limit, cap = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local first, longest = tonumber(ARGV[4]), tonumber(ARGV[5])
local t = now()
local out, dropped = {}, 0
-- Where work is backed up, bells lie in the queue for longer than the first interval. Rung again they would only make it
-- longer: the interval grows while more than a message's members stay unheard, and shrinks when that is over.
local function first_interval(unheard)
  local p = redis.call('HMGET', KEYS[4], 'factor', 'since')
  local factor, age = tonumber(p[1] or 1), t - tonumber(p[2] or 0)
  if unheard > tonumber(ARGV[6]) and age >= first * factor then
    factor = math.min(2 * factor, 16)
  elseif factor > 1 and age >= 4 * first * factor then
    factor = factor / 2
  else
    return first * factor
  end
  redis.call('HSET', KEYS[4], 'factor', factor, 'since', stamp(t))
  return first * factor
end
local patience = first_interval(redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', stamp(t)))
local function ring_again(member, rings)
  local at = stamp(t + math.min(longest, patience * 2 ^ math.min(rings - 1, 16)))
  redis.call('ZADD', KEYS[1], at, member)
  return at
end
-- Whether a member is left to the bell that a step rang for it at `since`, for as long as bells lie longer than usual.
local function left_to_its_step(member, rings, since)
  if rings > 1 or patience == first or t - since < first or t - since >= patience then return false end
  redis.call('ZADD', KEYS[1], stamp(since + patience), member)
  return true
end
local room = math.min(limit, cap - redis.call('ZCARD', KEYS[2]))
local found, taken = {}, {}
local function take(members, most)
  for _, member in ipairs(members) do
    if #found >= most then return end
    if not taken[member] and tonumber(redis.call('ZSCORE', KEYS[1], member) or 'inf') <= t then
      taken[member] = true
      found[#found + 1] = member
    end
  end
end
if room > 0 then
  if redis.call('ZCOUNT', KEYS[1], '-inf', stamp(t)) > room then
    -- Work is backed up: what is paid for goes first, in the order of its remaining life; a quarter is left to the rest.
    take(redis.call('ZRANGE', KEYS[3], 0, 4 * limit - 1), math.ceil(room * 3 / 4))
  end
  take(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', stamp(t), 'LIMIT', 0, room + #found), room)
end
for _, member in ipairs(found) do
  local run_id, n = string.match(member, '^(.*):([^:]*)$')
  local run = prefix .. ':run:' .. run_id
  if n == 'run' then
    local r = redis.call('HMGET', run, 'outcome', 'left', 'deadline', 'rings', 'parts', 'accepted', 'bell')
    if not r[5] then
      redis.call('ZREM', KEYS[1], member)
      dropped = dropped + 1
    elseif r[6] and not r[1] and r[2] ~= '0' and not r[3] then
      redis.call('ZREM', KEYS[1], member)
    elseif r[6] and not r[1] and r[2] ~= '0' and tonumber(r[3]) > t then
      redis.call('ZADD', KEYS[1], r[3], member)
    else
      local rings = tonumber(r[4] or 0) + 1
      if not (r[7] and left_to_its_step(member, rings, tonumber(r[7]))) then
        redis.call('HSET', run, 'rings', rings)
        ring_again(member, rings)
        out[#out + 1] = {member, 'run', r[1] or '', r[2], r[6] and '1' or '', rings}
      end
    end
  else
    local key = part_key(prefix, run_id, n)
    local p = redis.call('HMGET', key, 'state', 'lease', 'rings', 'attempts', 'canceling', 'at')
    local lease = tonumber(p[2] or 0)
    if not p[1] or p[1] == 'done' then
      redis.call('ZREM', KEYS[1], member)
      if not p[1] then dropped = dropped + 1 end
    elseif lease > t then
      redis.call('ZADD', KEYS[1], stamp(lease), member)
    else
      local rings = tonumber(p[3] or 0) + 1
      -- One whose lease has run out died with its bell.
      if lease > 0 or not left_to_its_step(member, rings, tonumber(p[6] or 0)) then
        redis.call('HSET', key, 'rings', rings)
        redis.call('ZADD', KEYS[2], ring_again(member, rings), member)
        out[#out + 1] = {member, p[1], redis.call('HGET', run, 'wish') or '', p[5] or '', p[4] or '0', rings}
      end
    end
  end
end
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {stamp(t), head[2] or '', dropped, unpack(out)}
