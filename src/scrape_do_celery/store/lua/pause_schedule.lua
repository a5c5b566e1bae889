--[[ Pause or resume a schedule. A second pause changes nothing: who paused the schedule first has a reason.

  KEYS  schedule_pauses  hash  name of a paused schedule -> when, by whom and why
  ARGV  schedule_name, details (of the pause, after its time; "" resumes)

  Returns '1' if this has changed anything, else ''.
]]
--- @include lib/clock
--- @include lib/memory
local schedule_pauses_key = KEYS[1]
local schedule_name, details = unpack(ARGV)

allow_when_full(schedule_pauses_key)
local changed
if details == '' then
  changed = redis.call('HDEL', schedule_pauses_key, schedule_name)
else
  changed = redis.call('HSETNX', schedule_pauses_key, schedule_name, format_time(now()) .. ' ' .. details)
end
return changed == 1 and '1' or ''
