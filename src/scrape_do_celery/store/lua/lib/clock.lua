-- The server's clock, and times as the store writes them.

-- Return the time in seconds. TIME returns seconds and microseconds.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

-- Return a time as text. Redis would write a number of Lua without its fraction.
local function format_time(t) return string.format('%.4f', t) end
