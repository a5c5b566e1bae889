-- Names of encryption keys: which key a run needs, and when a key was used.
--- @include lib/clock
--- @include lib/keys

-- Return whether a list of names (spaces between) contains a name.
local function contains_name(names, name)
  return string.find(' ' .. names .. ' ', ' ' .. name .. ' ', 1, true) ~= nil
end

-- Note that values of a run may be encrypted with a key. An empty name stands for no key.
local function note_encryption_key(prefix, run_key, name, t)
  if name == '' then return end
  local held = redis.call('HGET', run_key, 'key')
  if not held then
    redis.call('HSET', run_key, 'key', name)
  elseif not contains_name(held, name) then
    redis.call('HSET', run_key, 'key', held .. ' ' .. name)
  end
  redis.call('ZADD', make_key(prefix, 'encryption_keys'), format_time(t), name)
end

-- Return the name of a key that encrypts values of a run and is not among `key_names`, if there is any.
-- Spaces stand between the names.
local function missing_key(run_key, key_names)
  for name in string.gmatch(redis.call('HGET', run_key, 'key') or '', '%S+') do
    if not contains_name(key_names, name) then return name end
  end
end
