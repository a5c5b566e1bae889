--[[ Read the clock that all scripts share.

  Returns the seconds since the epoch.
]]
--- @include lib/clock
return string.format('%.6f', now())
