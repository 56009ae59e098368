-- Describe the queue. ARGV: now.
-- Returns for each lane, and for the suspects: its name, the number of waiting jobs and of owners with waiting jobs (0
-- for the suspects), and the seconds that the oldest job has waited, as text.
local now, lanes = clock(ARGV[1]), {}

-- The seconds since a job was queued; 0 without a job.
local function waited(id)
  local job = id and read(id)
  return job and job.queued_at and now - job.queued_at or 0
end

for _, lane in ipairs({'interactive', 'bulk'}) do
  local jobs, oldest, owners = 0, 0, redis.call('ZRANGE', 'turns:' .. lane, 0, -1)
  for _, owner in ipairs(owners) do
    local queue = queue_of(lane, owner)
    jobs = jobs + redis.call('ZCARD', queue)
    oldest = math.max(oldest, waited(redis.call('ZRANGE', queue, 0, 0)[1]))
  end
  table.insert(lanes, {lane, jobs, #owners, number(oldest)})
end
local oldest_suspect = waited(redis.call('ZRANGE', 'queue:suspects', 0, 0)[1])
table.insert(lanes, {'suspects', redis.call('ZCARD', 'queue:suspects'), 0, number(oldest_suspect)})
return lanes
