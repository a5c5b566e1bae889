-- Lineages: a run, its child, the child of that child, and so on. Each run names its `parent` and its
-- `child`. Their keys expire together, so that the pages of all can be merged.
--- @include lib/clock
--- @include lib/index
--- @include lib/keys
--- @include lib/records

-- Return the ids that the field leads to, from run to run. A run that is gone ends the way.
local function follow_lineage(prefix, run_id, field)
  local found, is_found = {}, {[run_id] = true}
  local next_id = redis.call('HGET', make_key(prefix, 'run', run_id), field)
  -- A record that was damaged must not lead in a circle: the server would never answer again.
  while next_id and not is_found[next_id] do
    local run = read_fields(make_key(prefix, 'run', next_id), 'parts', field)
    if not run.parts then break end
    found[#found + 1], is_found[next_id] = next_id, true
    next_id = run[field]
  end
  return found
end

-- Return the ids of all runs of a lineage, from the first run to the newest one.
local function list_lineage(prefix, run_id)
  local ids = {}
  local before = follow_lineage(prefix, run_id, 'parent')
  for i = #before, 1, -1 do ids[#ids + 1] = before[i] end
  ids[#ids + 1] = run_id
  for _, id in ipairs(follow_lineage(prefix, run_id, 'child')) do ids[#ids + 1] = id end
  return ids
end

-- Note that the keys of the run's values are in use: `doctor` asks for a key as long as records need it.
local function note_keys_of_run(prefix, run_key, t)
  for name in string.gmatch(redis.call('HGET', run_key, 'key') or '', '%S+') do
    redis.call('ZADD', make_key(prefix, 'encryption_keys'), format_time(t), name)
  end
end

-- Return whether a run has ended and still has all contents that were stored for it.
local function is_whole(prefix, run_id)
  local run = read_fields(make_key(prefix, 'run', run_id), 'parts', 'outcome')
  if not run.outcome then return false end
  for n = 0, tonumber(run.parts) - 1 do
    local part = read_fields(make_part_key(prefix, run_id, n), 'state', 'stored_ok', 'stored_failed')
    local has_contents = part.stored_ok or part.stored_failed
    if not part.state or (has_contents
      and redis.call('EXISTS', make_key(prefix, 'contents', run_id, n)) == 0) then
      return false
    end
  end
  return true
end

-- Keep the runs of a lineage until the delivery of a new run lets them expire.
local function keep_lineage(prefix, run_id, t)
  for _, id in ipairs(list_lineage(prefix, run_id)) do
    local run_key = make_key(prefix, 'run', id)
    if redis.call('PERSIST', run_key) == 1 then keep_in_index(prefix, id, read_index_fields(run_key)) end
    note_keys_of_run(prefix, run_key, t)
    for n = 0, tonumber(redis.call('HGET', run_key, 'parts')) - 1 do
      redis.call('PERSIST', make_part_key(prefix, id, n))
      redis.call('PERSIST', make_key(prefix, 'job', id, n))
      redis.call('PERSIST', make_key(prefix, 'contents', id, n))
    end
  end
end

local function expire_run(prefix, run_id, contents_ttl, record_ttl, t)
  local run_key = make_key(prefix, 'run', run_id)
  redis.call('EXPIRE', run_key, record_ttl)
  expire_in_index(prefix, run_id, read_index_fields(run_key), record_ttl, t)
  note_keys_of_run(prefix, run_key, t)
  for n = 0, tonumber(redis.call('HGET', run_key, 'parts')) - 1 do
    local part_key = make_part_key(prefix, run_id, n)
    local job_id = redis.call('HGET', part_key, 'job')
    if job_id then
      redis.call('EXPIRE', make_key(prefix, 'owner', string.lower(job_id)), math.max(record_ttl, MARK_TTL))
    end
    redis.call('EXPIRE', part_key, record_ttl)
    redis.call('EXPIRE', make_key(prefix, 'job', run_id, n), record_ttl)
    redis.call('EXPIRE', make_key(prefix, 'contents', run_id, n), contents_ttl)
  end
end

-- Let the runs of a lineage expire, if each of them has ended and is delivered.
local function expire_lineage(prefix, run_id, contents_ttl, record_ttl, t)
  local ids = list_lineage(prefix, run_id)
  for _, id in ipairs(ids) do
    local run = read_fields(make_key(prefix, 'run', id), 'outcome', 'waiting')
    if not run.outcome or tonumber(run.waiting or 0) > 0 then return end
  end
  for _, id in ipairs(ids) do expire_run(prefix, id, contents_ttl, record_ttl, t) end
end

-- Take a run out of its lineage before it is deleted: join its parent and its child. Return one of these, or
-- nil. If the lineage waited for the run only, nothing else lets it expire.
local function leave_lineage(prefix, run_key)
  local run = read_fields(run_key, 'parent', 'child')
  local parent_key = make_key(prefix, 'run', run.parent or '')
  local child_key = make_key(prefix, 'run', run.child or '')
  local has_parent = run.parent and redis.call('HEXISTS', parent_key, 'parts') == 1
  local has_child = run.child and redis.call('HEXISTS', child_key, 'parts') == 1
  if has_parent and has_child then
    redis.call('HSET', parent_key, 'child', run.child)
    redis.call('HSET', child_key, 'parent', run.parent)
  elseif has_parent then
    redis.call('HDEL', parent_key, 'child')
  end
  return has_parent and run.parent or (has_child and run.child) or nil
end
