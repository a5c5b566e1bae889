--[[ List runs, the newest first: a page that begins behind a position.

  A run keeps its position for ever: the time of its creation, and its id among runs of the same time. So the
  next page misses no run that was there, and repeats none, whatever begins or ends meanwhile.

  KEYS  clock  hash  the watched clock
  ARGV  prefix, states (of the index, with spaces between), label ("" for any), tag ("" for any),
        live_state ("" for any: else the only state of live runs), since ("-inf" for any), before ("+inf" for
        any), position_at, position_id (of the last run of the page before; "" for the first page),
        limit (runs of a page), max_reads (records to read at most), state_order (of live parts: a run has the
        state of its part that comes last), run_fields, part_fields (names with spaces between)

  Returns {position_at, position_id ("" behind the last run), {run id, {name, value ...} of the run, {name,
  value ...} of each part ...} ...}. A page may have fewer runs than `limit` although more follow.
]]
--- @include lib/clock
--- @include lib/index
--- @include lib/keys
--- @include lib/memory
--- @include lib/records
local clock_key = KEYS[1]
local prefix, states, label, tag, live_state, since, before, position_at, position_id, limit, max_reads,
  state_order, run_fields, part_fields = unpack(ARGV)
limit, max_reads = tonumber(limit), tonumber(max_reads)
local chunk = 100

local function split(text)
  local words = {}
  for word in string.gmatch(text, '%S+') do words[#words + 1] = word end
  return words
end
run_fields, part_fields = split(run_fields), split(part_fields)
local rank_of = {}
for rank, state in ipairs(split(state_order)) do rank_of[state] = rank end

-- Return whether a text comes before another one, byte by byte as in Redis. `<` compares as the locale does.
local function is_before(text, other)
  for i = 1, math.min(#text, #other) do
    local one, two = string.byte(text, i), string.byte(other, i)
    if one ~= two then return one < two end
  end
  return #text < #other
end

-- Return whether a run comes behind another position in the list.
local function is_behind(at, run_id, other_at, other_id)
  if at ~= other_at then return at < other_at end
  return is_before(run_id, other_id)
end

local function name_set(state) return make_key(prefix, 'runs', state) end
local function name_label_set(state) return make_key(prefix, 'runs_with_label', state, label) end
local function name_tag_set(state) return make_key(prefix, 'runs_with_tag', state, tag) end

-- Return the sets of the states, and the number of their runs.
local function open_sources(name_key)
  local sources, count = {}, 0
  for _, state in ipairs(split(states)) do
    local key = name_key(state)
    sources[#sources + 1] = {key = key, state = state, offset = 0, next = 1, entries = {}}
    count = count + redis.call('ZCARD', key)
  end
  return sources, count
end

-- Return the sets to read. Of the label and the tag, the one with fewer runs leaves less to skip.
local function find_sources()
  local all = open_sources(label ~= '' and name_label_set or tag ~= '' and name_tag_set or name_set)
  if label == '' or tag == '' then return all end
  local _, count = open_sources(name_label_set)
  local others, other_count = open_sources(name_tag_set)
  return count <= other_count and all or others
end

local newest = '(' .. before
if before == '+inf' then newest = before end
if position_id ~= '' and not (before ~= '+inf' and tonumber(position_at) >= tonumber(before)) then
  newest = position_at
end

-- Return the next entry of a source behind the position: {run id, score}. Return nil behind the last one.
local function peek(source)
  while true do
    if source.next > #source.entries then
      if source.is_read then return nil end
      source.entries = redis.call('ZREVRANGEBYSCORE', source.key, newest, since, 'WITHSCORES',
        'LIMIT', source.offset, chunk)
      source.offset, source.next = source.offset + chunk, 1
      source.is_read = #source.entries < 2 * chunk
      if #source.entries == 0 then return nil end
    end
    local run_id, score = source.entries[source.next], source.entries[source.next + 1]
    if position_id == '' or is_behind(tonumber(score), run_id, tonumber(position_at), position_id) then
      return run_id, score
    end
    source.next = source.next + 2
  end
end

-- Return the source whose next run is the newest one; nil behind the last run.
local function find_newest(sources)
  local found, found_id, found_at
  for _, source in ipairs(sources) do
    local run_id, score = peek(source)
    if run_id and (not found or is_behind(found_at, found_id, tonumber(score), run_id)) then
      found, found_id, found_at = source, run_id, tonumber(score)
    end
  end
  return found
end

-- Return the named fields of a record, as names and values in turn, and as a table.
local function read_pairs(key, names)
  local values, found, record = redis.call('HMGET', key, unpack(names)), {}, {}
  for i, name in ipairs(names) do
    local value = values[i]
    record[name] = value
    if value then
      found[#found + 1] = name
      found[#found + 1] = value
    end
  end
  return found, record
end

local function has_word(words, word) return string.find(' ' .. words .. ' ', ' ' .. word .. ' ', 1, true) end

local function matches(run)
  return has_word(states, run.outcome or 'live') and (label == '' or run.label == label)
    and (tag == '' or has_word(run.tags or '', tag))
end

-- Return the state of a live run: that of its part whose state comes last. Between its last part and its
-- outcome, a run is fetching.
local function live_state_of(run_id, run)
  local found
  for n = 0, tonumber(run.parts) - 1 do
    local state = state_of(prefix, run_id .. ':' .. n)
    if rank_of[state] and (not found or rank_of[state] > rank_of[found]) then found = state end
  end
  return found or 'fetching'
end

allow_when_full(clock_key)
local t, page, reads, wrong = now(), {}, 0, {}
prune_index(prefix, chunk, t)
local sources = find_sources()
local source = find_newest(sources)
local last_at, last_id = '', ''
while source and #page < limit and reads < max_reads do
  local run_id, score = peek(source)
  source.next = source.next + 2
  local run_key = make_key(prefix, 'run', run_id)
  -- The fields of the index are among those of the page: one command reads them all.
  local fields, run = read_pairs(run_key, run_fields)
  reads = reads + 1
  if find_index_state(run_key, run) ~= source.state or tonumber(run.created) ~= tonumber(score) then
    wrong[#wrong + 1] = {source.key, source.state, run_id, score, run}
  end
  local is_wanted = run.parts and run_id ~= last_id and tonumber(run.created) == tonumber(score)
    and matches(run)
  if is_wanted and live_state ~= '' and not run.outcome then
    reads = reads + tonumber(run.parts)
    is_wanted = live_state_of(run_id, run) == live_state
  end
  last_at, last_id = score, run_id
  if is_wanted then
    local row = {run_id, fields}
    for n = 0, tonumber(run.parts) - 1 do
      row[#row + 1] = (read_pairs(make_part_key(prefix, run_id, n), part_fields))
    end
    if tonumber(run.parts) > 1 then reads = reads + tonumber(run.parts) end
    page[#page + 1] = row
  end
  source = find_newest(sources)
end
-- Repairs come last: they would move the entries behind those that were read.
for _, one in ipairs(wrong) do repair_entry(prefix, one[1], one[2], one[3], one[4], one[5], t) end
if not source then last_at, last_id = '', '' end
return {last_at, last_id, unpack(page)}
