-- Claim the oldest suspect. ARGV: now, lease in seconds, token. Returns its record as a flat list, or false.
local popped = redis.call('ZPOPMIN', 'queue:suspects')
if not popped[1] then return false end
local now = clock(ARGV[1])
local owner = redis.call('HGET', 'job:' .. popped[1], '_owner') or ''
local record = claim(popped[1], owner, ARGV[3], now, now + tonumber(ARGV[2]))
write()
return record
