-- Cancel open jobs. ARGV: now, JSON of their error or '', then the job ids.
local endings = {}
for i = 3, #ARGV do
  local job = read(ARGV[i])
  if job and (job.status == 'queued' or job.status == 'processing') then
    local fields = {'status', '"canceled"'}
    if ARGV[2] ~= '' then
      table.insert(fields, 'error')
      table.insert(fields, ARGV[2])
    end
    table.insert(endings, {job, fields})
  end
end
finish(endings, clock(ARGV[1]))
