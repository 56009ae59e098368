-- Estimate how many jobs will be claimed before a waiting one, by workers that take only the lanes of its model.
-- ARGV: id, owner, batch, model or '', bulk share (one claim in so many).
local id, owner, model, share = ARGV[1], ARGV[2], ARGV[4], tonumber(ARGV[5])
local suspect = redis.call('ZRANK', suspects_of(model), id)
if suspect then return suspect end
local kind, other_kind = 'interactive', 'bulk'
if ARGV[3] ~= '' then kind, other_kind = 'bulk', 'interactive' end
if not redis.call('ZSCORE', queue_of(lane_for(kind, model), owner), id) then return 0 end -- postponed

-- The owners with waiting jobs in the lanes of a worker: their next turns and numbers of jobs.
local function read_owners(name)
  local owners = {}
  for _, lane in ipairs(lanes_of_worker(name, model)) do
    local turns = redis.call('ZRANGE', 'turns:' .. lane, 0, -1, 'WITHSCORES')
    for i = 1, #turns, 2 do
      local known = owners[turns[i]] or {turn = math.huge, jobs = 0}
      known.turn = math.min(known.turn, tonumber(turns[i + 1]))
      known.jobs = known.jobs + redis.call('ZCARD', queue_of(lane, turns[i]))
      owners[turns[i]] = known
    end
  end
  return owners
end

local rank = 0
for _, lane in ipairs(lanes_of_worker(kind, model)) do
  rank = rank + redis.call('ZLEXCOUNT', queue_of(lane, owner), '-', '(' .. id)
end
local ahead, owners = rank, read_owners(kind)
for name, other in pairs(owners) do
  if name ~= owner then
    ahead = ahead + math.min(other.jobs, rank + (other.turn < owners[owner].turn and 1 or 0))
  end
end

local waiting = 0
for _, other in pairs(read_owners(other_kind)) do waiting = waiting + other.jobs end
if kind == 'bulk' then return ahead + math.min(waiting, (ahead + 1) * (share - 1)) end
return ahead + math.min(waiting, math.floor(ahead / (share - 1)))
