--[[ Read figures of the store for monitoring. None of them takes longer if there are more runs.

  KEYS  due             zset    the due set
        dispatched      zset    part id -> when its step message counts as lost
        content_expiry  zset    part id -> when the API forgets its pages
        quota           hash    process -> "wanted granted until"
        pause           string  until when no API call is made
        accounts        set     the accounts for which jobs were, or are, bought
        totals          hash    counter -> total
        stored          hash    hour since the epoch -> bytes of pages that expire in it
  ARGV  prefix, account (of the caller; '' for none),
        seconds_ahead... (count the parts that expire within them)

  Returns {now, entries of due, when the first is due or '', step messages, end of the pause or '',
  {when the first unfetched page expires or '', parts that expire within each of the seconds ...},
  quotas that stand, {counter, total ...}, {hour, bytes ...},
  {account, parts in its poll set, when the first is due or '', slots taken, parts that wait for a slot,
  start of the longest wait or '', time of the refusal of the token or '',
  since when its delivered pages are not believed or ''} ...}.
]]
--- @include lib/clock
--- @include lib/keys
local due_key, dispatched_key, content_expiry_key, quota_key,
  pause_key, accounts_key, totals_key, stored_key =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local prefix, account = unpack(ARGV, 1, 2)

local t = now()
local function first_time(key) return redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or '' end
-- Return the start of the longest wait. Waiters stand by priority, then by time; those with a key stand last.
local function first_wait(key)
  local first, next_place = nil, '-inf'
  while true do
    local place = redis.call('ZRANGEBYSCORE', key, next_place, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    if not place then return first and format_time(first) or '' end
    local since = place % PRIORITY_SPAN
    first = math.min(first or since, since)
    next_place = format_time(place - since + PRIORITY_SPAN)
  end
end
local expiring = {first_time(content_expiry_key)}
for i = 3, #ARGV do
  expiring[#expiring + 1] = redis.call('ZCOUNT', content_expiry_key, '-inf', format_time(t + ARGV[i]))
end
local quotas = {}
for _, quota in ipairs(redis.call('HVALS', quota_key)) do
  if tonumber(string.match(quota, '(%S+)$')) > t then quotas[#quotas + 1] = quota end
end
local is_added, accounts = {}, redis.call('SMEMBERS', accounts_key)
if account ~= '' then accounts[#accounts + 1] = account end
local stats = {
  format_time(t),
  redis.call('ZCARD', due_key),
  first_time(due_key),
  redis.call('ZCOUNT', dispatched_key, format_time(t), '+inf'),
  redis.call('GET', pause_key) or '',
  expiring,
  quotas,
  redis.call('HGETALL', totals_key),
  redis.call('HGETALL', stored_key),
}
for _, name in ipairs(accounts) do
  if not is_added[name] then
    is_added[name] = true
    local poll_set_key = make_key(prefix, 'poll_set', name)
    local slot_waiters_key = make_key(prefix, 'slot_waiters', name)
    stats[#stats + 1] = {
      name,
      redis.call('ZCARD', poll_set_key),
      first_time(poll_set_key),
      redis.call('ZCARD', make_key(prefix, 'slots', name)),
      redis.call('ZCARD', slot_waiters_key),
      first_wait(slot_waiters_key),
      redis.call('HGET', make_key(prefix, 'breaker', name), 'since') or '',
      redis.call('HGET', make_key(prefix, 'webhook_trust', name), 'off') or '',
    }
  end
end
return stats
