-- Keys that guard purchases. They expire by the watched clock, so that no step of the server's clock frees
-- them.
--- @include lib/clock
--- @include lib/keys
--- @include lib/watched

-- Let a key expire `seconds` from now. A dispatcher deletes the key. The TTL only serves a store without
-- dispatchers.
local function expire_guard(prefix, key, seconds, t)
  local _, most = read_watched(prefix, t)
  redis.call('ZADD', make_key(prefix, 'expiring'), format_time(most + seconds), key)
  redis.call('EXPIRE', key, seconds + SPARE_TTL)
end

-- Let a key live until `expire_guard` is called again.
local function keep_guard(prefix, key)
  redis.call('ZREM', make_key(prefix, 'expiring'), key)
  redis.call('PERSIST', key)
end
