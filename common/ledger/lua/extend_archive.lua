-- Set the time from which another worker may claim an archive.
-- ARGV: now, id, token, seconds from now, number of claims without progress or ''.
-- Returns 1, or 0 if the claim is no longer valid.
local now, id, attempts = clock(ARGV[1]), ARGV[2], ARGV[5]
local key = 'batch:' .. id
if redis.call('HGET', key, 'archive_token') ~= ARGV[3] then return 0 end
if attempts ~= '' then redis.call('HSET', key, 'archive_attempts', attempts) end
redis.call('ZADD', 'archives', number(now + tonumber(ARGV[4])), id)
return 1
