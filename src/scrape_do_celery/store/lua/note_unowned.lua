--[[ Note jobs of the API that no run owns, each with the position of its first sighting in the order.

  A job that was seen before an intent was not bought by it.

  KEYS  unowned  zset  job id -> position of the first sighting in the order
  ARGV  prefix, max_jobs (to remember), job_ids...

  Returns the position of each job.
]]
--- @include lib/memory
--- @include lib/purchases
local unowned_key = KEYS[1]
-- A whole job list may come: `unpack` fails above some 8,000 values.
local prefix, max_jobs = unpack(ARGV, 1, 2)

allow_when_full(unowned_key .. ':')
local order, out = next_in_order(prefix), {}
for i = 3, #ARGV do redis.call('ZADD', unowned_key, 'NX', order, ARGV[i]) end
for i = 3, #ARGV do out[#out + 1] = redis.call('ZSCORE', unowned_key, ARGV[i]) end
redis.call('ZREMRANGEBYRANK', unowned_key, 0, -1 - tonumber(max_jobs))
redis.call('EXPIRE', unowned_key, UNOWNED_TTL)
return out
