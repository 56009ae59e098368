-- End the unpacking of an archive and seal its batch. ARGV: now, id, token, JSON of the error or ''.
-- Returns 1, or 0 if the claim is no longer valid.
local now, id, failure = clock(ARGV[1]), ARGV[2], ARGV[4]
local key = 'batch:' .. id
if redis.call('HGET', key, 'archive_token') ~= ARGV[3] then return 0 end
redis.call('HDEL', key, 'archive_token')
redis.call('ZREM', 'archives', id)
redis.call('HSET', key, 'archive_status', failure == '' and 'done' or 'failed')
if failure ~= '' then redis.call('HSET', key, 'archive_error', failure) end
if redis.call('HGET', key, 'sealed') == '0' then
  redis.call('HSET', key, 'sealed', '1')
  add_batch_webhook(id, now)
end
return 1
