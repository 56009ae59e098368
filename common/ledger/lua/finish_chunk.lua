-- End a chunk, and keep its batch for the retention time from now on.
-- ARGV: now, id, token, `done` or `failed`, number of captioned and of failed pictures, JSON of the error or '',
-- retention. Returns 1, or 0 if the claim is no longer valid.
local now, id, status = clock(ARGV[1]), ARGV[2], ARGV[4]
local key, batch = 'chunk:' .. id, string.match(id, '^[^/]*')
if redis.call('HGET', key, 'token') ~= ARGV[3] then return 0 end
redis.call('HDEL', key, 'token')
redis.call('HSET', key, 'status', status, 'captioned', ARGV[5], 'failed', ARGV[6])
if ARGV[7] ~= '' then redis.call('HSET', key, 'error', ARGV[7]) end
redis.call('ZREM', lane_of_chunk(key), id)
redis.call('HINCRBY', 'batch:' .. batch, 'manifest_chunks_' .. status, 1)
redis.call('HINCRBY', 'batch:' .. batch, 'manifest_captioned', ARGV[5])
redis.call('HINCRBY', 'batch:' .. batch, 'manifest_failed', ARGV[6])
local retention = tonumber(ARGV[8])
redis.call('HSET', 'batch:' .. batch, 'expires_at', number(now + retention))
redis.call('ZADD', 'expiring:batches', 'XX', number(now + retention), batch)
redis.call('EXPIRE', 'known:' .. batch, math.floor(2 * retention) + 1)
count('chunk:' .. status)
if tonumber(ARGV[5]) > 0 then count('picture:captioned', tonumber(ARGV[5])) end
if tonumber(ARGV[6]) > 0 then count('picture:failed', tonumber(ARGV[6])) end
write_counts()
add_batch_webhook(batch, now)
return 1
