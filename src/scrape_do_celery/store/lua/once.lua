-- Whether whoever holds this token was the first to ask. KEYS: once  ARGV: token, life. Returns 1 or 0.
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then return 1 end
return redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0
