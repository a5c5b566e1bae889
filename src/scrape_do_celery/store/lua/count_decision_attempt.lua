-- Counts a try to decide a run's outcome. KEYS: run. Returns how many there were, this one counted.
--- @include lib/memory
allow_when_full(KEYS[1])
return redis.call('HINCRBY', KEYS[1], 'deciding', 1)
