-- The watched clock: the seconds that dispatchers have seen pass. A step of the server's clock is not among
-- them.
--- @include lib/keys
--- @include lib/records

-- Return the least and the most that the watched clock may show. Ask the least whether a time has come. Date
-- events with the most: a dispatcher has not counted the seconds since its last pass yet, and they must not
-- count later. Before the first pass of any dispatcher, the server's time stands in for both.
local function read_watched(prefix, t)
  local clock = read_fields(make_key(prefix, 'clock'), 'watched', 'last')
  if not clock.watched then return t, t end
  local unseen = t - clock.last
  if unseen < 0 or unseen > LONGEST_ADVANCE then unseen = LONGEST_ADVANCE end
  return tonumber(clock.watched), clock.watched + unseen
end

-- Return by how many seconds a pass of a dispatcher advances the watched clock. `passed` is the time since
-- the last pass of any dispatcher by the server's clock. `own` is the time since the last pass of this
-- dispatcher by the monotonic clock of its process. A dispatcher that was cut off from the store cannot tell
-- how long others were at work. So an advance has a limit.
local function measure_advance(passed, own) return math.max(0, math.min(passed, own, LONGEST_ADVANCE)) end
