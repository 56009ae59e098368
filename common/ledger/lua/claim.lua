-- Claim the next jobs that a worker with a model may caption: those that ask for no model, and those that ask for its.
-- Interactive jobs come first, with a share for bulk jobs. Owners take turns: next is the one whose last turn is the
-- longest ago, in whichever lane, with its oldest job.
-- ARGV: now, lease in seconds, token, maximum of jobs, maximum of bulk jobs, bulk share (one claim in so many), model of
-- the worker or ''.
-- Returns {records of the claimed jobs as flat lists, 1 if more jobs can be claimed, number of waiting suspects}.
local lease, token, max_jobs, max_bulk, share, model = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]),
  tonumber(ARGV[6]), ARGV[7]

-- The next owners of a kind of jobs, each with its next jobs. `count` claims need at most `count` owners of each lane and
-- `count` jobs of each owner; one more shows whether any are left.
local function read_kind(kind, count)
  local owners, by_name, lanes = {}, {}, {}
  for _, lane in ipairs(count > 0 and lanes_of_worker(kind, model) or {}) do
    local turns = redis.call('ZRANGE', 'turns:' .. lane, 0, count, 'WITHSCORES')
    if #turns > 0 then table.insert(lanes, lane) end
    for i = 1, #turns, 2 do
      local name, turn = turns[i], tonumber(turns[i + 1])
      if by_name[name] then
        by_name[name].turn = math.min(by_name[name].turn, turn)
      else
        by_name[name] = {name = name, turn = turn, jobs = {}, claimed = 0}
        table.insert(owners, by_name[name])
      end
    end
  end
  for _, owner in ipairs(owners) do
    for _, lane in ipairs(lanes) do
      for _, id in ipairs(redis.call('ZRANGE', queue_of(lane, owner.name), 0, count)) do
        table.insert(owner.jobs, {id = id, lane = lane})
      end
    end
    if #lanes > 1 then table.sort(owner.jobs, function(a, b) return a.id < b.id end) end
  end
  return {owners = owners, lanes = lanes, budget = count}
end

-- The owner with the lowest turn among those with a job left; nil if there is none.
local function next_owner(kind)
  local best
  for _, owner in ipairs(kind.owners) do
    if owner.claimed < #owner.jobs and (not best or owner.turn < best.turn) then best = owner end
  end
  return best
end

local interactive, bulk = read_kind('interactive', max_jobs), read_kind('bulk', math.min(max_jobs, max_bulk))
local turn = tonumber(redis.call('GET', 'turn') or 0)
local passed
local picked = {}
while #picked < max_jobs do
  local interactive_owner, bulk_owner = next_owner(interactive), bulk.budget > 0 and next_owner(bulk) or nil
  if not interactive_owner and not bulk_owner then break end
  local kind, owner = interactive, interactive_owner
  if not interactive_owner then
    kind, owner = bulk, bulk_owner
  elseif bulk_owner then
    passed = passed or tonumber(redis.call('HGET', 'passed', model) or 0)
    if passed >= share - 1 then
      kind, owner, passed = bulk, bulk_owner, 0
    else
      passed = passed + 1
    end
  end
  turn = turn + 1
  owner.claimed, owner.turn = owner.claimed + 1, turn
  kind.budget = kind.budget - 1
  local job = owner.jobs[owner.claimed]
  remove(queue_of(job.lane, owner.name), job.id)
  table.insert(picked, {job.id, owner.name})
end
if passed then redis.call('HSET', 'passed', model, passed) end
write()

local more = false
for _, kind in ipairs({interactive, bulk}) do
  for _, owner in ipairs(kind.owners) do
    for _, lane in ipairs(owner.claimed > 0 and kind.lanes or {}) do
      redis.call('ZADD', 'turns:' .. lane, 'XX', owner.turn, owner.name)
      leave_turns(lane, owner.name)
    end
    more = more or owner.claimed < #owner.jobs
  end
end
local suspects = 0
for _, key in ipairs(lanes_of_worker('queue:suspects', model)) do suspects = suspects + redis.call('ZCARD', key) end
if #picked == 0 then return {{}, 0, suspects} end
redis.call('SET', 'turn', string.format('%.0f', turn))

local now, records = clock(ARGV[1]), {}
for _, pick in ipairs(picked) do
  local record = claim(pick[1], pick[2], token, now, now + lease)
  if record then table.insert(records, record) end
end
write()
return {records, more and 1 or 0, suspects}
