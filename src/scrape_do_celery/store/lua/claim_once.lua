-- What was first said under a name, within its life. KEYS: once  ARGV: what is said now, life
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2])
return redis.call('GET', KEYS[1])
