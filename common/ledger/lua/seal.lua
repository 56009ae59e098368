-- Mark that all jobs of a batch are recorded. ARGV: now, batch id.
-- HSETNX, as redis-py repeats the script after a timeout.
if redis.call('HSETNX', 'batch:' .. ARGV[2], 'sealed', 1) == 1 then add_batch_webhook(ARGV[2], clock(ARGV[1])) end
