-- Amounts of credits, and the costs of hosts: what the API reported, by the day of the purchase.
--- @include lib/clock
--- @include lib/keys

local function format_amount(amount) return string.format('%.0f', amount) end

-- Return credits, as text, in whole thousandths.
local function to_mc(credits) return math.floor((tonumber(credits) or 0) * MC_PER_CREDIT + 0.5) end

-- Add the credits of a task to its host, or to its plugin, which its price key names. A key that is empty or
-- masked, and a host beyond the limit of the day, count as `(other)`. With the sign -1, take them back.
local function count_host_cost(prefix, part_key, price_key, credits, sign)
  local amount = to_mc(credits)
  if amount <= 0 then return end
  local bought_at = redis.call('HGET', part_key, 'intent') or now()
  local key = make_key(prefix, 'host_spend', math.floor(bought_at / SECONDS_PER_DAY))
  local host = string.match(price_key, '^[^|#]+') or '(other)'
  if redis.call('HEXISTS', key, host) == 0 and redis.call('HLEN', key) >= MAX_SPEND_HOSTS then
    host = '(other)'
  end
  redis.call('HINCRBY', key, host, format_amount(sign * amount))
  redis.call('EXPIRE', key, LEDGER_TTL)
end
