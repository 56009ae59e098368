-- Claim the archive or manifest that has waited longest, or whose lease has ended longest ago.
-- ARGV: now, lease in seconds, token, key of the leases, beginning of the record's key, beginning of its fields' names,
-- status of a claimed record.
-- Returns {id, record before the claim as a flat list}, or false if none can be claimed.
local now, leases = clock(ARGV[1]), ARGV[4]
local id = redis.call('ZRANGEBYSCORE', leases, '-inf', number(now), 'LIMIT', 0, 1)[1]
if not id then return false end
return claim_record(leases, id, ARGV[5] .. id, ARGV[6], ARGV[7], ARGV[3], now + tonumber(ARGV[2]))
