-- Stop cutting a batch's manifest, and cancel those of its chunks that have not ended.
-- ARGV: now, batch, first chunk, number of chunks.
local now, batch, canceled = clock(ARGV[1]), ARGV[2], 0
redis.call('ZREM', 'manifests', batch)
redis.call('HDEL', 'batch:' .. batch, 'manifest_token')
for chunk = tonumber(ARGV[3]), tonumber(ARGV[3]) + tonumber(ARGV[4]) - 1 do
  local id = batch .. '/' .. chunk
  local key = 'chunk:' .. id
  local status = redis.call('HGET', key, 'status')
  if redis.call('EXISTS', key) == 1 and (not status or status == 'processing') then
    redis.call('HSET', key, 'status', 'canceled')
    redis.call('HDEL', key, 'token')
    local lane = lane_of_chunk(key)
    redis.call('ZREM', lane, id)
    dequeue_chunk(lane, batch, id)
    canceled = canceled + 1
  end
end
if canceled > 0 then
  redis.call('HINCRBY', 'batch:' .. batch, 'manifest_chunks_canceled', canceled)
  add_batch_webhook(batch, now)
end
