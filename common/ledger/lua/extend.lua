-- Renew leases. ARGV: now, lease in seconds, then id and token of each claim. Returns the ids of lost claims.
local now, lost, key = clock(ARGV[1]), {}, 'leases'
for i = 3, #ARGV, 2 do
  local id, fields = ARGV[i], redis.call('HMGET', 'job:' .. ARGV[i], 'status', '_token')
  if fields[1] == '"processing"' and fields[2] == ARGV[i + 1] then
    add(key, number(now + tonumber(ARGV[2])), id)
  else
    table.insert(lost, id)
  end
end
write()
return lost
