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
--- @include lib/waits
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

local t = now()
local least, most = read_watched(prefix, t)
local waits = read_store_facts(t, most, namespace_owner_key, pause_key)
local fairness_key = read_share(prefix, run_id .. ':0')
for n = 0, part_count - 1 do
  local part = read_fields(make_part_key(prefix, run_id, n), 'state', 'account', 'held_by', 'slot_queue')
  if part.state and part.state ~= 'done' then
    local holder = part.held_by or part.account or account
    local refused_since, fails_at, token = read_refusal(prefix, holder, t, least)
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
    waits[#waits + 1] = {n, refused_since, fails_at, token, ahead, since}
  end
end
reply[#reply + 1] = waits
return reply
