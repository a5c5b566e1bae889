-- The breaker of an account, which holds its runs back while the API refuses the token.

-- Keep an open breaker after a try of the token. Nobody tries a token that was replaced, so that its breaker
-- ends by itself; but not before the runs that still wait have failed, also after an outage of the workers.
local function keep_breaker(breaker_key, auth_grace)
  redis.call('HSET', breaker_key, 'grace', auth_grace)
  redis.call('EXPIRE', breaker_key, math.min(math.ceil(tonumber(auth_grace)), SPARE_TTL) + BREAKER_TTL)
end
