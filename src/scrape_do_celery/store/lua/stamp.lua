-- What was first said of a message. KEYS: once  ARGV: what is said now, life
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2])
return redis.call('GET', KEYS[1])
