--[[ Count one page of the live runs by state.

  `draft` is a run that has not begun. `delivering` is a run that has an outcome and is not delivered yet.

  KEYS  entries  zset  the due set, or the poll set of an account
  ARGV  prefix, cursor, page_size

  Returns {next cursor, {state, runs, when the first of them was accepted or ''} ..., {label, runs} ...,
  {run id, state, label or '', 'part'} ...}. A row of the last kind stands for one part of a run that has
  several parts, and is counted in no other row.
]]
--- @include lib/keys
--- @include lib/records
local entries_key = KEYS[1]
local prefix, cursor, page_size = unpack(ARGV)

local runs, first_accepted, labels, multi_part = {}, {}, {}, {}
local function add_label(label)
  if label then labels[label] = (labels[label] or 0) + 1 end
end
local function add(state, accepted)
  runs[state] = (runs[state] or 0) + 1
  if accepted and (not first_accepted[state] or tonumber(accepted) < tonumber(first_accepted[state])) then
    first_accepted[state] = accepted
  end
end
local function add_part(run, run_id, n)
  local state = redis.call('HGET', make_part_key(prefix, run_id, n), 'state')
  if not state or state == 'done' then return end
  add(state, run.accepted)
  if run.parts ~= '1' then
    -- The caller counts the run once, from the states of all its parts.
    runs[state] = runs[state] - 1
    multi_part[#multi_part + 1] = {run_id, state, run.label or '', 'part'}
  else
    add_label(run.label)
  end
end
local function add_run(run)
  local is_counted = true
  if not run.accepted then
    add('draft')
  elseif run.outcome then
    add('delivering', run.accepted)
  elseif run.left == '0' then
    add('fetching', run.accepted)
  else
    is_counted = false
  end
  if is_counted then add_label(run.label) end
end
local page = redis.call('ZSCAN', entries_key, cursor, 'COUNT', page_size)
local next_cursor, members = page[1], page[2]
for i = 1, #members, 2 do
  local run_id, n = string.match(members[i], '^(.*):([^:]*)$')
  local run = read_fields(make_key(prefix, 'run', run_id), 'parts', 'accepted', 'outcome', 'left',
    'label')
  -- If the record of the run is gone, the dispatcher drops the entry.
  if run.parts and n ~= 'run' then
    add_part(run, run_id, n)
  elseif run.parts then
    add_run(run)
  end
end
local rows = {next_cursor}
for state, number in pairs(runs) do
  rows[#rows + 1] = {state, number, first_accepted[state] or ''}
end
for label, number in pairs(labels) do rows[#rows + 1] = {label, number} end
for _, row in ipairs(multi_part) do rows[#rows + 1] = row end
return rows
