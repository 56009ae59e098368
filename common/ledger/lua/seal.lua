-- Seal a batch: it takes no more jobs. ARGV: now, batch id, why the whole batch is canceled or ''.
local now, id, reason = clock(ARGV[1]), ARGV[2], ARGV[3]
local key = 'batch:' .. id
local sealed = redis.call('HGET', key, 'sealed')
if not sealed then return end
if reason ~= '' then
  redis.call('HSETNX', key, 'canceled_reason', reason)
  redis.call('ZADD', 'deadlines:batches', number(now), id) -- the recovery cancels the jobs if the caller is killed
end
-- Only the first time, as redis-py repeats the script after a timeout.
if sealed == '0' then
  redis.call('HSET', key, 'sealed', '1')
  add_batch_webhook(id, now)
end
