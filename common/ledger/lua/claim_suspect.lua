-- Claim the oldest suspect that a worker with this model may claim.
-- ARGV: now, lease in seconds, token, model of the worker or ''. Returns its record as a flat list, or false.
local id, waiting
for _, key in ipairs(lanes_of_worker('queue:suspects', ARGV[4])) do
  local first = redis.call('ZRANGE', key, 0, 0)[1]
  if first and (not id or first < id) then id, waiting = first, key end
end
if not id then return false end
redis.call('ZREM', waiting, id)
local now = clock(ARGV[1])
local owner = redis.call('HGET', 'job:' .. id, '_owner') or ''
local record = claim(id, owner, ARGV[3], now, now + tonumber(ARGV[2]))
write()
return record
