-- Let failed and canceled chunks of a batch wait again, as if they were new; cut the rest of its manifest.
-- ARGV: now, batch, first chunk, number of chunks. Returns how many chunks wait again.
local batch, retried = ARGV[2], 0
local record = 'batch:' .. batch
local model = redis.call('HGET', record, 'model') or ''
for chunk = tonumber(ARGV[3]), tonumber(ARGV[3]) + tonumber(ARGV[4]) - 1 do
  local id = batch .. '/' .. chunk
  local key = 'chunk:' .. id
  local status = redis.call('HGET', key, 'status')
  if status == 'failed' or status == 'canceled' then
    redis.call('HDEL', key, 'status', 'error', 'attempts', 'captioned', 'failed')
    redis.call('HINCRBY', record, 'manifest_chunks_' .. status, -1)
    enter(lane_for('chunks', model), batch, chunk, id, model)
    retried = retried + 1
  end
end
if redis.call('HGET', record, 'manifest_status') ~= 'done' and not redis.call('ZSCORE', 'manifests', batch) then
  redis.call('HSET', record, 'sealed', '0', 'manifest_status', 'waiting', 'manifest_attempts', '0')
  redis.call('HDEL', record, 'manifest_error')
  redis.call('ZADD', 'manifests', number(clock(ARGV[1])), batch)
end
return retried
