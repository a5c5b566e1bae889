-- Writes on a server that is full.

-- Allow this script to write although the server is full. Redis checks memory only before the first write that may need
-- memory; HDEL needs none. Use for state changes only: new runs and contents stay refused.
local function allow_when_full(hash) redis.call('HDEL', hash, '') end
