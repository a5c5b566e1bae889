-- Keys and fields of records.
--- @include lib/keys

local function make_part_key(prefix, run_id, n) return make_key(prefix, 'part', run_id, n) end

-- Return the named fields of a record as a table; a missing field is false.
local function read_fields(key, ...)
  local values, record = redis.call('HMGET', key, ...), {}
  for i, name in ipairs({...}) do record[name] = values[i] end
  return record
end

-- Set a field of a part, or clear the field if the value is empty or 0. A hundred thousand parts may wait,
-- and each field takes memory. Only a job id may be 0.
local function set_or_clear(part_key, field, value)
  if (value == '0' and field ~= 'job') or value == '' then
    redis.call('HDEL', part_key, field)
  else
    redis.call('HSET', part_key, field, value)
  end
end

-- Return whether a part in this state may have a purchase that nobody has found yet.
local function is_unresolved(state) return state == 'submitting' or state == 'reconciling' end

-- Return the version of a record, if a newer version of this package wrote it. Nobody else may change it.
local function newer_version(run_key)
  local version = redis.call('HGET', run_key, 'v')
  if version and tonumber(version) > RECORD_VERSION then return version end
end

local function state_of(prefix, part_id)
  local run_id, n = string.match(part_id, '^(.*):([^:]*)$')
  return redis.call('HGET', make_part_key(prefix, run_id, n), 'state')
end
