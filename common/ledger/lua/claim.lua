-- Claim the next jobs: of the interactive lane first, with a share for the bulk lane; within a lane the owners take
-- turns, each with its oldest job.
-- ARGV: now, seconds of a lease, token, most jobs, most of them from the bulk lane, how many claims make one bulk share.
-- Returns {the records of the claimed jobs, each as a flat list, whether more can be claimed, how many suspects wait}.
local lease, token, most, most_bulk, share = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]),
  tonumber(ARGV[6])

-- A lane's first owners with their next jobs. In `count` claims no more owners than that can have a turn; one owner
-- more, and one job more of each, tell whether any are left.
local function lane(name, count)
  local owners = {}
  local found = count > 0 and redis.call('ZRANGE', 'turns:' .. name, 0, count, 'WITHSCORES') or {}
  for place = 1, #found, 2 do
    local ids = redis.call('ZRANGE', queue_of(name, found[place]), 0, count)
    table.insert(owners, {name = found[place], turn = tonumber(found[place + 1]), ids = ids, taken = 0})
  end
  return {name = name, owners = owners, left = count}
end

-- The owner whose turn it is, among those with a job left.
local function next_owner(found)
  local best
  for _, owner in ipairs(found.owners) do
    local left = owner.taken < #owner.ids
    if left and (not best or owner.turn < best.turn or owner.turn == best.turn and owner.name < best.name) then
      best = owner
    end
  end
  return best
end

local interactive, bulk = lane('interactive', most), lane('bulk', math.min(most, most_bulk))
local passed
local picked = {}
while #picked < most do
  local one, other = next_owner(interactive), bulk.left > 0 and next_owner(bulk) or nil
  if not one and not other then break end
  local from = one and interactive or bulk
  if one and other then
    passed = passed or tonumber(redis.call('GET', 'queue:passed') or 0)
    if passed >= share - 1 then
      from, one, passed = bulk, nil, 0
    else
      passed = passed + 1
    end
  end
  local owner = one or other
  owner.taken, owner.turn = owner.taken + 1, owner.turn + 1
  from.left = from.left - 1
  table.insert(picked, {owner.ids[owner.taken], owner.name})
end
if passed then redis.call('SET', 'queue:passed', passed) end

local more = false
for _, found in ipairs({interactive, bulk}) do
  for _, owner in ipairs(found.owners) do
    if owner.taken > 0 then
      redis.call('ZREM', queue_of(found.name, owner.name), unpack(owner.ids, 1, owner.taken))
      if owner.taken == #owner.ids then
        redis.call('ZREM', 'turns:' .. found.name, owner.name)
      else
        redis.call('ZADD', 'turns:' .. found.name, owner.turn, owner.name)
      end
    end
    more = more or owner.taken < #owner.ids
  end
end
local suspects = redis.call('ZCARD', 'queue:suspects')
if #picked == 0 then return {{}, 0, suspects} end

local now, records = clock(ARGV[1]), {}
for _, each in ipairs(picked) do
  local record = claim(each[1], each[2], token, now, now + lease)
  if record then table.insert(records, record) end
end
write()
return {records, more and 1 or 0, suspects}
