-- Queue failed and canceled jobs again, as if they were new. ARGV: the ids. Returns the ids of the queued jobs.
local retried = {}
for _, id in ipairs(ARGV) do
  local job, key = read(id), 'job:' .. id
  if job and (job.status == 'failed' or job.status == 'canceled') then
    redis.call('HSET', key, 'status', '"queued"', 'attempts', 0)
    redis.call('HDEL', key, 'error', 'started_at', 'completed_at', '_token', '_postponed')
    move(id, job.status, 'queued', job.owner, job.batch)
    write()
    enqueue(id, job.owner, job.batch)
    table.insert(retried, id)
  end
end
return retried
