-- Learned prices: what tasks cost before, by host or plugin and by options.
--- @include lib/keys

-- Return the costs of a value with their counts, and the sum of the counts. A value is the day of its last
-- task, then `cost=count` in milli-credits, from the lowest cost to the highest.
local function parse_costs(value)
  local costs, sum = {}, 0
  for cost, count in string.gmatch(value or '', '(%d+)=(%d+)') do
    costs[#costs + 1] = {cost = tonumber(cost), count = tonumber(count)}
    sum = sum + tonumber(count)
  end
  return costs, sum
end

-- Count a cost. If there are too many costs then, count the rarest as the next higher cost, so that no
-- percentile falls.
local function add_cost(costs, cost)
  local at, rarest = 1, 1
  while costs[at] and costs[at].cost < cost do at = at + 1 end
  if costs[at] and costs[at].cost == cost then
    costs[at].count = costs[at].count + 1
    return
  end
  table.insert(costs, at, {cost = cost, count = 1})
  if #costs <= LEARNED_COSTS then return end
  for other = 2, #costs - 1 do
    if costs[other].count < costs[rarest].count then rarest = other end
  end
  costs[rarest + 1].count = costs[rarest + 1].count + costs[rarest].count
  table.remove(costs, rarest)
end

-- Make room for a new price: delete the price that was not used for the longest time, of a few at random.
local function evict_price(prices_key)
  if redis.call('HLEN', prices_key) < LEARNED_PRICES then return end
  local few, oldest, oldest_day = redis.call('HRANDFIELD', prices_key, 8, 'WITHVALUES'), nil, math.huge
  for at = 1, #few, 2 do
    local day = tonumber(string.match(few[at + 1], '^%d+')) or 0
    if day < oldest_day then oldest, oldest_day = few[at], day end
  end
  redis.call('HDEL', prices_key, oldest)
end

local function write_price(prefix, account, price_key, cost, day)
  local prices_key = make_key(prefix, 'prices', account)
  local value = redis.call('HGET', prices_key, price_key)
  if not value then evict_price(prices_key) end
  local costs, sum = parse_costs(value)
  add_cost(costs, cost)
  local words = {string.format('%.0f', day)}
  for _, one in ipairs(costs) do
    -- Forget the past by halves, so that a new price of the API counts soon.
    local count = sum < LEARNED_SAMPLES and one.count or math.floor(one.count / 2)
    if count > 0 then words[#words + 1] = string.format('%.0f=%.0f', one.cost, count) end
  end
  redis.call('HSET', prices_key, price_key, table.concat(words, ' '))
end

-- Learn what a task of an account cost, in milli-credits, at time `t`. An error must not fail the script, so
-- it is ignored.
local function learn_price(prefix, account, price_key, cost, t)
  if not account or price_key == '' or not cost or cost <= 0 then return end
  pcall(write_price, prefix, account, price_key, cost, math.floor(t / SECONDS_PER_DAY))
end

-- Return the cost that covers 95 % of the tasks of a value, and the number of the tasks; 0 without a task.
local function percentile_of(value)
  local costs, sum = parse_costs(value)
  local seen = 0
  for _, one in ipairs(costs) do
    seen = seen + one.count
    if seen * 100 >= sum * 95 then return one.cost, sum end
  end
  return 0, sum
end

-- Return the milli-credits to reserve for groups of tasks. Each is `key count price`, joined by spaces. Of
-- the price and of what tasks like these cost before, the higher counts. The cost of a few tasks counts up to
-- a multiple of the price, so that one odd answer locks no host out of its budgets.
local function reserve_price(prefix, account, groups)
  local prices_key = make_key(prefix, 'prices', account)
  local names, counts, prices, total = {}, {}, {}, 0
  for name, count, price in string.gmatch(groups, '(%S+) (%d+) (%d+)') do
    names[#names + 1] = name
    counts[#names], prices[#names] = tonumber(count), tonumber(price)
  end
  -- Lua's stack is limited.
  for first = 1, #names, 500 do
    local values = redis.call('HMGET', prices_key, unpack(names, first, math.min(first + 499, #names)))
    for i, value in ipairs(values) do
      local at = first + i - 1
      local learned, samples = percentile_of(value)
      if samples < LEARNED_TRUST then learned = math.min(learned, LEARNED_FACTOR * prices[at]) end
      total = total + counts[at] * math.max(prices[at], learned)
    end
  end
  return total
end
