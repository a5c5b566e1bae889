--[[ Make calls to one key, and tell which of them the server refuses.

  KEYS  rights_check  any  the key that the calls use; it does not outlive the script
  ARGV  calls... (each the words of a call with spaces between them; KEY stands for the key)

  Returns {name of a refused command and a space and the error, ...}.
]]
local rights_check_key = KEYS[1]

local refused = {}
for _, call in ipairs(ARGV) do
  local words = {}
  for word in string.gmatch(call, '%S+') do words[#words + 1] = word == 'KEY' and rights_check_key or word end
  local reply = redis.pcall(unpack(words))
  if type(reply) == 'table' and reply.err then refused[#refused + 1] = words[1] .. ' ' .. reply.err end
end
return refused
