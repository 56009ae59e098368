-- End the task that fills a batch, and seal the batch.
-- ARGV: now, key of the leases, beginning of the fields' names, id, token, JSON of the error or ''.
-- Returns 1, or 0 if the claim is no longer valid.
local now, field, id, failure = clock(ARGV[1]), ARGV[3], ARGV[4], ARGV[6]
local key = 'batch:' .. id
if redis.call('HGET', key, field .. 'token') ~= ARGV[5] then return 0 end
redis.call('HDEL', key, field .. 'token')
redis.call('ZREM', ARGV[2], id)
redis.call('HSET', key, field .. 'status', failure == '' and 'done' or 'failed')
if failure ~= '' then redis.call('HSET', key, field .. 'error', failure) end
if redis.call('HGET', key, 'sealed') == '0' then
  redis.call('HSET', key, 'sealed', '1')
  add_batch_webhook(id, now)
end
return 1
