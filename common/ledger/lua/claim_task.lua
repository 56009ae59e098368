-- Claim the record whose lease has ended longest ago, else the first one that waits.
-- ARGV: now, lease in seconds, token, key of the leases, key of the waiting ids or '', beginning of the record's key,
-- beginning of its fields' names, status of a claimed record.
-- Returns {id, record before the claim as a flat list}, or false if none can be claimed.
local now, leases, field = clock(ARGV[1]), ARGV[4], ARGV[7]
local id = redis.call('ZRANGEBYSCORE', leases, '-inf', number(now), 'LIMIT', 0, 1)[1]
if not id and ARGV[5] ~= '' then id = redis.call('ZPOPMIN', ARGV[5])[1] end
if not id then return false end
local key = ARGV[6] .. id
local record = redis.call('HGETALL', key)
if #record == 0 then
  redis.call('ZREM', leases, id)
  return false
end
redis.call('HSET', key, field .. 'status', ARGV[8], field .. 'token', ARGV[3])
redis.call('HINCRBY', key, field .. 'attempts', 1)
redis.call('ZADD', leases, number(now + tonumber(ARGV[2])), id)
return {id, record}
