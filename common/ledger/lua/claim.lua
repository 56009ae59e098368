-- Claim the next jobs: interactive lane first, with a share for the bulk lane. Within a lane, owners are served
-- round-robin, each with its oldest job.
-- ARGV: now, lease in seconds, token, maximum of jobs, maximum of bulk jobs, bulk share (one claim in so many).
-- Returns {records of the claimed jobs as flat lists, 1 if more jobs can be claimed, number of waiting suspects}.
local lease, token, max_jobs, max_bulk, share = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]),
  tonumber(ARGV[6])

-- The next `count` + 1 owners of a lane, each with its next `count` + 1 jobs. `count` claims need at most `count` of
-- either; the extra one shows whether any are left.
local function read_lane(name, count)
  local owners = {}
  local turns = count > 0 and redis.call('ZRANGE', 'turns:' .. name, 0, count, 'WITHSCORES') or {}
  for i = 1, #turns, 2 do
    local ids = redis.call('ZRANGE', queue_of(name, turns[i]), 0, count)
    table.insert(owners, {name = turns[i], turn = tonumber(turns[i + 1]), ids = ids, claimed = 0})
  end
  return {name = name, owners = owners, budget = count}
end

-- The owner with the lowest turn among those with a job left; nil if there is none.
local function next_owner(lane)
  local best
  for _, owner in ipairs(lane.owners) do
    local has_jobs = owner.claimed < #owner.ids
    if has_jobs and (not best or owner.turn < best.turn or owner.turn == best.turn and owner.name < best.name) then
      best = owner
    end
  end
  return best
end

local interactive, bulk = read_lane('interactive', max_jobs), read_lane('bulk', math.min(max_jobs, max_bulk))
local passed
local picked = {}
while #picked < max_jobs do
  local interactive_owner, bulk_owner = next_owner(interactive), bulk.budget > 0 and next_owner(bulk) or nil
  if not interactive_owner and not bulk_owner then break end
  local lane, owner = interactive, interactive_owner
  if not interactive_owner then
    lane, owner = bulk, bulk_owner
  elseif bulk_owner then
    passed = passed or tonumber(redis.call('GET', 'queue:passed') or 0)
    if passed >= share - 1 then
      lane, owner, passed = bulk, bulk_owner, 0
    else
      passed = passed + 1
    end
  end
  owner.claimed, owner.turn = owner.claimed + 1, owner.turn + 1
  lane.budget = lane.budget - 1
  table.insert(picked, {owner.ids[owner.claimed], owner.name})
end
if passed then redis.call('SET', 'queue:passed', passed) end

local more = false
for _, lane in ipairs({interactive, bulk}) do
  for _, owner in ipairs(lane.owners) do
    if owner.claimed > 0 then
      redis.call('ZREM', queue_of(lane.name, owner.name), unpack(owner.ids, 1, owner.claimed))
      if owner.claimed == #owner.ids then
        redis.call('ZREM', 'turns:' .. lane.name, owner.name)
      else
        redis.call('ZADD', 'turns:' .. lane.name, owner.turn, owner.name)
      end
    end
    more = more or owner.claimed < #owner.ids
  end
end
local suspects = redis.call('ZCARD', 'queue:suspects')
if #picked == 0 then return {{}, 0, suspects} end

local now, records = clock(ARGV[1]), {}
for _, pick in ipairs(picked) do
  local record = claim(pick[1], pick[2], token, now, now + lease)
  if record then table.insert(records, record) end
end
write()
return {records, more and 1 or 0, suspects}
