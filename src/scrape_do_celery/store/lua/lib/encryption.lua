-- Names of encryption keys.
--- @include lib/clock

-- Notes that values of a run may be encrypted with a key, by its name; '' for none.
local function note_encryption_key(prefix, run, name, t)
  if name == '' then return end
  local held = redis.call('HGET', run, 'key')
  if not held then
    redis.call('HSET', run, 'key', name)
  elseif not string.find(' ' .. held .. ' ', ' ' .. name .. ' ', 1, true) then
    redis.call('HSET', run, 'key', held .. ' ' .. name)
  end
  redis.call('ZADD', prefix .. ':encryption_keys', format_time(t), name)
end

-- Return the name of a key that values of a run are encrypted with and that is not among `key_names` (spaces between).
local function missing_key(run, key_names)
  for name in string.gmatch(redis.call('HGET', run, 'key') or '', '%S+') do
    if not string.find(' ' .. key_names .. ' ', ' ' .. name .. ' ', 1, true) then return name end
  end
end
