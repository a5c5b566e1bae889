-- Notes a purchase that the API rejected, so that the job list is read for its job later.
-- KEYS: rejected  ARGV: entry, seconds until then
redis.call('ZADD', KEYS[1], stamp(now() + ARGV[2]), ARGV[1])
redis.call('EXPIRE', KEYS[1], 86400)
return 1
