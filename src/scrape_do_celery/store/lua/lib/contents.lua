-- Provisional contents: store the pages that are held of unfinished tasks.
--- @include lib/keys
--- @include lib/spend

-- Add the cost of a stored task, or count the task if the API did not report its cost.
local function add_credits(prefix, part_key, credits, price_key)
  if credits == '' then
    redis.call('HINCRBY', part_key, 'unpriced', 1)
  elseif credits ~= '0' then
    redis.call('HINCRBYFLOAT', part_key, 'credits', credits)
    count_host_cost(prefix, part_key, price_key, credits, 1)
  end
end

-- Remove a delivered page, and take back what `take_delivery` has counted for it. `entry` is its entry among
-- the deliveries. A full store refuses the first write.
local function remove_delivered(prefix, contents_key, part_key, position, entry)
  local credits, price_key = string.match(entry, '^%S+ (%S+) (%S*) ')
  redis.call('HINCRBY', part_key, 'stored_ok', -1)
  redis.call('HDEL', contents_key, position)
  if credits == '-' then
    redis.call('HINCRBY', part_key, 'unpriced', -1)
  elseif credits ~= '0' then
    redis.call('HINCRBYFLOAT', part_key, 'credits', '-' .. credits)
    count_host_cost(prefix, part_key, price_key, credits, -1)
  end
end

-- Store the page that is held of a task, unless the task is stored already. Such a page counts as a failure
-- with a page. Return whether the page was stored, and its credits.
local function store_held(prefix, provisional_key, contents_key, part_key, position)
  local frame, credits, price_key = unpack(redis.call('HMGET', provisional_key, position,
    position .. ':credits', position .. ':price_key'))
  if not frame or redis.call('HSETNX', contents_key, position, frame) == 0 then return false end
  redis.call('HINCRBY', part_key, 'stored_failed', 1)
  add_credits(prefix, part_key, credits or '0', price_key or '')
  return true, credits
end

-- Store all held pages of a part that ends: they are paid for, and no later answer will come.
local function store_all_held(prefix, part_key, part_id)
  local provisional_key = make_key(prefix, 'provisional', part_id)
  local contents_key = make_key(prefix, 'contents', part_id)
  for _, field in ipairs(redis.call('HKEYS', provisional_key)) do
    -- The other fields are the credits and the price keys of the pages.
    if string.match(field, '^%d+$') then
      store_held(prefix, provisional_key, contents_key, part_key, field)
    end
  end
  redis.call('DEL', provisional_key)
end
