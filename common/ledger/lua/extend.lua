-- Begin leases anew. ARGV: now, seconds of a lease, then id and token of each claim. Returns the ids of lost claims.
local now, lost, key = clock(ARGV[1]), {}, 'leases'
for place = 3, #ARGV, 2 do
  local id, found = ARGV[place], redis.call('HMGET', 'job:' .. ARGV[place], 'status', '_token')
  if found[1] == '"processing"' and found[2] == ARGV[place + 1] then
    add(key, number(now + tonumber(ARGV[2])), id)
  else
    table.insert(lost, id)
  end
end
write()
return lost
