-- Writes the outcome of a run, once.
-- KEYS: run, due
-- ARGV: run id, ring, prefix, name of the key that values are sealed with ('' for none), field, value ... (outcome first)
-- Returns the outcome that stands, '' when the run is gone, or goes on: a store that lost its last writes since its
-- parts were seen to have ended.
local prefix, due = ARGV[3], KEYS[2]
-- Runs of a schedule's later ticks may wait for this one, as drafts, in a line. One that was canceled while it waited
-- itself leaves the line; else the next one's turn has come.
local function pass_on(run, run_id, t)
  local r = redis.call('HMGET', run, 'next', 'after', 'schedule')
  local next_one, before, schedule = r[1], r[2], r[3]
  if before and not goes_on(prefix, before) then before = nil end
  if schedule and redis.call('GET', schedule) == run_id then
    if before then redis.call('SET', schedule, before) else redis.call('DEL', schedule) end
  end
  if before then
    redis.call('HDEL', prefix .. ':run:' .. before, 'next')
    if next_one then
      redis.call('HSET', prefix .. ':run:' .. before, 'next', next_one)
      redis.call('HSET', prefix .. ':run:' .. next_one, 'after', before)
    end
  elseif next_one then
    redis.call('ZADD', due, stamp(t), next_one .. ':run')
  end
end
local r = redis.call('HMGET', KEYS[1], 'outcome', 'parts', 'left')
if r[1] then return r[1] end
if not r[2] or r[3] ~= '0' then return '' end
though_full(KEYS[1])
local t = now()
for i = 5, #ARGV - 1, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
note_key(ARGV[3], KEYS[1], ARGV[4], t)
redis.call('HSET', KEYS[1], 'ended', stamp(t), 'rings', 0, 'bell', stamp(t))
redis.call('ZADD', KEYS[2], stamp(t + ARGV[2]), ARGV[1] .. ':run')
total(ARGV[3], 'ended:' .. ARGV[6], 1)
tell(ARGV[3], ARGV[1], t, 0)
pass_on(KEYS[1], ARGV[1], t)
return redis.call('HGET', KEYS[1], 'outcome')
