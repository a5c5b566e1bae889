-- The server's clock, and times as the store writes them.

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

local function format_time(t) return string.format('%.4f', t) end
