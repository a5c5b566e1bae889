-- Provisional contents: store the pages that are held of unfinished tasks.
--- @include lib/keys

-- Add the cost of a stored task, or count the task if the API did not report its cost.
local function add_credits(part_key, credits)
  if credits == '' then
    redis.call('HINCRBY', part_key, 'unpriced', 1)
  elseif credits ~= '0' then
    redis.call('HINCRBYFLOAT', part_key, 'credits', credits)
  end
end

-- Store the page that is held of a task, unless the task is stored already. Such a page counts as a failure
-- with a page. Return whether the page was stored, and its credits.
local function store_held(provisional_key, contents_key, part_key, position)
  local frame, credits = unpack(redis.call('HMGET', provisional_key, position, position .. ':credits'))
  if not frame or redis.call('HSETNX', contents_key, position, frame) == 0 then return false end
  redis.call('HINCRBY', part_key, 'stored_failed', 1)
  add_credits(part_key, credits or '0')
  return true, credits
end

-- Store all held pages of a part that ends: they are paid for, and no later answer will come.
local function store_all_held(prefix, part_key, part_id)
  local provisional_key = make_key(prefix, 'provisional', part_id)
  local contents_key = make_key(prefix, 'contents', part_id)
  for _, field in ipairs(redis.call('HKEYS', provisional_key)) do
    -- The other fields are the credits of the pages.
    if string.match(field, '^%d+$') then store_held(provisional_key, contents_key, part_key, field) end
  end
  redis.call('DEL', provisional_key)
end
