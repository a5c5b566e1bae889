-- Provisional contents.

-- Stores what an earlier answer held of a task, if nobody has stored the task. What is held is a failure with a page, and
-- counts as one.
local function store_held(held, contents, part, position)
  local h = redis.call('HMGET', held, position, position .. ':credits')
  if not h[1] or redis.call('HSETNX', contents, position, h[1]) == 0 then return false end
  redis.call('HINCRBY', part, 'stored_failed', 1)
  if h[2] and h[2] ~= '0' then redis.call('HINCRBYFLOAT', part, 'credits', h[2]) end
  return true
end

-- Stores all that is held of a part which ends: it is paid for, and no later answer will come.
local function store_all_held(prefix, part, part_id)
  local held = prefix .. ':provisional:' .. part_id
  for _, field in ipairs(redis.call('HKEYS', held)) do
    if string.match(field, '^%d+$') then store_held(held, prefix .. ':contents:' .. part_id, part, field) end
  end
  redis.call('DEL', held)
end
