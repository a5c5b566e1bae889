--[[ Claim the store for an application, or renew its claim, unless another application has a claim.

  KEYS  namespace_owner  string  the application whose workers claimed the store last
  ARGV  application

  Returns the application that has the claim.
]]
local namespace_owner_key = KEYS[1]
local application = ARGV[1]

local held = redis.call('GET', namespace_owner_key)
if held and held ~= application then return held end
-- A full store accepts the claim, because PERSIST needs no memory and comes first: see `allow_when_full`.
redis.call('PERSIST', namespace_owner_key)
redis.call('SET', namespace_owner_key, application, 'EX', NAMESPACE_TTL)
return application
