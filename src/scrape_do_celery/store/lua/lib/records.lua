-- Keys and fields of records.

local function make_part_key(prefix, run_id, n) return prefix .. ':part:' .. run_id .. ':' .. n end

-- Set a field of a part, or clear the field if the value is empty: a hundred thousand parts may wait. A job id may be 0.
local function set_or_clear(part, field, value)
  if (value == '0' and field ~= 'job') or value == '' then
    redis.call('HDEL', part, field)
  else
    redis.call('HSET', part, field, value)
  end
end

-- Return what tells the options of a run from those of others: a digest if the options are encrypted.
local function options_of(run) return redis.call('HGET', run, 'options_digest') or redis.call('HGET', run, 'spec') end

local function is_unresolved(state) return state == 'submitting' or state == 'reconciling' end

local function state_of(prefix, part_id)
  local run_id, n = string.match(part_id, '^(.*):([^:]*)$')
  return redis.call('HGET', make_part_key(prefix, run_id, n), 'state')
end

-- Return whether a run exists and has no outcome yet.
local function is_live(prefix, run_id)
  local r = redis.call('HMGET', prefix .. ':run:' .. run_id, 'parts', 'outcome')
  return r[1] and not r[2]
end

-- Return the named fields of a record as a table; a missing field is false.
local function read_fields(key, ...)
  local values, record = redis.call('HMGET', key, ...), {}
  for i, name in ipairs({...}) do record[name] = values[i] end
  return record
end
