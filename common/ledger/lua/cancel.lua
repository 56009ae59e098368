-- Cancel open jobs. ARGV: now, then the ids.
local endings = {}
for place = 2, #ARGV do
  local job = read(ARGV[place])
  if job and (job.status == 'queued' or job.status == 'processing') then
    table.insert(endings, {job, {'status', '"canceled"'}})
  end
end
finish(endings, clock(ARGV[1]))
