-- Of these runs was told, unless they have moved since. KEYS: moved  ARGV: what `moved` said, run id ...
--- @include lib/changes
--- @include lib/clock
for i = 2, #ARGV do
  local at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  -- What took so long to be told that the mark is nearly over may have moved without moving the mark.
  if at and format_time(tonumber(at)) == ARGV[1] and tonumber(at) - now() > CHANGE_DELAY then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
return 1
