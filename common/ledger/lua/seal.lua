-- Note that a batch has all its jobs. ARGV: now, id.
-- Once only: redis-py sends the script again when no answer came in time.
if redis.call('HSETNX', 'batch:' .. ARGV[2], 'sealed', 1) == 1 then announce_batch(ARGV[2], clock(ARGV[1])) end
