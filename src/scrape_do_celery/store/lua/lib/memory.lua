-- Writes on a full server: let state changes through.

-- Allow this script to write although the server is full. Redis checks memory only before the first write
-- that may need memory; HDEL needs none. Use this for state changes only: new runs and contents stay refused.
local function allow_when_full(hash_key) redis.call('HDEL', hash_key, '') end
