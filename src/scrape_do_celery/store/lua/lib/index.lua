-- The index of runs: sets of run ids by the time of their creation, from which `list_runs` reads. A run is in
-- the set of its state, and in the sets of the state with its label and with each of its tags. The state is
-- `live`, then `delivering` from the outcome to the last delivery, and then the outcome itself.
--- @include lib/clock
--- @include lib/keys
--- @include lib/records

local function read_index_fields(run_key)
  return read_fields(run_key, 'parts', 'created', 'outcome', 'label', 'tags')
end

-- Return the keys of the sets of a state that a run belongs to. The first one has all runs of the state.
local function list_index_keys(prefix, state, label, tags)
  local keys = {make_key(prefix, 'runs', state)}
  if label and label ~= '' then keys[2] = make_key(prefix, 'runs_with_label', state, label) end
  for tag in string.gmatch(tags or '', '%S+') do
    keys[#keys + 1] = make_key(prefix, 'runs_with_tag', state, tag)
  end
  return keys
end

local function add_to_index(prefix, state, run_id, run)
  for _, key in ipairs(list_index_keys(prefix, state, run.label, run.tags)) do
    redis.call('ZADD', key, run.created, run_id)
  end
end

local function remove_from_index(prefix, state, run_id, run)
  for _, key in ipairs(list_index_keys(prefix, state, run.label, run.tags)) do
    redis.call('ZREM', key, run_id)
  end
end

-- Return the entry of `runs_expiry` for a run: all that is needed to remove the run when its record is gone.
local function make_expiry_entry(run_id, run)
  return table.concat({run.outcome, run.created, run.label or '', run.tags or '', run_id}, '\n')
end

-- Move a run to another state. A run of an older version is in no set, and stays so.
local function move_in_index(prefix, from, to, run_id, run)
  if redis.call('ZREM', make_key(prefix, 'runs', from), run_id) == 0 then return end
  remove_from_index(prefix, from, run_id, run)
  add_to_index(prefix, to, run_id, run)
end

-- Put a run with an outcome into the sets of the outcome, and note when the run leaves them: shortly before
-- its record expires, `seconds` from now. A set lives as long as its last run.
local function expire_in_index(prefix, run_id, run, seconds, t)
  move_in_index(prefix, 'delivering', run.outcome, run_id, run)
  if not redis.call('ZSCORE', make_key(prefix, 'runs', run.outcome), run_id) then return end
  local life = math.max(1, math.floor(seconds - math.min(seconds / 10, INDEX_MARGIN)))
  local expiry_key = make_key(prefix, 'runs_expiry')
  redis.call('ZADD', expiry_key, format_time(t + life), make_expiry_entry(run_id, run))
  local keys = list_index_keys(prefix, run.outcome, run.label, run.tags)
  keys[#keys + 1] = expiry_key
  for _, key in ipairs(keys) do
    if redis.call('TTL', key) < life then redis.call('EXPIRE', key, life) end
  end
end

-- Let a run with an outcome stay in the index: a new waiter needs its record.
local function keep_in_index(prefix, run_id, run)
  redis.call('ZREM', make_key(prefix, 'runs_expiry'), make_expiry_entry(run_id, run))
  remove_from_index(prefix, run.outcome, run_id, run)
  add_to_index(prefix, 'delivering', run_id, run)
end

-- Remove a run whose record is deleted now.
local function drop_from_index(prefix, run_id, run)
  remove_from_index(prefix, run.outcome and 'delivering' or 'live', run_id, run)
  if not run.outcome then return end
  remove_from_index(prefix, run.outcome, run_id, run)
  redis.call('ZREM', make_key(prefix, 'runs_expiry'), make_expiry_entry(run_id, run))
end

-- Remove up to `limit` runs whose time in the index is over. A new run may have the id of such a run.
local function prune_index(prefix, limit, t)
  local expiry_key = make_key(prefix, 'runs_expiry')
  local entries = redis.call('ZRANGEBYSCORE', expiry_key, '-inf', format_time(t), 'LIMIT', 0, limit)
  for _, entry in ipairs(entries) do
    redis.call('ZREM', expiry_key, entry)
    local outcome, created, label, tags, run_id = string.match(entry, '^(.-)\n(.-)\n(.-)\n(.-)\n(.*)$')
    for _, key in ipairs(list_index_keys(prefix, outcome, label, tags)) do
      local score = redis.call('ZSCORE', key, run_id)
      if score and tonumber(score) == tonumber(created) then redis.call('ZREM', key, run_id) end
    end
  end
end

-- Return the state in whose sets a run belongs; nil without a record.
local function find_index_state(run_key, run)
  if not run.parts then return nil end
  if not run.outcome then return 'live' end
  return redis.call('TTL', run_key) >= 0 and run.outcome or 'delivering'
end

-- Repair an entry of the set `key` of the runs in `state`, unless the record of the run agrees with it. A
-- worker of an older version changes a record without its entries. Return whether the entry was right.
local function repair_entry(prefix, key, state, run_id, score, run, t)
  local run_key = make_key(prefix, 'run', run_id)
  local right = find_index_state(run_key, run)
  if right == state and tonumber(run.created) == tonumber(score) then return true end
  redis.call('ZREM', key, run_id)
  if right and right ~= state then remove_from_index(prefix, state, run_id, run) end
  if not right then return false end
  add_to_index(prefix, right, run_id, run)
  if right == run.outcome then expire_in_index(prefix, run_id, run, redis.call('TTL', run_key), t) end
  return false
end

-- Check one run that has not been delivered. Each second has another one, so that all have their turn.
local function check_undelivered_run(prefix, t)
  for _, state in ipairs({'live', 'delivering'}) do
    local key = make_key(prefix, 'runs', state)
    local count = redis.call('ZCARD', key)
    if count > 0 then
      local rank = math.floor(t) % count
      local entry = redis.call('ZRANGE', key, rank, rank, 'WITHSCORES')
      local run = read_index_fields(make_key(prefix, 'run', entry[1]))
      repair_entry(prefix, key, state, entry[1], entry[2], run, t)
    end
  end
end
