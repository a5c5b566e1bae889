-- Names of keys. `store/keys.py` declares each of them.

-- Return the name of a key: the prefix, the kind of the key, and what it belongs to.
local function make_key(...) return table.concat({...}, ':') end
