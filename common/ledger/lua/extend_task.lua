-- Set the time from which another worker may claim a record.
-- ARGV: now, key of the leases, beginning of the record's key, beginning of its fields' names, id, token, seconds from
-- now, number of attempts or ''. Returns 1, or 0 if the claim is no longer valid.
local now, leases, field, id, attempts = clock(ARGV[1]), ARGV[2], ARGV[4], ARGV[5], ARGV[8]
local key = ARGV[3] .. id
if redis.call('HGET', key, field .. 'token') ~= ARGV[6] then return 0 end
if attempts ~= '' then redis.call('HSET', key, field .. 'attempts', attempts) end
redis.call('ZADD', leases, number(now + tonumber(ARGV[7])), id)
return 1
