-- Counts some of the live runs by state, by the cursor of a scan.
-- KEYS: due, or the watch of an account  ARGV: prefix, cursor, how many to look at
-- Returns {next cursor, {state, runs, when the first of them was accepted or ''} ..., {run id, state} ...}: the second
-- kind one a part of a run that has several. `draft` is a run that has not begun, `delivering` one that
-- has ended and is not delivered yet.
--- @include lib/records
local prefix = ARGV[1]
local runs, first, multi_part = {}, {}, {}
local function add(state, accepted)
  runs[state] = (runs[state] or 0) + 1
  if accepted and (not first[state] or tonumber(accepted) < tonumber(first[state])) then first[state] = accepted end
end
local found = redis.call('ZSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
for i = 1, #found[2], 2 do
  local run_id, n = string.match(found[2][i], '^(.*):([^:]*)$')
  local r = redis.call('HMGET', prefix .. ':run:' .. run_id, 'parts', 'accepted', 'outcome', 'left')
  if not r[1] then
    -- Its record is gone; the dispatcher drops it.
  elseif n ~= 'run' then
    local state = redis.call('HGET', make_part_key(prefix, run_id, n), 'state')
    if state and state ~= 'done' then
      add(state, r[2])
      if r[1] ~= '1' then
        runs[state] = runs[state] - 1
        multi_part[#multi_part + 1] = {run_id, state}
      end
    end
  elseif not r[2] then
    add('draft')
  elseif r[3] then
    add('delivering', r[2])
  elseif r[4] == '0' then
    add('fetching', r[2])
  end
end
local out = {found[1]}
for state, number in pairs(runs) do
  out[#out + 1] = {state, number, first[state] or ''}
end
for _, one in ipairs(multi_part) do out[#out + 1] = one end
return out
