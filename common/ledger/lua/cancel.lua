-- Cancel open jobs. ARGV: now, then the job ids.
local endings = {}
for i = 2, #ARGV do
  local job = read(ARGV[i])
  if job and (job.status == 'queued' or job.status == 'processing') then
    table.insert(endings, {job, {'status', '"canceled"'}})
  end
end
finish(endings, clock(ARGV[1]))
