-- Claim the archive that has waited longest. ARGV: now, lease in seconds, token.
-- Returns {id, record of the batch as a flat list}, or false if none waits.
local now = clock(ARGV[1])
local id = redis.call('ZRANGEBYSCORE', 'archives', '-inf', number(now), 'LIMIT', 0, 1)[1]
if not id then return false end
local key = 'batch:' .. id
local record = redis.call('HGETALL', key)
if #record == 0 then
  redis.call('ZREM', 'archives', id)
  return false
end
redis.call('HSET', key, 'archive_status', 'unpacking', 'archive_token', ARGV[3])
redis.call('HINCRBY', key, 'archive_attempts', 1)
redis.call('ZADD', 'archives', number(now + tonumber(ARGV[2])), id)
return {id, record}
