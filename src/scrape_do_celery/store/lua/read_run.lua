--[[ Read the record of a run, without its targets, and the records of its parts.

  KEYS  run              hash    the record of the run
        namespace_owner  string  the application whose workers serve the store
        pause            string  until when no API call is made
  ARGV  run_id, prefix,
        with_waits ("1" to add what shows why a live run waits), account (of the caller)

  Returns {} if there is no such run, else {fields of the run, fields of each part ...}. With `with_waits`,
  the last element for a live run is {now, watched clock, seconds since the start of the server or '', '1'
  if a worker serves the store, end of the pause or '', used memory, limit of memory, policy, {n, since when
  the token of the part's account is refused or '', when its runs fail or '', fingerprint of that token or
  '', parts of its fairness key
  before it that wait for a slot or '', since when it waits or ''} ...}, with an entry for each live
  part.
]]
--- @include lib/clock
--- @include lib/keys
--- @include lib/records
--- @include lib/turns
--- @include lib/watched
local run_key, namespace_owner_key, pause_key = KEYS[1], KEYS[2], KEYS[3]
local run_id, prefix, with_waits, account = unpack(ARGV)

local all = redis.call('HGETALL', run_key)
if #all == 0 or all[1] == 'forgotten' then return {} end
local fields, part_count = {}, 0
for i = 1, #all, 2 do
  local name, value = all[i], all[i + 1]
  if string.sub(name, 1, 8) ~= 'targets:' then
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  if name == 'parts' then part_count = tonumber(value) end
  if name == 'outcome' then with_waits = '' end
end
local reply = {fields}
for n = 0, part_count - 1 do reply[#reply + 1] = redis.call('HGETALL', make_part_key(prefix, run_id, n)) end
if with_waits == '' then return reply end

-- Return figures of the server, each '' if the user may not read it.
local function read_info(section, ...)
  local info, figures = redis.pcall('INFO', section), {}
  for i, name in ipairs({...}) do
    figures[i] = type(info) == 'string' and string.match(info, name .. ':([%w-]+)') or ''
  end
  return unpack(figures)
end

local t = now()
local least, most = read_watched(prefix, t)
local waits = {
  format_time(t), format_time(most), (read_info('server', 'uptime_in_seconds')),
  tostring(redis.call('EXISTS', namespace_owner_key)), redis.call('GET', pause_key) or '',
  read_info('memory', 'used_memory', 'maxmemory', 'maxmemory_policy'),
}
local fairness_key = read_share(prefix, run_id .. ':0')
for n = 0, part_count - 1 do
  local part = read_fields(make_part_key(prefix, run_id, n), 'state', 'account', 'held_by', 'slot_queue')
  if part.state and part.state ~= 'done' then
    local breaker_key = make_key(prefix, 'breaker', part.held_by or part.account or account)
    local breaker = read_fields(breaker_key, 'since', 'watched', 'grace', 'token')
    -- The clock of the server counts no outage of the workers: `claim_part` ends runs by the watched clock.
    local refused_for = breaker.since and least - (breaker.watched or breaker.since)
    local fails_at = breaker.grace and format_time(t + breaker.grace - refused_for) or ''
    local ahead, since = '', ''
    if part.slot_queue then
      local line_key = make_key(prefix, 'slot_waiters', part.slot_queue)
      local place = redis.call('ZSCORE', line_key, run_id .. ':' .. n)
      if place and fairness_key ~= '' then
        -- Of other keys, nobody knows which parts come before it.
        line_key = make_key(prefix, 'slot_line', part.slot_queue, fairness_key)
        place = redis.call('ZSCORE', line_key, run_id .. ':' .. n)
      end
      if place then
        since = format_time(place % PRIORITY_SPAN)
        ahead = redis.call('ZCOUNT', line_key, '-inf', '(' .. place)
      end
    end
    waits[#waits + 1] = {n, breaker.since or '', fails_at, breaker.token or '', ahead, since}
  end
end
reply[#reply + 1] = waits
return reply
